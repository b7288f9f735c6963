"""Two processes of two devices each are one process of four, and neither outlives the other."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ports import free_address

WORKER = Path(__file__).with_name("worker.py")
pytestmark = pytest.mark.slow
BOUND = 60  # seconds in which a process has to notice that another one is gone


class Started:
    """Processes of one run, and what each says on its standard error stream."""

    def __init__(self, folder, mode, *, processes, pause=0.0):
        """Start the training on four devices in all."""
        given = {"mode": mode, "folder": str(folder), "devices": 4 // processes, "pause": pause}
        each = [given]
        if processes == 2:
            address = free_address()
            each = [given | {"coordinator": address, "id": i, "count": 2} for i in (0, 1)]
        folder.mkdir(exist_ok=True)
        self.paths = [folder / f".said-{i}" for i in range(processes)]
        self.processes = []
        for arguments, path in zip(each, self.paths, strict=True):
            with path.open("w") as said:
                command = [sys.executable, WORKER, json.dumps(arguments)]
                self.processes.append(
                    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    @property
    def said(self):
        return [path.read_text() for path in self.paths]

    def wait_for(self, process, step):
        """Wait until one of them has made so many steps."""
        while not any(
            line.startswith("step ") and int(line.split()[1]) >= step
            for line in self.said[process].splitlines()
        ):
            assert self.processes[process].poll() is None, self.said
            time.sleep(0.01)

    def end(self, timeout=BOUND):
        """Wait for the end of all; their exit statuses."""
        return [process.wait(timeout) for process in self.processes]


def result(folder):
    with np.load(folder / "result.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The results of one process with four devices."""
    results = {}
    for mode in ("pmap", "mesh", "fsdp"):
        folder = tmp_path_factory.mktemp(mode)
        with Started(folder, mode, processes=1) as run:
            assert run.end() == [0], run.said
        results[mode] = result(folder), (folder / "metrics.jsonl").read_text()
    return results


def metrics(text):
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows] == list(range(27))
    return [row["loss"] for row in rows]


def assert_equal(folder, expected):
    arrays, text = expected
    for name, array in result(folder).items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(
        metrics((folder / "metrics.jsonl").read_text()), metrics(text), rtol=1e-5
    )


def test_modes_agree(alone):
    for mode in ("mesh", "fsdp"):
        for name, array in alone[mode][0].items():
            np.testing.assert_allclose(array, alone["pmap"][0][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["pmap", "mesh", "fsdp"])
def test_two_processes_equal_one(alone, tmp_path, mode):
    with Started(tmp_path, mode, processes=2) as run:
        assert run.end() == [0, 0], run.said
    assert_equal(tmp_path, alone[mode])


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_both_resume(alone, tmp_path, victim):
    with Started(tmp_path, "pmap", processes=2, pause=0.2) as run:
        run.wait_for(victim, 8)
        run.processes[victim].send_signal(signal.SIGKILL)
        began = time.monotonic()
        assert run.processes[1 - victim].wait(BOUND) != 0
        said = run.said[1 - victim]
    print(f"the other process ended after {time.monotonic() - began:.1f} s: {said[-300:]}")
    assert "another process" in said or "distributed service detected" in said, said
    with Started(tmp_path, "pmap", processes=2) as run:
        assert run.end() == [0, 0], run.said
    assert "step 0" not in run.said[0]  # it went on
    assert_equal(tmp_path, alone["pmap"])


def test_sigterm_to_one_process_saves_and_ends_both(alone, tmp_path):
    with Started(tmp_path, "mesh", processes=2, pause=0.2) as run:
        run.wait_for(1, 7)
        run.processes[1].send_signal(signal.SIGTERM)
        assert run.end() == [75, 75], run.said
    assert all("saved; the same command continues" in text for text in run.said)
    # On one process now: what two have saved is not theirs alone.
    with Started(tmp_path, "mesh", processes=1) as run:
        assert run.end() == [0], run.said
    assert "step 0" not in run.said[0]
    assert_equal(tmp_path, alone["mesh"])
