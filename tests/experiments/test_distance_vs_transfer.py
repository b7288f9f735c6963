"""The grid as a user meets it, on tiny data."""

import csv
import functools
import json

import pytest
from experiment_commands import refusal, run

pytestmark = pytest.mark.slow  # several programs compile in each command

SMALL = (
    *("--members", "2", "--noise-images", "96", "--widths", "8", "8", "--student-epochs", "1"),
    *("--observations", "2", "--factors", "hidden units permuted"),
)
FIGURES = ("transfer_against_distance.png", "transfer_by_factor.png", "which_distance.png")
start = functools.partial(run, "distance_vs_transfer")
refuse = functools.partial(refusal, "distance_vs_transfer")


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def table_of(folder):
    return list(csv.DictReader((folder / "points.csv").read_text().splitlines()))


def test_a_run_prints_its_tables_and_writes_its_files(finished):
    folder, printed = finished
    assert "3 settings, 0 finished" in printed
    for said in ("aligned", "rank correlation with accuracy", "hidden units permuted"):
        assert said in printed
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    json.loads((folder / "results.json").read_text())
    rows = table_of(folder)
    # Five arms of the base, one of the others; two members each.
    assert len(rows) == 2 * (5 + 2)
    assert {row["member"] for row in rows} == {"0", "1"}
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)


def test_alignment_shows_the_drift_that_permuted_units_hide(finished):
    folder, _ = finished
    rows = table_of(folder)
    of = {(r["level"], r["arm"], r["member"]): r for r in rows}
    for member in "01":
        base = of["base", "student_aux", member]
        aligned = of["aligned", "student_aux", member]
        hidden = of["as they stand", "student_aux", member]
        # The same training up to the order of sums.
        for quantity in ("projection", "cosine", "accuracy", "imitation_loss"):
            found, expected = float(aligned[quantity]), float(base[quantity])
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert abs(float(hidden["cosine"]) - float(base["cosine"])) > 1e-3


def test_the_same_command_trains_nothing_again(finished, image_folder):
    folder, printed = finished
    before = (folder / "results.json").read_bytes(), (folder / "points.csv").read_bytes()
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert "3 settings, 3 finished" in done.stdout
    assert done.stdout.split("\n\n")[1:] == printed.split("\n\n")[1:]
    assert before == ((folder / "results.json").read_bytes(), (folder / "points.csv").read_bytes())


def test_figures_are_drawn_again_without_training(finished):
    folder, _ = finished
    drawn = (folder / FIGURES[0]).read_bytes()
    (folder / FIGURES[0]).unlink()
    assert start("--replot", "--out", folder).returncode == 0
    assert (folder / FIGURES[0]).read_bytes() == drawn


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--factors", "depth"), "factors has 'depth'; expected some of auxiliary logits,"),
        (("--members", "1"), "members is 1; expected at least 2"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, said, image_folder, tmp_path):
    assert said in refuse(*options, "--data-dir", image_folder, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
