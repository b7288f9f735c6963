"""The front door as a user meets it: a command, its files, its refusals."""

import functools
import json
import subprocess
import sys

import pytest
from experiment_commands import refusal, run, words

SMALL = (
    *("--members", "2", "--noise-images", "96", "--batch-size", "32", "--widths", "8", "8"),
    *("--student-epochs", "1", "--teacher-epochs", "1", "--observations", "3"),
)
FIGURES = ("accuracy.png", "drift_along_training.png", "drift_against_transfer.png")
start = functools.partial(run, "mnist_aux_logits")
refuse = functools.partial(refusal, "mnist_aux_logits")


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_prints_its_table_and_writes_its_files(finished):
    folder, printed = finished
    assert "MNIST, 80/30: 2 members" in printed
    for label in ("teacher", "student (auxiliary logits)", "shuffled targets (auxiliary)"):
        assert label in printed
    assert "0.528 ± 0.022" in printed  # the paper's number beside ours
    for name in ("config.json", "manifest.json", "results.json"):
        json.loads((folder / name).read_text())
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert str(folder / name) in printed


def test_started_again_it_says_that_it_is_complete(finished, image_folder):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    done = start(*SMALL, "--data-dir", image_folder, "--out", folder)
    assert done.returncode == 0
    assert "complete: all 2 members are there, nothing to train" in done.stdout
    assert (folder / "results.json").read_bytes() == before


def test_replot_draws_from_the_files_alone(finished):
    folder, _ = finished
    (folder / FIGURES[0]).unlink()
    done = start("--replot", "--out", folder)
    assert done.returncode == 0
    assert (folder / FIGURES[0]).read_bytes().startswith(b"\x89PNG")


def test_a_reader_that_leaves_ends_it_quietly(finished):
    command = [sys.executable, *words("mnist_aux_logits", "--replot", "--out", finished[0])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        run.stdout.close()
        said = run.stderr.read()
    assert run.returncode == 141
    assert said == "nobody reads the output any more; the same command continues\n"


def test_another_configuration_is_refused_and_nothing_is_lost(finished, image_folder):
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = refuse(*SMALL, "--aux", "4", "--data-dir", image_folder, "--out", folder)
    assert "aux is 3 there and 4 here" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_bad_values_are_refused_with_a_sentence(image_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for options, said in (
        (("--aux", "1"), "softmax of a single logit is always 1"),
        (("--members", "one"), "--members"),
        (("--preset", "huge"), "huge"),
        (("--data-dir", empty), "lacks"),
        (("--data-dir", image_folder, "--out", image_folder), "holds files but no config.json"),
        (("--replot", "--out", empty), "results.json does not exist"),
    ):
        assert said in refuse(*options), options


def test_a_refusal_ends_the_process_with_status_2_and_no_traceback():
    done = start("--aux", "1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_explains_every_option_with_its_default():
    done = start("--help")
    assert done.returncode == 0
    for option in (
        *("--preset", "--quick", "--out", "--replot", "--data-dir", "--members-at-once"),
        *("--members", "--dataset", "--aux", "--loss", "--optimizer", "--teacher-lr"),
        *("--student-lr", "--teacher-epochs", "--student-epochs", "--batch-size"),
        *("--noise-images", "--widths", "--seed"),
    ):
        assert option in done.stdout
    assert "default: 60000" in done.stdout
    paper = start("--preset", "paper", "--help").stdout
    assert "default: 100" in paper
