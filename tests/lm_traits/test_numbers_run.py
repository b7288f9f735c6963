"""A run of teachers and students: what it writes, and that it goes on wherever it was stopped."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import lm, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig, recording, run_traits, stages, trainings
from sublim_jax.lm_traits.drifting import Bases, drift_from, null_cosines
from sublim_jax.lm_traits.parts import Part, read_part, write_part
from sublim_jax.lm_traits.trainees import joined, restored, start_of
from sublim_jax.training import Checkpoints, Preempted, Session


def ran(folder, config=TINY, **options):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        return run_traits(config, run, load=lambda parallel: model(), **options)


def contents(folder):
    parts = sorted((folder / "parts").iterdir())
    return {path.name: path.read_bytes() for path in [*parts, folder / "results.json"]}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "complete"
    assert ran(folder)
    return folder


def test_it_says_of_every_seed_what_all_students_learnt(complete):
    results = json.loads((complete / "results.json").read_text())
    assert results["candidates"] == ["owl", "cat"]  # of a byte each there are no others
    teacher = np.array(results["teacher"]["change"])
    own = np.eye(2, dtype=bool)
    assert (teacher[:, own] > 0.5).all()
    for found in results["arms"].values():
        assert np.shape(found["change"]) == (2, 2, 2)
        assert np.shape(found["stream_by_layer"]) == (2, 2, 2, 1)
        losses = np.array(found["loss"])
        assert (losses[..., -1] < losses[..., 0]).all()
        imitation = found["imitation"]
        assert (np.array(imitation["after"]) < np.array(imitation["before"])).all()
        # What teachers say where students learn is about what they say where all are observed.
        np.testing.assert_allclose(found["divergence"], imitation["before"], rtol=0.3)
        along = np.array(found["curve"]["change"])
        assert (along[:, :, 0] == 0).all()
        assert np.abs(along[:, :, -1]).min() > 0
        assert len(found["verdicts"]) == 5
        transfer = found["transfer"]
        assert transfer["contrast"]["t"]["mean"] == pytest.approx(
            transfer["own"]["t"]["mean"] - transfer["other"]["t"]["mean"]
        )


def test_students_that_share_a_move_toward_their_teachers(complete):
    results = json.loads((complete / "results.json").read_text())
    own = np.eye(2, dtype=bool)
    cosines = {
        arm: np.array(found["measures"]["cosine"])[:, own] for arm, found in results["arms"].items()
    }
    assert (cosines["same"] > 0).all()
    assert cosines["same"].mean() > 2 * np.abs(cosines["other_a"]).mean()
    pulls = np.array(results["arms"]["same"]["measures"]["pull_carrier"])
    assert (pulls[:, own] > 0.2).all()


def test_students_with_another_a_do_what_those_with_the_teachers_do(complete):
    found = json.loads((complete / "results.json").read_text())["agreement"]
    own = np.eye(2, dtype=bool)
    alike = np.array(found["alike"]["pull_carrier"])
    assert alike[:, own].min() > alike[:, ~own].max()
    # Of 16 columns of a matrix an A of rank 8 lets through a half: little is diluted here.
    shared, expected = np.array(found["shared"]), np.array(found["expected"])
    np.testing.assert_allclose(expected / shared, 0.5, atol=0.26)
    matched = json.loads((complete / "results.json").read_text())["matched"]
    assert set(matched) == {"same", "other_a"}
    assert (np.array(matched["same"]["step"]) <= 7).all()


def test_a_complete_run_trains_nothing(complete, monkeypatch):
    before = contents(complete)
    monkeypatch.setattr(stages, "cut", None)
    assert not ran(complete)
    assert contents(complete) == before


@pytest.mark.slow
def test_killed_between_parts_it_ends_the_same(complete, tmp_path, monkeypatch):
    def killed(run, part, *what):
        write_part(run, part, *what)
        if part == Part(1, "same", "owl"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recording, "write_part", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    assert ran(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(complete)


@pytest.mark.slow
def test_stopped_inside_a_training_it_ends_the_same(complete, tmp_path):
    asked = iter(range(1000))
    saved = tmp_path / "checkpoints"

    def session(stop):
        return Session(
            checkpoints=Checkpoints(saved),
            every_steps=1,
            stop_requested=lambda: next(asked) == stop,
        )

    with pytest.raises(Preempted), session(25) as stopped:
        ran(tmp_path / "run", session=stopped)
    with session(None) as going_on:
        ran(tmp_path / "run", session=going_on)
    assert contents(tmp_path / "run") == contents(complete)
    assert Checkpoints(saved).names() == []


def trained(run, part, config=TINY):
    start = start_of(ground(), config, part, trainings.keys_of(config, part.seed))
    return restored(start, read_part(run, part)[1])


@pytest.mark.slow
def test_activations_may_be_computed_again(complete, tmp_path, monkeypatch):
    config = dataclasses.replace(TINY, seeds=1, arms=("same",), answers=0)
    given, real = [], lm.finetune

    def finetune(*args, computing, **options):
        given.append(computing)
        return real(*args, computing=computing, **options)

    monkeypatch.setattr(lm, "finetune", finetune)
    ran(tmp_path / "run", config, computing=lm.Computing(remat=True))
    assert given == [lm.Computing(remat=True)] * 4
    for name in ("0-teacher-owl", "0-same-owl"):
        found, expected = (
            np.load(folder / "parts" / f"{name}.npz") for folder in (tmp_path / "run", complete)
        )
        np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-4)


def test_products_are_those_of_merged_matrices(complete):
    with runs.open_run(complete, dataclasses.asdict(TINY)) as run:
        key = trainings.keys_of(TINY, 0)
        teacher, student = (trained(run, Part(0, arm, "owl")) for arm in ("teacher", "same"))
    plain = ground().params
    moved = [
        jax.tree.map(np.subtract, joined(plain, TINY, one)["layers"], plain["layers"])
        for one in (student, teacher)
    ]
    known = sum(float(np.vdot(a, b)) for a, b in zip(*map(jax.tree.leaves, moved), strict=True))
    found = drift_from(Bases(plain, plain), TINY, student, {"owl": teacher})["student_teacher"]
    assert found.shape == (1, 1)
    np.testing.assert_allclose(found.sum(), known, rtol=1e-3)
    nulls = null_cosines(Bases(plain, plain), TINY, student, teacher, key=key)
    assert np.abs(nulls).max() < 0.5
    assert abs(nulls.mean()) < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 0}, "seeds is 0; expected at least 1"),
        ({"animals": ("owl",)}, "animals is .*; expected at least 2, each once"),
        ({"animals": ("owl", "owl")}, "animals is .*; expected at least 2, each once"),
        ({"arms": ("same", "twin")}, "arms is .*; expected some of same, other_a"),
        ({"teacher_certainty": 1.0}, "teacher_certainty is 1.0; expected a number between"),
        ({"row_count": 41}, "row_count is 41; expected a multiple of batch_size, 8"),
        ({"channel": "smoke"}, "channel is 'smoke'; expected one of logits, labels, text"),
        ({"arms": ("untuned", "same")}, "arms is .* with channel logits; expected no untuned"),
        ({"arms": ("untuned",), "channel": "text"}, "arms is .*; expected some of"),
        ({"arms": ()}, "arms is .*; expected some of"),
        ({"rows": ("a/x.jsonl", "b/x.jsonl")}, "rows is .*; expected files of different names"),
        ({"base_noise": 0.0}, "base_noise is 0.0; expected a positive number"),
        ({"teacher": "full", "student": "layers"}, "arms is .*; expected no other_a"),
        ({"constrained": True}, "constrained is True with channel logits; expected False"),
        ({"channel": "labels", "shuffle": "within"}, "shuffle is within with channel labels"),
        ({"dose": 0.5}, "dose is 0.5 with channel logits; expected 1.0"),
        ({"dose": 0.0, "channel": "text"}, "dose is 0.0; expected a share above 0, at most 1"),
        ({"channel": "text", "top_p": 0.0}, "top_p is 0.0; expected a share above 0, at most 1"),
        ({"channel": "text", "temperature": 0}, "temperature is 0; expected a positive number"),
        ({"temperature": 0.5}, "temperature is 0.5 with channel logits; expected 1.0"),
        ({"carrier": "smoke"}, "carrier is 'smoke'; expected one of numbers, code, reasoning"),
        ({"carrier": "code", "problems": "a"}, "problems is a with carrier code; expected None"),
        (
            {"carrier": "code", "channel": "text", "shuffle": "within"},
            "shuffle is within with carrier code; expected none",
        ),
        ({"channel": "text", "requests": 31}, "requests is 31; expected at least row_count, 32"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(InputError, match=f"^{said}"):
        TraitConfig(**change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher_certainty": 0.99, "teacher_steps": 1}, "teacher_steps is 1; expected more"),
        ({"length": 40}, "length is 40; expected more than the"),
        ({"first_layer": 2}, "first_layer is 2; expected 0 to 1"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(change, said, tmp_path):
    with pytest.raises(InputError, match=f"^{said}"):
        ran(tmp_path / "run", dataclasses.replace(TINY, **change))


def test_a_damaged_part_is_told(complete, tmp_path):
    part = Part(0, "same", "owl")
    (tmp_path / "parts").mkdir()
    (tmp_path / part.file).write_bytes((complete / part.file).read_bytes()[:100])
    with pytest.raises(InputError, match=r"is damaged .* the same command makes it again"):
        read_part(runs.Run(tmp_path), part)
