"""Experiments started as a user starts them."""

import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def run(name, *options):
    """Run an experiment to its end."""
    return subprocess.run(
        [sys.executable, EXPERIMENTS / f"{name}.py", *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(name, *options):
    """The one sentence on the standard error stream with which a command line is refused."""
    done = run(name, *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr
