"""The command ``sublim-jax``: one subcommand for each task at the command line.

Exit statuses: 0 done, 2 refused with a sentence, 75 stopped but saved, 130 interrupted by hand, 141
nobody reads on.
"""

import sys
from collections.abc import Sequence
from typing import Protocol

import tyro

from sublim_jax.commands.drift import Drift
from sublim_jax.commands.finetune import Finetune
from sublim_jax.commands.generate import Generate
from sublim_jax.commands.models import Models
from sublim_jax.errors import InputError, drop_output
from sublim_jax.training.preemption import EXIT_STATUS, Preempted


class Command(Protocol):
    """A task with its options."""

    def run(self) -> None:
        """Do it."""


COMMANDS: dict[str, type[Command]] = {
    "drift": Drift,
    "finetune": Finetune,
    "generate": Generate,
    "models": Models,
}


def main(args: Sequence[str] | None = None) -> None:
    """Parse a command line, do what it says, exit as the head of this file says.

    Args:
        args: words of the command line; those of the process by default.
    """
    app = tyro.extras.SubcommandApp()
    for name, command in COMMANDS.items():
        app.command(name=name)(command)
    try:
        chosen = app.cli(
            prog="sublim-jax",
            description="Explain, measure and predict subliminal learning.",
            args=args,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        chosen.run()
        sys.stdout.flush()
    except InputError as fault:
        _leave(f"error: {fault}", 2)
    except Preempted as fault:
        _leave(f"{fault}: saved; the same command continues", EXIT_STATUS)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except BrokenPipeError:
        drop_output()
        sys.exit(141)


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr, flush=True)
    sys.exit(status)
