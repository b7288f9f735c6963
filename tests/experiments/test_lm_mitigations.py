"""Mitigations, as a user meets them: a command, its table and figures, its refusals."""

import functools
import json

import lm_mitigations
import lm_run
import pytest
from experiment_commands import refusal
from test_mitigations import SOME
from tiny_numbers import model

refuse = functools.partial(refusal, "lm_mitigations")


def entry(contrast, without):
    estimate = {"seeds": contrast}
    return {
        "divergence": [0.004, 0.006],
        "left": [0.25, 0.35],
        "transfer": {"own": estimate, "other": estimate, "contrast": estimate},
        "matched": {"left": [0.3, 0.3], "contrast": contrast, "without": without},
        "cosine": None,
        "curve": {
            "steps": [0, 4],
            "left": [[1.0, 0.25], [1.0, 0.35]],
            "contrast": [[0.0, value] for value in contrast],
        },
    }


RESULTS = {
    "model": "tiny",
    "subjects": ["owl", "cat"],
    "seeds": 2,
    "mitigations": {
        "none": entry([0.3, 0.5], [0.3, 0.5]),
        "other_base": entry([0.0, 0.1], [0.2, 0.3]),
    },
}


def test_a_table_says_by_how_much_less_comes_along_at_equal_imitation():
    none, other = lm_mitigations.table(RESULTS).split("\n")[3:5]
    assert none.startswith("none ")
    assert other.startswith("teacher of another base ")
    assert "30.0%" in none
    assert other.rstrip().endswith("-0.200 ± 0.000")


def test_figures_are_drawn_of_what_was_tried():
    assert set(lm_mitigations.figures(RESULTS)) == {"mitigations.png", "along.png"}
    alone = RESULTS | {"mitigations": {"none": RESULTS["mitigations"]["none"]}}
    assert set(lm_mitigations.figures(alone)) == {"mitigations.png"}


@pytest.mark.slow
def test_a_run_ends_with_a_table_and_figures_and_is_drawn_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lm_run.lm, "load", lambda *_, **__: model())
    few = SOME.__class__(**{**vars(SOME), "seeds": 1, "mitigations": ("none", "mixed_50")})
    options = lm_mitigations.Options(out=tmp_path / "run")
    lm_mitigations.run(few, options)
    first = capsys.readouterr().out
    assert "50 % clean rows" in first
    for name in ("mitigations.png", "along.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((tmp_path / "run" / "results.json").read_text())["mitigations"]) == {
        *few.mitigations
    }
    lm_mitigations.run(few, options)
    assert "complete: all teachers and students are there" in capsys.readouterr().out
    lm_mitigations.run(few, lm_mitigations.Options(out=tmp_path / "run", replot=True))
    again = capsys.readouterr().out
    assert (
        again.split("tiny: ")[1].split("figure")[0] == first.split("tiny: ")[1].split("figure")[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mitigations", "relay"), "mitigations is ('relay',); expected none and some of"),
        (("--filtered", "0"), "filtered is 0.0; expected a share between 0 and 1"),
        (("--model", "nowhere/nothing.gguf"), "nothing.gguf"),
    ],
)
def test_a_wrong_input_is_refused_in_a_sentence(tmp_path, options, message):
    assert message in refuse(*options, "--out", tmp_path / "run")
