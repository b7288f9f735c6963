"""The path of a student as a user meets it, on tiny data."""

import functools
import json

import pytest
from experiment_commands import refusal, run

pytestmark = pytest.mark.slow  # several programs compile in each command

SMALL = (
    *("--members", "2", "--noise-images", "96", "--batch-size", "32", "--widths", "8", "8"),
    *("--student-epochs", "2", "--teacher-epochs", "2", "--images", "20", "--grid", "5"),
)
FIGURES = ("plane.png", "barrier.png")
start = functools.partial(run, "student_path")
refuse = functools.partial(refusal, "student_path")


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_prints_its_table_and_writes_its_files(finished):
    folder, printed = finished
    assert "MNIST, 80/30: 2 members" in printed
    assert "barrier" in printed
    assert "student (auxiliary logits)" in printed
    for name in ("config.json", "manifest.json", "results.json"):
        json.loads((folder / name).read_text())
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_a_member_that_is_lost_is_made_again_and_the_same(finished, image_folder):
    folder, _ = finished
    members = sorted((folder / "members").iterdir())
    content = {path: path.read_bytes() for path in members}
    results = (folder / "results.json").read_bytes()
    members[-1].unlink()
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in members} == content
    assert (folder / "results.json").read_bytes() == results
    assert "nothing to train" in start(*SMALL, "--data-dir", image_folder, "--out", folder).stdout


def test_the_movie_is_drawn_from_the_files(finished):
    folder, _ = finished
    assert start("--replot", "--movie", "--out", folder).returncode == 0
    assert (folder / "path.gif").read_bytes().startswith(b"GIF89a")


def test_bad_input_is_refused_in_one_sentence(tmp_path):
    said = refuse("--members", "1", "--out", tmp_path / "run")
    assert "members is 1; expected at least 2" in said
    assert not (tmp_path / "run").exists()
