"""A real run, killed by SIGKILL at random moments and started again, ends with the same bytes.

    python -m pytest -m slow -n 0 -s tests/faults          # twenty kills, some minutes
    SUBLIM_JAX_KILLS=3 python -m pytest -m slow -n 0 -s tests/faults

Prints how many kills were survived, how many of them hit a checkpoint that was being written, how
many steps had to be made again, and how many bytes differ.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

VICTIM = Path(__file__).with_name("victim.py")
KILLS = int(os.environ.get("SUBLIM_JAX_KILLS", "20"))
OPTIONS = (
    *("--members", "3", "--members-at-once", "2", "--noise-images", "6000", "--batch-size", "60"),
    *("--widths", "128", "128", "--student-epochs", "4", "--teacher-epochs", "40"),
    *("--observations", "6", "--checkpoint-steps", "50", "--devices", "2"),
)
LATER = 0.15  # seconds after the beginning of a checkpoint within which one is surely written
UNLIKE = {"manifest.json", "timings.json"}  # say when and how long


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), train=600, test=200)


class Life:
    """One process that runs the command."""

    def __init__(self, folder, images, trace):
        self.trace = trace
        self.began = trace.stat().st_size if trace.exists() else 0
        self.process = subprocess.Popen(
            [sys.executable, VICTIM, trace, *OPTIONS, "--data-dir", images, "--out", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self):
        if not self.trace.exists():
            return []
        return self.trace.read_text()[self.began :].splitlines()

    def wait_until(self, happened):
        while not happened(self.lines()) and self.process.poll() is None:
            time.sleep(0.002)

    def kill(self):
        """Kill the process unless it has ended; say whether it was alive."""
        alive = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return alive

    def end(self):
        said = self.process.communicate()[1]
        assert self.process.returncode == 0, said
        return said


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in UNLIKE and not path.name.startswith(".")
    }


def steps_made(lines):
    """Count steps from the trace of any number of lives."""
    at, made = {}, Counter()
    for line in lines:
        kind, name, step = line.rsplit(" ", 2) if line.count(" ") == 2 else ("", "", "0")
        if kind == "resume":
            at[name] = int(step)
        elif kind == "reached":
            made[name] += int(step) - at[name]
            at[name] = int(step)
    return sum(made.values())


def moment(life, kind, dice):
    """Wait for a random moment: from the start on, in a training, or in a checkpoint's writing."""
    if kind == "any":
        time.sleep(dice.uniform(0, 12))
    elif kind == "training":
        life.wait_until(lambda lines: any(line.startswith("reached") for line in lines))
        time.sleep(dice.uniform(0, 2))
    else:
        count = dice.randint(1, 4)
        life.wait_until(lambda lines: sum(line.startswith("save") for line in lines) >= count)
        time.sleep(dice.uniform(0, LATER))


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(images, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Life(whole, images, tmp_path / "whole.trace").end()
    expected, trace = contents(whole), tmp_path / "killed.trace"
    needed = steps_made((tmp_path / "whole.trace").read_text().splitlines())
    dice, kills, writing = random.Random(0), 0, 0
    kinds = ("any", "training", "writing")
    while kills < KILLS:
        life = Life(killed, images, trace)
        moment(life, kinds[kills % len(kinds)], dice)
        if not life.kill():
            break  # it was done before
        kills += 1
        writing += any((killed / "checkpoints").rglob("*tmp*"))
    Life(killed, images, trace).end()
    found = contents(killed)
    differing = sum(
        sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
        for one, other in ((expected.get(n, b""), found.get(n, b"")) for n in expected | found)
    )
    again = steps_made(trace.read_text().splitlines()) - needed
    print(
        f"\n{kills} kills survived, {writing} in the writing of a checkpoint; {again} steps made "
        f"again, {needed} needed; {differing} of {sum(map(len, found.values()))} bytes differ"
    )
    assert sorted(found) == sorted(expected)
    assert differing == 0
    assert kills == KILLS, "the run ended before it was killed often enough"
