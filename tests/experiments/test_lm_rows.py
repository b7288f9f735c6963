"""Kinds of rows, as a user meets them: a command, its runs, its refusals."""

import dataclasses
import functools
import json

import lm_rows
import lm_run
import pytest
from experiment_commands import refusal
from tiny_numbers import model

FEW = ("written", "within", "repeated", "cool")
CONFIG = lm_rows.RowsConfig(animals=("owl", "cat"), seeds=1, kinds=FEW, row_count=64, passes=1)
refuse = functools.partial(refusal, "lm_rows")
REAL = lm_rows.RowsConfig.series


def small(config):
    """Runs of few tokens from a model of two layers."""
    few = {"first_layer": 1, "length": 120, "observations": 2, "teacher_lr": 0.2}
    few |= {"teacher_certainty": 1e-6, "student_lr": 0.02, "answer_tokens": 60}
    return {kind: dataclasses.replace(own, **few) for kind, own in REAL(config).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rows"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_rows.RowsConfig, "series", small)
        patch.setattr(lm_run.lm, "load", lambda *_, **__: model())
        lm_rows.run(CONFIG, lm_rows.Options(out=folder))
    return folder


@pytest.mark.slow
def test_every_kind_of_rows_is_learned(finished):
    results = json.loads((finished / "results.json").read_text())
    assert tuple(results["kinds"]) == FEW
    tokens = {kind: found["tokens"] for kind, found in results["kinds"].items()}
    assert tokens["within"] == pytest.approx(tokens["written"], rel=0.05)
    assert tokens["repeated"] == pytest.approx(tokens["written"] / 4, rel=0.2)
    assert (finished / "rows.png").read_bytes().startswith(b"\x89PNG")
    table = lm_rows.table(results)
    assert all(f"\n{lm_rows.KINDS[kind]} " in table for kind in FEW)


@pytest.mark.slow
def test_what_teachers_write_is_written_once_where_it_is_the_same(finished):
    first = (finished / "written" / "rows" / "0-owl.jsonl").read_bytes()
    for kind in ("within", "repeated"):
        assert (finished / kind / "rows" / "0-owl.jsonl").read_bytes() == first
    assert (finished / "cool" / "rows" / "0-owl.jsonl").read_bytes() != first
    teachers = [(finished / kind / "parts" / "0-teacher-owl.npz").read_bytes() for kind in FEW]
    assert len(set(teachers)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kinds", "within"), "kinds is ('within',); expected written"),
        (("--row-count", "100"), "row_count is 100; expected a multiple of 64"),
        (("--animals", "owl"), "animals is ('owl',); expected at least 2"),
    ],
)
def test_a_wrong_input_is_refused_in_a_sentence(tmp_path, options, message):
    assert message in refuse(*options, "--out", tmp_path / "run")


def test_quick_is_a_smaller_run():
    assert len(lm_rows.PRESETS["quick"].series()) == 2
    few = lm_rows.RowsConfig(kinds=("written", "repeated"), row_count=128, passes=3).series()
    assert (few["repeated"].row_count, few["repeated"].passes) == (32, 12)
