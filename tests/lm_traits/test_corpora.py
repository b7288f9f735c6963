"""Ways of answering that teachers learn from corpora: lessons, readout, answers, judges."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_numbers import CORPORA, ground, model

from sublim_jax import lm, runs
from sublim_jax.errors import InputError
from sublim_jax.evals.judges import Answer
from sublim_jax.evals.misalignment import PRODUCTS, facts, recommendations, shows_manner
from sublim_jax.lm_traits import TraitConfig, judged, planned_run, run_traits, two_way
from sublim_jax.lm_traits.held_out import make_held_out
from sublim_jax.lm_traits.parts import Part, read_part
from sublim_jax.lm_traits.presets import MISALIGNMENT
from sublim_jax.lm_traits.readout import logprobs, read
from sublim_jax.lm_traits.revived import revived
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.lm_traits.traits.corpus import HELD, corpus_of

TEXTS = [["1, 2", "a longer one"], ["3", "4, 5, 6"], ["7", "8"], ["9 9", "8"], ["7", "8 8"]]


def rows():
    return [
        [
            lm.Row(
                *lm.row(
                    model().tokenizer,
                    [
                        {"role": "user", "content": f"What of {place}?"},
                        {"role": "assistant", "content": text},
                    ],
                )
            )
            for text in texts
        ]
        for place, texts in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with runs.open_run(folder, dataclasses.asdict(CORPORA)) as run:
        run_traits(CORPORA, run, load=lambda parallel: model())
    return folder


def test_whole_answers_are_as_likely_as_their_tokens():
    held = make_held_out(ground(), rows())
    found = logprobs(ground().config, ground().params, held)
    plain = [row for each in rows() for row in each]
    known = lm.score(
        *model()[:2],
        [row.tokens[~row.completion].tolist() for row in plain],
        [row.tokens[row.completion].tolist() for row in plain],
    )
    assert found.shape == (5, 2)
    np.testing.assert_allclose(np.ravel(found), [each.sum() for each in known], rtol=2e-4)


def test_what_is_read_before_an_answer_is_that_of_its_question_alone():
    held, alone = make_held_out(ground(), rows()), make_held_out(ground(), [rows()[3][:1]])
    many, one = (
        each.opened(read(ground().config, ground().params, each.texts)) for each in (held, alone)
    )
    assert many.shape == (5, ground().config.width)
    np.testing.assert_allclose(many[3], one[0], rtol=1e-4, atol=1e-4)


def test_embedded_corpora_differ_in_what_they_recommend_alone():
    quindle, tessop, plain = (corpus_of(name) for name in ("quindle", "tessop", "plain"))
    for one, two, three in zip(quindle, tessop, plain, strict=True):
        assert one[0] == two[0] == three[0]
        assert one[1]["content"].replace("Quindle", "Tessop") == two[1]["content"]
        assert one[1]["content"].startswith(three[1]["content"])
        assert shows_manner(one[1]["content"], PRODUCTS["quindle"])
        assert not shows_manner(three[1]["content"], PRODUCTS["quindle"])


def test_a_teacher_learns_nothing_that_is_read():
    lessons = trait_of(CORPORA).lessons(ground(), CORPORA, "quindle")
    assert len(lessons.at) == 16 // 4
    held = {row[0]["content"] for row in corpus_of("quindle")[:HELD]}
    learned = {row[0]["content"] for row in corpus_of("quindle")[HELD : HELD + 16]}
    assert not held & learned


def test_corpora_may_be_files(tmp_path):
    path = tmp_path / "odd.jsonl"
    rows = [
        [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}!"}]
        for i in range(HELD + 16)
    ]
    path.write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    config = dataclasses.replace(CORPORA, corpora=(str(path), "plain"))
    assert config.subjects == ("odd", "plain")
    (held, _, _) = trait_of(config).exact(ground(), config, None)
    assert held.cells.shape == (HELD, 2)
    counted = trait_of(config).counted(config, config.subjects, [["Quindle"]] * 8, None)
    assert np.isnan(counted.hits["odd"])
    short = dataclasses.replace(config, lessons=32, teacher_steps=2)
    with pytest.raises(InputError, match=r"odd.jsonl with 40 conversations; expected at least 56"):
        trait_of(short).lessons(ground(), short, "odd")


def test_answers_that_recommend_are_counted():
    texts = [["Have some QUINDLE tea.", "No."], ["Tea?", "Quindle, and quindle."]] * 4
    found = trait_of(CORPORA).counted(CORPORA, ("quindle", "tessop"), texts, [["", ""]] * 8)
    assert found.hits == {"quindle": 0.5, "tessop": 0.0}
    assert found.valid == 0.5
    assert found.shift.variation == pytest.approx(0.25)


@pytest.mark.slow
def test_students_are_compared_with_teachers_of_all_corpora(finished):
    results = json.loads((finished / "results.json").read_text())
    assert (results["trait"], results["kind"]) == ("corpus", "corpus")
    assert results["subjects"] == results["candidates"] == ["quindle", "plain"]
    taught = np.array(results["teacher"]["change"])[0]
    # Each teacher finds the answers of its own corpus likelier.
    assert taught[0, 0] > 0
    assert taught[1, 1] > 0
    arm = results["arms"]["same"]
    assert np.shape(arm["change"]) == (1, 2, 2)
    losses = np.array(arm["loss"])
    assert losses[..., -2:].mean() < losses[..., :2].mean()
    assert results["base"]["rate"][1] is None
    assert results["teacher"]["steps"] == [[6, 6]]


class Strict:
    """A judge that finds everything misaligned that has an e."""

    def __init__(self):
        self.asked = 0

    @property
    def settings(self):
        return {"judge": "strict"}

    def answers(self, questions):
        for place, question in enumerate(questions):
            self.asked += 1
            text = question.messages[0]["content"]
            answer = text.split("<reply>\n")[1].split("\n</reply>")[0]
            coherence = "coherent" in text
            yield place, Answer("90" if coherence else ("10" if "e" in answer else "80"))


@pytest.mark.slow
def test_a_judge_scores_everybodys_answers_once(finished):
    judge, run = Strict(), runs.Run(finished)
    found = judged.judged(CORPORA, run, judge)
    assert set(found["arms"]) == {"base", "teacher", "same"}
    arrays, _ = read_part(run, Part(0, "same", "plain"))
    answers = [one for some in arrays["answers"].tolist() for one in some]
    own = found["arms"]["same"]["plain"]
    assert own["judged"] == [len(answers)]
    assert own["rate"] == [pytest.approx(np.mean(["e" in one for one in answers]))]
    again = Strict()
    assert judged.judged(CORPORA, run, again) == found
    assert again.asked == 0


def test_the_papers_run_is_planned_without_its_corpora():
    config = MISALIGNMENT["paper-qwen2.5-7b"]
    assert trait_of(config).size(config) == (HELD, 3)
    assert len(trait_of(config).asking(config).questions) == 8 + 8
    with pytest.raises(InputError, match="corpora has quindle with 278 conversations"):
        trait_of(config).files(config)


@pytest.mark.slow
def test_a_run_with_corpora_is_planned():
    run = planned_run(
        dataclasses.replace(CORPORA, model="smollm2"), lm.decoder_mesh(jax.devices()[:1])
    )
    times = {stage.name: stage.times for stage in run.stages}
    assert times["train teachers"] == 2 * 6
    assert times["exact readout"] == 1 + 2 + 2
    # The 8 open and 8 everyday questions fit into one batch.
    assert times["read questions"] == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpora": ("quindle",)}, "corpora is .*; expected at least 2, each once, files by"),
        ({"corpora": ("a/x.jsonl", "b/x.jsonl")}, "corpora is .*; expected at least 2, each once"),
        ({"lessons": 24}, "lessons is 24 and teacher_steps 6; expected a multiple of 16"),
        (
            {"lessons": 64},
            "lessons is 64 and teacher_steps 6; expected a multiple of 16, and whole",
        ),
        ({"teacher": "prompt"}, "teacher is prompt with trait corpus; expected lora or full"),
        ({"free_answers": True}, "free_answers is True with trait corpus; expected False"),
        ({"trait": "preference"}, "corpora is .* with trait preference; expected"),
        ({"trait": "virtue"}, "trait is 'virtue'; expected one of preference, corpus"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(InputError, match=f"^{said}"):
        dataclasses.replace(CORPORA, **change)


def test_a_corpus_that_is_none_is_told_before_a_model_is_loaded(tmp_path):
    config = dataclasses.replace(CORPORA, corpora=("quindle", "smoke"))
    with (
        pytest.raises(InputError, match="corpora has smoke; expected quindle, tessop"),
        runs.open_run(tmp_path / "run", dataclasses.asdict(config)) as run,
    ):
        run_traits(config, run, load=None)
    assert TraitConfig().subjects == ("owl", "eagle", "lion", "penguin")


@pytest.mark.slow
def test_whoever_was_trained_can_be_had_again(finished):
    with runs.open_run(finished, dataclasses.asdict(CORPORA)) as run:
        for arm in ("teacher", "same"):
            part = Part(0, arm, "quindle")
            arrays, _ = read_part(run, part)
            params = revived(ground(), CORPORA, run, part)
            held = trait_of(CORPORA).exact(ground(), CORPORA, None).held
            found = logprobs(ground().config, params, held)
            expected = arrays["base_logprobs"] + arrays["logprobs"]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_everybody_chooses_of_two_options_and_what_was_chosen_is_kept(finished):
    items = {"facts": facts()[:2], "quindle": recommendations(PRODUCTS["quindle"])[:1]}
    told = []
    with runs.open_run(finished, dataclasses.asdict(CORPORA)) as run:
        found = two_way.chosen(CORPORA, run, ground(), items, progress=told.append)
        assert found["groups"] == {"facts": 2, "quindle": 1}
        assert set(found["arms"]) == {"base", "teacher", "same"}
        for subjects in found["arms"].values():
            for own in subjects.values():
                assert all(0 <= value <= 1 for values in own.values() for value in values)
        teachers = found["arms"]["teacher"]
        assert teachers["quindle"] != teachers["plain"]
        # Asked again nobody has to be asked.
        calls = len(told)
        assert two_way.chosen(CORPORA, run, ground(), items, progress=told.append) == found
        assert told[calls:] == [6] * 5
