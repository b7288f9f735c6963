"""Detectors of rows, as a user meets them: a command, its runs, its refusals."""

import dataclasses
import functools
import json

import lm_detect
import lm_detect_report
import lm_run
import numpy as np
import pytest
from experiment_commands import refusal
from tiny_numbers import WRITING, model

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import write_only
from sublim_jax.lm_traits.names import NOBODY

TEXT = WRITING
refuse = functools.partial(refusal, "lm_detect")


def load(*_, **__):
    return model()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with runs.open_run(folder / "written", dataclasses.asdict(TEXT)) as run:
        write_only(TEXT, run, load=load)
    config = lm_detect.DetectConfig(run=folder / "written", row_count=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_run.lm, "load", load)
        lm_detect.run(config, lm_detect.Options(out=folder / "detect"))
    return folder / "detect"


@pytest.mark.slow
def test_every_detector_is_tested_on_every_repetition(finished):
    results = json.loads((finished / "results.json").read_text())
    assert set(results["tasks"]) == {"untuned", "other"}
    for found in results["tasks"].values():
        assert set(found) == set(lm_detect_report.DETECTORS)
        for entry in found.values():
            assert np.shape(entry["auroc"]) == (2,)
            assert all(0 <= share <= 1 for share in entry["auroc"])
    for task in results["tasks"]:
        assert (finished / f"detect_{task}.png").read_bytes().startswith(b"\x89PNG")
    table = lm_detect_report.table(results)
    assert all(label in table for label in lm_detect_report.DETECTORS.values())


@pytest.mark.slow
def test_the_teacher_itself_tells_its_rows(finished):
    # Its rows are likelier under it than under the base; the pull is the first order of that.
    results = json.loads((finished / "results.json").read_text())
    for found in results["tasks"].values():
        assert np.mean(found["ratio"]["auroc"]) > 0.6


def made(seed, strength):
    """What is known of two writers whose scores differ by so much, and of one without."""
    random = np.random.default_rng(seed)
    data = {}
    for s in range(2):
        for place, writer in enumerate(("owl", "cat", NOBODY)):
            own = random.normal(size=(2, 50))
            if writer != NOBODY:
                own[place] += strength
            text = [f"{place} " * 3 if strength else "1 2 3" for _ in range(50)]
            data[s, writer] = {"ratio": own, "features": own.T, "text": text}
    return data


@pytest.mark.parametrize("name", ["ratio", "features", "bag", "frequencies"])
@pytest.mark.parametrize("strength", [0, 3])
def test_detectors_find_what_is_there_and_nothing_else(name, strength):
    data = made(0, strength)
    for pairs in ([("owl", NOBODY), ("cat", NOBODY)], [("owl", "cat"), ("cat", "owl")]):
        shares = lm_detect.tested(TEXT, data, pairs, name)["auroc"]
        if strength:
            assert min(shares) > 0.9
        else:
            assert 0.35 < np.mean(shares) < 0.65


def test_a_run_of_one_repetition_is_refused(tmp_path):
    config = dataclasses.replace(TEXT, seeds=1)
    with pytest.raises(InputError, match="run has 1 repetitions"):
        lm_detect._check(lm_detect.DetectConfig(), config, runs.Run(tmp_path))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--row-count", "1"), "row_count is 1; expected at least 2"),
        (("--seeds", "1"), "seeds is 1; expected at least 2"),
        (("--run", "nowhere"), "run is nowhere, which has no rows of teachers"),
    ],
)
def test_what_cannot_be_is_refused(options, said, tmp_path):
    assert said in refuse(*options, "--out", tmp_path / "run")
