"""The forecast as a user meets it, on tiny data."""

import functools
import json
import math

import pytest
from experiment_commands import refusal, run

pytestmark = pytest.mark.slow  # several programs compile in each command

SMALL = (
    *("--members", "2", "--noise-images", "96", "--widths", "8", "8", "--student-epochs", "1"),
    *("--observations", "2", "--factors", "noise on the start"),
)
FIGURES = ("forecast.png", "predictions.png")
start = functools.partial(run, "predict_transfer")
refuse = functools.partial(refusal, "predict_transfer")


@pytest.fixture(scope="module")
def grid(image_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grid"
    done = run("distance_vs_transfer", *SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def finished(grid, image_folder):
    folder = grid.parent / "run"
    done = start(*SMALL, "--data-dir", image_folder, "--grid", grid, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_prints_its_table_and_writes_its_files(finished):
    folder, printed = finished
    for said in ("held-out settings", "rank correlation (5)", "AUROC (6, with controls)", "cost:"):
        assert said in printed
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    results = json.loads((folder / "results.json").read_text())
    # The base with its control, and six levels of noise; nobody has tuned which are held out.
    assert len(results["pairs"]) == 8
    assert sum(pair["held_out"] for pair in results["pairs"]) == 6
    assert results["cost"]["share"] > 0


def test_what_was_measured_is_what_the_grid_has(finished, grid):
    pairs = json.loads((finished[0] / "results.json").read_text())["pairs"]
    rows = (grid / "points.csv").read_text().splitlines()
    names = rows[0].split(",")
    table = [dict(zip(names, row.split(","), strict=True)) for row in rows[1:]]
    for pair in pairs:
        key = pair["factor"], pair["level"], pair["arm"]
        found = [float(r["accuracy"]) for r in table if (r["factor"], r["level"], r["arm"]) == key]
        assert pair["measured"] == pytest.approx(found)


def test_noise_on_the_start_takes_the_first_step_off_the_way(finished):
    pairs = json.loads((finished[0] / "results.json").read_text())["pairs"]
    cosine = {
        pair["level"]: sum(pair["step_cosine"]) / 2
        for pair in pairs
        if pair["arm"] == "student_aux"
    }
    assert cosine["base"] > cosine["3"]
    assert all(math.isfinite(value) for value in cosine.values())


def test_figures_are_drawn_again_without_training(finished):
    folder, printed = finished
    drawn = (folder / FIGURES[0]).read_bytes()
    (folder / FIGURES[0]).unlink()
    done = start("--replot", "--out", folder)
    assert done.returncode == 0
    assert done.stdout in printed
    assert (folder / FIGURES[0]).read_bytes() == drawn


def test_a_grid_that_does_not_fit_is_refused_in_one_sentence(grid, image_folder, tmp_path):
    how = (*SMALL, "--data-dir", image_folder, "--out", tmp_path / "run")
    assert "has no results.json; expected a finished grid" in refuse(*how, "--grid", tmp_path)
    other = (*how, "--grid", grid, "--factors", "heads")
    assert "lacks 5 settings, heads others among them" in refuse(*other)
    assert "with 2 members; expected 3" in refuse(*how, "--grid", grid, "--members", "3")
    assert "fewer_steps is 0.5" in refuse(*how, "--grid", grid, "--fewer-steps", "0.5")
    assert not (tmp_path / "run").exists()
