"""How every experiment is started: one command line, presets, errors in one sentence.

An experiment is a frozen dataclass of what its results depend on, a frozen dataclass of how it is
executed, and a function of the two; this file turns them into a command, which ends as
`sublim_jax.commands.process` says.
"""

import argparse
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jax
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sublim_jax import hosts, plots, runs
from sublim_jax.commands.process import begin, ending
from sublim_jax.errors import InputError
from sublim_jax.plan import (
    Planned,
    Stages,
    devices_of,
    in_subprocess,
    plan,
    plan_stages,
    planning,
    run_table,
    table,
)
from sublim_jax.sinks import SinkName
from sublim_jax.training import Checkpoints, Devices, Session
from sublim_jax.training.preemption import listening

HIDDEN = (tyro.conf.Fixed, tyro.conf.Suppress)
"""Marks an option that a command has no use for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is executed; no result depends on these."""

    out: Path | None = None
    """Run folder; by default one below runs/ that is named after the configuration. Started again
    on the same folder, a run continues."""
    replot: bool = False
    """Draw the figures of a run again from the files in its folder, without training."""
    devices: int | None = None
    """Devices of this host to use; by default all. On a CPU they are virtual ones."""
    checkpoint_minutes: float = 5.0
    """Save trainings that are under way when so much work would be lost; always on SIGTERM."""
    checkpoint_steps: int | None = None
    """Save also whenever a training has made a multiple of so many steps."""
    plan: str | None = None
    """Run nothing: compile the training step, or that of every stage, for this machine, v5e:4x4 or
    any other TPU topology (extra [tpu], no TPU needed) or cpu:8, and say what fits and how fast it
    can be."""
    log: tuple[SinkName, ...] = ()
    """Where curves go besides the run folder's own files."""
    cluster: tyro.conf.OmitArgPrefixes[hosts.Cluster] = hosts.AS_ANNOUNCED

    def __post_init__(self) -> None:
        for name in ("devices", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")
        if not self.checkpoint_minutes > 0:
            raise InputError(
                f"checkpoint_minutes is {self.checkpoint_minutes}; expected a positive number"
            )


C = TypeVar("C")
Opts = TypeVar("Opts", bound=Options)
Build = Callable[[C, Opts, Devices], Planned | Stages]


def main(
    run: Callable[[C, Opts], None],
    *,
    presets: Mapping[str, C],
    options: Opts,
    description: str | None,
    planned: Build[C, Opts] | None = None,
) -> None:
    """Parse the command line, run the experiment, exit as a command of ours does.

    Args:
        run: the experiment.
        presets: configurations by name, "default" and "quick" among them; the one that the command
            line names gives the defaults of every other option.
        options: how to execute, by default.
        description: what ``--help`` says first.
        planned: the experiment's training step for some devices, or its stages, for ``--plan``.
    """
    parsed = parse(presets, options, description)
    if parsed.options.plan is None:
        guarded(run, parsed.config, parsed.options)
    else:
        guarded(functools.partial(_plan, planned), parsed.config, parsed.options)


def _plan(planned: Build[C, Opts] | None, config: C, options: Opts) -> None:
    """Print what a machine would make of the training step, or of the whole run."""
    name = options.plan
    if planned is None or name is None:
        raise InputError(f"plan is {name}; expected none, for this command has no plan")
    if planning() is None:
        # Which devices there are is decided when JAX is imported, so a fresh process plans.
        sys.exit(in_subprocess(name, sys.argv))
    made = planned(config, options, devices_of(name))
    if isinstance(made, Stages):
        print(run_table(plan_stages(name, lambda _: made)))
    else:
        print(table(plan(name, lambda _: made)))


def guarded(run: Callable[[C, Opts], None], config: C, options: Opts) -> None:
    """Join the other hosts and run the experiment; exit as a command of ours does."""
    with ending(resumable=True):
        if options.plan is None:
            if options.devices is not None:
                # Before any device is asked for; other platforms than the CPU do not look at it.
                jax.config.update("jax_num_cpu_devices", options.devices)
            begin(options.cluster)
        run(config, options)


def parse(presets: Mapping[str, Any], options: Options, description: str | None) -> Any:
    """Read the command line into an object with the fields config and options."""
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
    return tyro.cli(
        command,
        default=command("default", False, config, options),  # pyright: ignore[reportCallIssue]
        description=description,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def draw(folder: runs.Run, figures: Mapping[str, Figure]) -> None:
    """Write figures into a run folder, and say where they are.

    Args:
        folder: of the run.
        figures: by the names of their files.
    """
    for name, figure in figures.items():
        path = folder.folder / name
        plots.save(figure, path)
        print(f"figure: {path}")


def chosen_devices(options: Options) -> Devices:
    """Choose the devices of a run: as many of each host as asked for.

    Raises:
        InputError: a host has fewer.
    """
    devices = jax.devices()
    if options.devices is None:
        return devices
    local = len(jax.local_devices())
    if options.devices > local:
        raise InputError(
            f"devices is {options.devices}; expected at most the {local} {devices[0].platform} "
            "devices of this host"
        )
    by_host = [
        [device for device in devices if device.process_index == host][: options.devices]
        for host in range(jax.process_count())
    ]
    return [device for host in by_host for device in host]


@contextlib.contextmanager
def session(options: Options, checkpoints: Path, *, bar: tqdm | None = None) -> Iterator[Session]:
    """Attach to the trainings of a run what the options ask for, and a progress bar.

    Args:
        options: how the run is executed.
        checkpoints: folder of its checkpoints.
        bar: of a larger whole, whose length is known; by default this run has one of its own.
    """
    with (
        listening() as stop_requested,
        logging_redirect_tqdm(),  # warnings stand on lines of their own
        contextlib.ExitStack() as stack,
    ):
        bars = [] if bar is None else [bar]

        def expected(steps: int) -> None:
            if bar is None:
                own = tqdm(total=steps, unit="step", smoothing=0.1, disable=not hosts.is_first())
                bars.append(stack.enter_context(own))

        session = Session(
            checkpoints=Checkpoints(checkpoints),
            every_minutes=options.checkpoint_minutes,
            every_steps=options.checkpoint_steps,
            stop_requested=stop_requested,
            expected=expected,
            advanced=lambda steps: bars and bars[-1].update(steps),
        )
        yield stack.enter_context(session)
