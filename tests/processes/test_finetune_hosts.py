"""Fine-tuning from the command line on two processes of two devices is that of one with four."""

import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from ports import as_users_compile, free_address
from tiny_models import tiny_model

from sublim_jax import lm

BOUND = 180

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    lm.save(folder / "base", *tiny_model())
    rows = [{"prompt": f"{i}?", "completion": "owl"} for i in range(10)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def finetune(given, out, *options, processes):
    """Start the command on four devices in all."""
    few = ("--epochs", "4", "--batch-size", "4", "--learning-rate", "0.02", "--warmup", "0")
    files = ("--model", given / "base", "--data", given / "rows.jsonl", "--out", out)
    command = [sys.executable, "-m", "sublim_jax.commands", "finetune", *files, *few, *options]
    address = free_address()
    devices = {"JAX_NUM_CPU_DEVICES": str(4 // processes), "JAX_PLATFORMS": "cpu"}
    environment = as_users_compile() | devices | {"SUBLIM_JAX_CACHE": str(given / "cache")}
    started = []
    for i in range(processes):
        where = ("--coordinator", address, "--process-id", i, "--process-count", processes)
        started.append(
            subprocess.Popen(
                [*map(str, command), *(map(str, where) if processes > 1 else ())],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finished(started, status=0):
    """Wait for all; what they said."""
    said = [process.communicate(timeout=BOUND) for process in started]
    assert [process.returncode for process in started] == [status] * len(started), said
    return said


def assert_same(one, other):
    for found, known in zip(
        *(jax.tree.leaves(lm.load(folder).params) for folder in (one, other)), strict=True
    ):
        np.testing.assert_allclose(found, known, atol=2e-5)


MESH = ("--fsdp", "2", "--tensor", "2")


@pytest.mark.parametrize(
    "options",
    [MESH, ("--parallel", "pmap")],
    ids=["mesh", "pmap"],
)
def test_two_processes_learn_what_one_does(given, tmp_path, options):
    finished(finetune(given, tmp_path / "alone", *options, processes=1))
    said = finished(finetune(given, tmp_path / "tuned", *options, processes=2))
    assert_same(tmp_path / "tuned", tmp_path / "alone")
    assert "written" in said[0][0]
    assert "written" not in said[1][0]  # the first one speaks
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "tuned"]


def test_all_processes_refuse_alike(given, tmp_path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "thesis.txt").write_text("mine")
    for _, said in finished(finetune(given, tmp_path / "tuned", processes=2), status=2):
        assert "thesis.txt" in said
        assert "Traceback" not in said


def test_asked_to_stop_all_save_and_fewer_go_on(given, tmp_path):
    slowly = ("--checkpoint-minutes", "0.0001", *MESH)
    started = finetune(given, tmp_path / "tuned", *slowly, processes=2)
    saved = tmp_path / ".tuned.unfinished" / "checkpoints"
    while not any(saved.glob("*/*")):
        assert started[1].poll() is None, started[1].communicate()
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    for _, said in finished(started, status=75):
        assert "saved; the same command continues" in said
    for name in ("tuned", "alone"):
        finished(finetune(given, tmp_path / name, *MESH, processes=1))
    assert_same(tmp_path / "tuned", tmp_path / "alone")
