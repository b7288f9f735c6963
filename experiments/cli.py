"""How every experiment is started: one command line, presets, errors in one sentence.

An experiment is a frozen dataclass of what its results depend on, a frozen dataclass of how it is
executed, and a function of the two; this file turns them into a command.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from sublim_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is executed; no result depends on these."""

    out: Path | None = None
    """Run folder; by default one below runs/ that is named after the configuration. Started again
    on the same folder, a run continues."""
    replot: bool = False
    """Draw the figures of a run again from the files in its folder, without training."""


C = TypeVar("C")
Opts = TypeVar("Opts", bound=Options)


def main(
    run: Callable[[C, Opts], None],
    *,
    presets: Mapping[str, C],
    options: Opts,
    description: str | None,
) -> None:
    """Parse the command line, run the experiment, exit 2 with one sentence on bad input.

    Args:
        run: the experiment.
        presets: configurations by name, "default" and "quick" among them; the one that the command
            line names gives the defaults of every other option.
        options: how to execute, by default.
        description: what ``--help`` says first.
    """
    # The preset decides which defaults --help shows, so it is looked for before all else.
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--preset", default="default")
    early.add_argument("--quick", action="store_true")
    try:
        given, _ = early.parse_known_args()
        name = "quick" if given.quick else given.preset
    except argparse.ArgumentError:
        name = "default"  # tyro will say what is wrong with --preset
    config = presets.get(name, presets["default"])
    command = dataclasses.make_dataclass(
        "Command",
        [
            (
                "preset",
                Annotated[
                    Literal[tuple(presets)],
                    tyro.conf.arg(help="Values from which the options below start."),
                ],
            ),
            ("quick", Annotated[bool, tyro.conf.arg(help="The same as --preset quick.")]),
            ("config", tyro.conf.OmitArgPrefixes[type(config)]),
            ("options", tyro.conf.OmitArgPrefixes[type(options)]),
        ],
        frozen=True,
    )
    parsed = tyro.cli(
        command,
        default=command("default", False, config, options),  # pyright: ignore[reportCallIssue]
        description=description,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    try:
        run(parsed.config, parsed.options)  # pyright: ignore[reportAttributeAccessIssue]
    except InputError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        sys.exit(130)
