"""The command ``sublim-jax``: one subcommand for each task at the command line."""

from collections.abc import Sequence
from typing import Protocol

import tyro

from sublim_jax.commands.drift import Drift
from sublim_jax.commands.finetune import Finetune
from sublim_jax.commands.generate import Generate
from sublim_jax.commands.models import Models
from sublim_jax.commands.process import ending


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
    """Parse a command line, do what it says, exit as `process` says.

    Args:
        args: words of the command line; those of the process by default.
    """
    app = tyro.extras.SubcommandApp()
    for name, command in COMMANDS.items():
        app.command(name=name)(command)
    with ending(resumable=False):
        chosen = app.cli(
            prog="sublim-jax",
            description="Explain, measure and predict subliminal learning.",
            args=args,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        chosen.run()
