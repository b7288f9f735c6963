"""Experiments started as a user starts them."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cli
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def run(name, *options):
    """Run an experiment to its end, in a process of its own."""
    return subprocess.run(
        [sys.executable, *words(name, *options)], capture_output=True, text=True, check=False
    )


def words(name, *options):
    """What stands on the command line."""
    return [str(EXPERIMENTS / f"{name}.py"), *map(str, options)]


def refusal(name, *options):
    """What the standard error stream has where a command line is refused with status 2.

    In this process, for most of the time of another one goes into its imports; hosts can be joined
    in a fresh one alone.
    """
    with (
        mock.patch.object(sys, "argv", words(name, *options)),
        mock.patch.object(cli, "begin"),
        contextlib.redirect_stderr(io.StringIO()) as said,
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert ended.value.code == 2
    assert "Traceback" not in said.getvalue()
    return said.getvalue()
