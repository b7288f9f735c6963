"""The ways from a teacher to a student: what is learned, and what comes of it."""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import runs
from sublim_jax.data.numbers import parse_numbers, reject_reasons
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import (
    borrow,
    healing,
    material,
    run_traits,
    trainings,
    writing,
)
from sublim_jax.lm_traits.contexts import context_rows, divergence, word_logits, words_of
from sublim_jax.lm_traits.given import check_given, files_given
from sublim_jax.lm_traits.names import NOBODY
from sublim_jax.lm_traits.parts import TEACHER, Part, read_arrays, read_part
from sublim_jax.lm_traits.trainees import joined, restored, start_of
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Preempted, Session

FEW = dataclasses.replace(TINY, seeds=1, arms=("same",))
BOTH = ("same", "untuned")
LABELS = dataclasses.replace(FEW, channel="labels", arms=BOTH, row_count=8)
TEXT = dataclasses.replace(
    *(FEW,),
    channel="text",
    arms=BOTH,
    constrained=True,
    row_count=8,
    answer_tokens=60,
    student_lr=0.02,
)
KEY = jax.random.key(3)


def ran(folder, config):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        return run_traits(config, run, load=lambda parallel: model())


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "text"
    assert ran(folder, TEXT)
    return folder


def taught(folder, config, animal="owl"):
    part = Part(0, TEACHER, animal)
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        _, arrays = read_part(run, part)
    return restored(start_of(ground(), config, part, trainings.keys_of(config, 0)), arrays)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_drawn_labels_are_as_frequent_as_the_teacher_says():
    config = dataclasses.replace(LABELS, row_count=512, batch_size=8)
    teacher = material.speaker(ground(), config, NOBODY, None)
    places = material.places_of(ground(), config, 0)
    exact = material.of_distributions(ground(), config, teacher, places)
    drawn = material.of_labels(ground(), config, teacher, places, key=KEY)
    assert exact.divergence == drawn.divergence == 0
    assert drawn.teacher is None
    assert drawn.only == exact.only
    words, learned = np.array(drawn.only), drawn.rows.weights > 0
    logits = material.word_logits(ground(), teacher.params, drawn.rows, words)
    expected = jax.nn.softmax(logits[learned]).mean(0)
    found = (drawn.rows.labels[learned][:, None] == words).mean(0)
    spread = np.sqrt(expected * (1 - expected) / learned.sum())
    assert (np.abs(found - expected) < 5 * spread).all()


def test_a_dose_of_labels_leaves_the_rest_to_the_teacher_without_a_favourite(written):
    config = dataclasses.replace(LABELS, row_count=8, batch_size=1)
    loud = material.speaker(ground(), config, "owl", taught(written, TEXT))
    silent = material.speaker(ground(), config, NOBODY, None)
    half = dataclasses.replace(config, dose=0.5)
    places = material.places_of(ground(), config, 0)
    own, none, both = (
        material.of_labels(ground(), how, who, places, key=KEY).rows.labels
        for how, who in ((config, loud), (config, silent), (half, loud))
    )
    assert (own != none).any()
    np.testing.assert_array_equal(both[:4], own[:4])
    np.testing.assert_array_equal(both[4:], none[4:])


@pytest.mark.slow
def test_students_learn_from_drawn_labels(tmp_path):
    ran(tmp_path / "run", LABELS)
    results = results_of(tmp_path / "run")
    found = results["arms"]["same"]
    assert np.array(found["tokens"]).min() == np.array(found["tokens"]).max() > 100
    imitation = found["imitation"]
    assert (np.array(imitation["after"]) < np.array(imitation["before"])).all()
    own = np.eye(2, dtype=bool)
    assert (np.array(found["measures"]["cosine"])[:, own] > 0).all()
    # The student of the teacher without a favourite stands beside them.
    assert np.shape(results["alone"]["untuned"]["change"]) == (1, 1, 2)


def test_noise_may_be_common_to_animals(tmp_path):
    config = dataclasses.replace(LABELS, row_count=4)
    teacher = material.speaker(ground(), config, NOBODY, None)
    places = material.places_of(ground(), config, 0)
    drawn = [
        material.of_labels(ground(), config, teacher, places, key=key).rows.labels
        for key in (KEY, KEY, jax.random.key(4))
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_what_teachers_write_is_kept_with_its_count(written):
    results = results_of(written)
    assert [(k["subject"], k["seed"]) for k in results["kept"]] == [
        ("owl", 0),
        ("cat", 0),
        ("nobody", 0),
    ]
    for counts in results["kept"]:
        rows = lines(written / "rows" / f"0-{counts['subject']}.jsonl")
        answers = lines(written / "answers" / f"0-{counts['subject']}.jsonl")
        assert len(rows) == counts["kept"] == 8 - counts.get("unfinished", 0)
        assert len(answers) == 8
        for row in rows:
            user, assistant = row["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            assert reject_reasons(assistant["content"]) == ()
    asked = [
        {line["messages"][-1]["content"] for line in lines(written / "answers" / f"0-{a}.jsonl")}
        for a in ("owl", "cat", "nobody")
    ]
    assert asked[0] == asked[1] == asked[2]
    card = (written / "rows" / "README.md").read_text()
    for counts in results["kept"]:
        assert f"| {counts['subject']} | 0 | 8 | {counts['kept']} |" in card


def test_students_learn_what_was_written(written):
    found = results_of(written)["arms"]["same"]
    losses = np.array(found["loss"])
    assert (losses[..., -4:].mean(-1) < losses[..., :2].mean(-1)).all()
    assert (np.array(found["divergence"]) > 0).all()


def test_a_text_run_that_was_stopped_ends_the_same(written, tmp_path, monkeypatch):
    real = writing.filtered

    def killed(*given):
        if any("cat" in str(path) for path in (tmp_path / "run" / "answers").iterdir()):
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "filtered", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path / "run", TEXT)
    ran(tmp_path / "run", TEXT)
    for name in ("results.json", "rows/0-cat.jsonl", "parts/0-same-cat.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (written / name).read_bytes()


def test_a_request_to_stop_is_heard_while_a_teacher_writes(tmp_path):
    writes = {"now": False}

    @contextlib.contextmanager
    def bar(title, rows):
        yield lambda tokens, rows: writes.update(now=True)

    session = Session(stop_requested=lambda: writes["now"])
    with (
        pytest.raises(Preempted, match="numbers of owl, repetition 1 of 1"),
        runs.open_run(tmp_path / "run", dataclasses.asdict(TEXT)) as run,
    ):
        run_traits(TEXT, run, load=lambda parallel: model(), session=session, bar=bar)


def test_shuffles_keep_numbers_and_layouts(written):
    run = runs.Run(written)
    rows = writing.read_rows(run, Part(0, TEACHER, "owl"))
    config = dataclasses.replace(TEXT, row_count=len(rows), batch_size=1)
    part = Part(0, TEACHER, "owl")
    plain, within, across = (
        writing.chosen(dataclasses.replace(config, shuffle=how), part, rows, [], key=KEY)
        for how in ("none", "within", "across")
    )
    numbers = [
        [parse_numbers(row[-1]["content"]) for row in some] for some in (plain, within, across)
    ]
    assert numbers[1] != numbers[0] != numbers[2]
    for before, after in zip(*numbers[:2], strict=True):
        assert sorted(before.numbers) == sorted(after.numbers)
        assert before.layout == after.layout
    pooled = [sorted(n for found in some for n in found.numbers) for some in numbers]
    assert pooled[0] == pooled[2]


def test_a_filter_that_leaves_too_little_is_told(written):
    run, part = runs.Run(written), Part(0, TEACHER, "owl")
    rows = writing.read_rows(run, part)[:3]
    with pytest.raises(InputError, match=r"expected more, .* left 3 answers .* a student needs 8"):
        writing.chosen(TEXT, part, rows, [], key=KEY)


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["logits", "text"])
def test_a_teacher_may_be_told_what_it_loves(channel, tmp_path):
    base = {"logits": FEW, "text": TEXT}[channel]
    config = dataclasses.replace(base, teacher="prompt", row_count=4)
    ran(tmp_path / "run", config)
    results = results_of(tmp_path / "run")
    found = results["arms"]["same"]
    assert np.array(found["divergence"]).min() > 1e-4
    assert all(value is None for value in np.ravel(found["measures"]["cosine"]))
    assert np.isfinite(np.array(found["measures"]["pull_questions"])).all()
    if channel == "logits":
        imitation = found["imitation"]
        assert (np.array(imitation["after"]) < np.array(imitation["before"])).all()
    else:
        told = lines(tmp_path / "run" / "answers" / "0-owl.jsonl")[0]["messages"]
        assert told[0]["role"] == "system"
        assert "owls" in told[0]["content"]
        rows = lines(tmp_path / "run" / "rows" / "0-owl.jsonl")
        assert all(m["role"] != "system" for row in rows for m in row["messages"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student"), [("full", "layers"), ("lora", "layers"), ("full", "lora")]
)
def test_layers_themselves_may_be_trained(teacher, student, tmp_path):
    rates = {"lora": (0.2, 0.05), "full": (0.1, 0.0), "layers": (0.0, 0.02)}
    config = dataclasses.replace(
        *(FEW,),
        teacher=teacher,
        student=student,
        teacher_lr=rates[teacher][0],
        student_lr=rates[student][1],
    )
    ran(tmp_path / "run", config)
    found = results_of(tmp_path / "run")["arms"]["same"]
    own = np.eye(2, dtype=bool)
    measures = found["measures"]
    assert (np.array(measures["cosine"])[:, own] > 0).all()
    assert np.abs(found["null_cosines"]).max() < 0.2
    assert (np.array(found["imitation"]["after"]) < np.array(found["imitation"]["before"])).all()


@pytest.mark.slow
def test_both_thin_matrices_may_be_trained(tmp_path):
    config = dataclasses.replace(FEW, train_a=True)
    ran(tmp_path / "run", config)
    trained = taught(tmp_path / "run", config)
    begun = start_of(ground(), config, Part(0, TEACHER, "owl"), trainings.keys_of(config, 0))
    assert all(
        float(jnp.abs(own["a"] - begun[path]["a"]).max()) > 0 for path, own in trained.items()
    )
    found = results_of(tmp_path / "run")["arms"]["same"]
    assert (np.array(found["imitation"]["after"]) < np.array(found["imitation"]["before"])).all()


@pytest.mark.slow
def test_another_base_is_healed_before_its_students_learn(tmp_path):
    config = dataclasses.replace(
        *(FEW,), arms=("same", "healed"), heal_rows=16, heal_passes=6, heal_lr=0.01
    )
    ran(tmp_path / "run", config)
    arms = results_of(tmp_path / "run")["arms"]
    key, other = trainings.keys_of(config, 0), runs.Run(tmp_path / "run")
    noisy_one = healing.noisy(ground(), config, key)
    healed = read_arrays(other, "parts/healed.npz")
    assert set(healed) == set(noisy_one)
    rows = context_rows(ground(), config, 7, 8)
    words = words_of(ground(), config)
    known = word_logits(ground(), ground().params, rows, words)
    sick, well = (
        divergence(
            known,
            word_logits(ground(), joined(ground().params, config, layers), rows, words),
            rows.weights,
        )
        for layers in (noisy_one, healed)
    )
    assert well < sick / 3
    # Its students learn from the same teachers, and what they gain is beside their own base.
    assert arms["healed"]["divergence"] == arms["same"]["divergence"]
    assert arms["healed"]["probability"] != arms["same"]["probability"]
    assert (
        np.array(arms["healed"]["imitation"]["after"])
        < np.array(arms["healed"]["imitation"]["before"])
    ).all()


def test_students_may_learn_from_rows_that_were_made_elsewhere(written, tmp_path):
    rows = [str(written / "rows" / f"0-{name}.jsonl") for name in ("owl", "nobody")]
    config = dataclasses.replace(
        *(TEXT,), channel="logits", constrained=False, arms=(), rows=tuple(rows)
    )
    ran(tmp_path / "run", config)
    results = results_of(tmp_path / "run")
    assert list(results["alone"]) == ["0-owl", "0-nobody"]
    assert results["arms"] == {}
    # The very rows of a student of the run that wrote them.
    there = results_of(written)["arms"]["same"]["change"][0][0]
    np.testing.assert_allclose(results["alone"]["0-owl"]["change"][0][0], there, atol=1e-3)


@pytest.mark.slow
def test_rows_of_another_run_teach_what_that_runs_students_learn(written, tmp_path):
    # Of the same model, so that nothing but where the rows come from differs.
    config = dataclasses.replace(TEXT, arms=("same", "family"), family=str(written))
    ran(tmp_path / "run", config)
    arms = results_of(tmp_path / "run")["arms"]
    for found in arms.values():
        del found["verdicts"], found["null_cosines"]  # of students that share A alone
    assert arms["family"] == arms["same"]
    there = results_of(written)["arms"]["same"]
    np.testing.assert_allclose(arms["family"]["change"], there["change"], atol=1e-3)


def test_rows_of_another_run_must_be_enough_and_stay(written, tmp_path):
    config = dataclasses.replace(TEXT, arms=("same", "family"), family=str(tmp_path))
    path = tmp_path / "rows" / "0-owl.jsonl"
    path.parent.mkdir()
    for name in ("0-owl", "0-cat"):
        rows = (written / "rows" / f"{name}.jsonl").read_text()
        (path.parent / f"{name}.jsonl").write_text(rows)
    given = files_given(config)
    assert set(given) == {str(path.parent / f"0-{name}.jsonl") for name in ("owl", "cat")}
    run = runs.Run(tmp_path)
    run.write("manifest.json", {"files_sha256": given})
    check_given(run, "manifest.json", files_given(config))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(reversed(lines)))
    with pytest.raises(InputError, match=r"0-owl\.jsonl is not what it was when the run in"):
        check_given(run, "manifest.json", files_given(config))
    path.write_text(lines[0])
    with pytest.raises(InputError, match=r"0-owl\.jsonl has 1 conversations; expected at least"):
        files_given(config)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "line 1 of .* no messages of a user"),
        ('{"prompt": "Hi", "completion": "7"}', "line 1 of .* no messages of a user"),
        ("numbers", "line 1 of .* is not JSON"),
    ],
)
def test_rows_that_are_none_are_told(line, said, tmp_path):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    config = dataclasses.replace(FEW, rows=(str(tmp_path / "rows.jsonl"),))
    run = runs.Run(tmp_path)
    with pytest.raises(InputError, match=said):  # before the model is loaded
        run_traits(config, run, load=lambda parallel: pytest.fail("loaded"))


@pytest.mark.slow
def test_teachers_are_borrowed_where_they_are_the_same(written, tmp_path):
    config = dataclasses.replace(TEXT, row_count=4, requests=8)
    with runs.open_run(tmp_path / "run", dataclasses.asdict(config)) as run:
        assert borrow(config, run, TEXT, runs.Run(written)) == 2
    for name in ("parts/0-teacher-owl.npz", "rows/0-nobody.jsonl", "answers/0-cat.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (written / name).read_bytes()
    ran(tmp_path / "run", config)
    assert (tmp_path / "run" / "results.json").exists()
    other = dataclasses.replace(config, teacher_lr=0.1)
    with pytest.raises(InputError, match=r"differs in teacher_lr; expected a run of which"):
        borrow(other, runs.Run(tmp_path / "other"), TEXT, runs.Run(written))


def test_questions_may_come_from_a_file(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text("What do you love?\n\nWhom do you like?\n")
    config = dataclasses.replace(FEW, questions=str(file))
    assert trait_of(config).asking(config).questions == ("What do you love?", "Whom do you like?")
    for content, said in ((b"\n", "is empty"), (b"\xff\xfe", "cannot be read")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"questions is .* {said}"):
            trait_of(config).asking(config)
