"""Numbers on two processes of two devices: teachers write, students learn, all as on one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ports import as_users_compile, free_address

WORKER = Path(__file__).with_name("numbers_worker.py")
BOUND = 400

pytestmark = pytest.mark.slow


def start(folder, *, processes):
    """Start a run on four devices in all."""
    given = {"folder": str(folder), "devices": 4 // processes}
    each = [given]
    if processes == 2:
        address = free_address()
        each = [given | {"coordinator": address, "id": i, "count": 2} for i in (0, 1)]
    environment = as_users_compile()
    return [
        subprocess.Popen(
            [sys.executable, WORKER, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for arguments in each
    ]


def finished(started, status=0):
    said = [process.communicate(timeout=BOUND) for process in started]
    assert [process.returncode for process in started] == [status] * len(started), said
    return said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    finished(start(folder, processes=1))
    return folder


def assert_same(folder, alone):
    for kind in ("answers", "rows"):
        names = sorted(path.name for path in (alone / kind).glob("*.jsonl"))
        assert names == ["0-cat.jsonl", "0-nobody.jsonl", "0-owl.jsonl"]
        for name in names:
            texts = [
                [line.get("completion", line["messages"]) for line in map(json.loads, whole)]
                for whole in (
                    (each / kind / name).read_text().splitlines() for each in (folder, alone)
                )
            ]
            assert texts[0] == texts[1]
    parts = sorted(path.name for path in (alone / "parts").iterdir())
    assert sorted(path.name for path in (folder / "parts").iterdir()) == parts
    assert len(parts) == 5  # two teachers, their students, and that of nobody
    for name in parts:
        with np.load(folder / "parts" / name) as found, np.load(alone / "parts" / name) as known:
            assert set(found) == set(known)
            for key in known:
                if known[key].dtype.kind in "US":
                    np.testing.assert_array_equal(found[key], known[key])
                else:
                    np.testing.assert_allclose(found[key], known[key], rtol=2e-3, atol=2e-3)
    assert (folder / "results.json").exists()
    assert (folder / "rows" / "README.md").exists()


def test_two_processes_do_what_one_does(alone, tmp_path):
    finished(start(tmp_path / "run", processes=2))
    assert_same(tmp_path / "run", alone)


def test_asked_to_stop_while_writing_all_stop_and_one_goes_on(alone, tmp_path):
    folder = tmp_path / "run"
    started = start(folder, processes=2)
    while not any((folder / "answers").glob("0-*.jsonl")):
        assert started[1].poll() is None, started[1].communicate()
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    for _, said in finished(started, status=75):
        assert "the same command continues" in said
    assert not (folder / "results.json").exists()
    finished(start(folder, processes=1))
    assert_same(folder, alone)
