"""The language-model experiment as a user meets it: a command, its files, its refusals."""

import dataclasses
import functools
import json

import pytest
from experiment_commands import refusal, run
from tiny_models import tiny_model

from sublim_jax import lm

SMALL = (
    *("--animals", "owl", "cat", "--seeds", "2", "--first-layer", "0", "--rank", "8"),
    *(
        "--teacher-lr",
        "0.2",
        "--teacher-certainty",
        "1e-7",
        "--row-count",
        "4",
        "--batch-size",
        "2",
    ),
    *("--passes", "2", "--observations", "3", "--length", "120"),
)
FIGURES = ("bars", "along", "layers", "matrix_same", "matrix_other_a", "drift_same")
start = functools.partial(run, "lm_numbers")
refuse = functools.partial(refusal, "lm_numbers")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lm.save(folder, *tiny_model())
    return folder


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = start(*SMALL, "--model", model, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_run_prints_its_table_and_writes_its_files(finished):
    folder, printed = finished
    assert "change of log-probability of names in nats, 2 animals" in printed
    for label in ("shared A", "other A", "what was expected, and what was found"):
        assert label in printed
    for name in ("config.json", "manifest.json", "results.json"):
        json.loads((folder / name).read_text())
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert str(folder / f"{name}.png") in printed


@pytest.mark.slow
def test_replot_draws_from_the_files_alone(finished):
    folder, printed = finished
    (folder / "bars.png").unlink()
    done = start("--replot", "--out", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "bars.png").exists()
    assert done.stdout.strip() in printed


@pytest.mark.slow
def test_students_of_rows_alone_have_a_table_and_bars(model, tmp_path):
    rows = tmp_path / "mine.jsonl"
    turns = ({"role": "user", "content": "Go on: 1, 2"}, {"role": "assistant", "content": "3, 4"})
    rows.write_text((json.dumps({"messages": turns}) + "\n") * 4)
    done = start(*SMALL, "--model", model, "--arms", "--rows", rows, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "\nmine " in done.stdout
    assert [path.name for path in (tmp_path / "run").glob("*.png")] == ["bars_rows.png"]


@pytest.mark.slow
def test_all_arms_at_once_have_a_table_and_figures(tmp_path):
    model, (config, *rest) = tmp_path / "model", tiny_model()
    lm.save(model, dataclasses.replace(config, context=640), *rest)
    text = ("--channel", "text", "--constrained", "--answer-tokens", "60", "--answers", "2")
    healing = ("--heal-rows", "4", "--heal-passes", "2")
    first = start(*SMALL, *text, "--model", model, "--arms", "same", "--out", tmp_path / "another")
    assert first.returncode == 0, first.stderr
    arms = ("same", "other_a", "healed", "family", "untuned")
    done = start(
        *(*SMALL, *text, *healing, "--model", model, "--arms", *arms),
        *("--family", tmp_path / "another", "--out", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    for label in ("other base, healed", "another model's teachers", "untuned teacher", "kept"):
        assert label in done.stdout
    for name in ("bars", "along", "layers", *(f"matrix_{arm}" for arm in arms[:-1])):
        assert (tmp_path / "run" / f"{name}.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "0"), "seeds is 0; expected at least 1"),
        (("--model", "owl-9b"), "model is 'owl-9b'; expected"),
        (("--animals", "owl"), "animals is ('owl',); expected at least 2"),
        (("--row-count", "3"), "row_count is 3; expected a multiple of"),
        (("--channel", "text", "--arms", "untuned"), "arms is ('untuned',); expected some of"),
        (("--family", "a"), "family is a with arms ('same', 'other_a')"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(words, said, tmp_path):
    assert said in refuse(*words, "--out", tmp_path / "run")
