"""What tests of folders share: their contents, refusals, programs in processes of their own."""

import os
import subprocess
import sys

import pytest

from sublim_jax.errors import InputError

PRELUDE = """
import os, resource, sys
from pathlib import Path
import jax
from sublim_jax.errors import InputError
from sublim_jax.metrics import MetricsLog
from sublim_jax.runs import Run, open_run
"""
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def visible(folder):
    return {name: text for name, text in contents(folder).items() if not name.startswith(".")}


def refusal(function, *args, **options):
    """The message with which bad input is refused, on one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def failing(code):
    """A function that fails as the system does."""

    def fail(*args, **options):
        raise OSError(code, os.strerror(code))

    return fail


def command(program, *args):
    """The command that runs a program in a process of its own."""
    return [sys.executable, "-c", PRELUDE + program, *map(str, args)]


def python(program, *args, before=()):
    """Run a program to its end, by way of another command if there is one."""
    return subprocess.run(
        [*before, *command(program, *args)], capture_output=True, text=True, env=ENVIRONMENT
    )


def sentence(finished):
    """The sentence with which a process refused bad input."""
    assert finished.returncode == 1, finished
    kind, _, message = finished.stderr.splitlines()[-1].partition(": ")
    assert kind == "sublim_jax.errors.InputError", finished.stderr
    return message
