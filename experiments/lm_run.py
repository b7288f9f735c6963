"""How an experiment of traits is run: teachers, students, table, figures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cli
import lm_report

from sublim_jax import hosts, lm, lm_traits, runs
from sublim_jax.commands.writing_bar import writing_bar
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.plan import Stages
from sublim_jax.training import Devices, Parallel

COMPLETE = "complete: all teachers and students are there, nothing to train"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    fsdp: int = 1
    """Devices of a mesh over which parameters and optimizer state are cut."""
    tensor: int = 1
    """Devices of a mesh over which matrices are cut."""
    remat: bool = False
    """Compute activations again instead of keeping them, to save memory."""


def main(name: str, presets: Mapping[str, TraitConfig], description: str | None) -> None:
    """Be the command of an experiment.

    Args:
        name: of the experiment, and of the folder of its runs.
        presets: configurations by name.
        description: what ``--help`` says first.
    """
    started = functools.partial(run, name)
    cli.main(started, presets=presets, options=Options(), description=description, planned=planned)


def run(name: str, config: TraitConfig, options: Options) -> None:
    """Train what the run folder lacks, write its results, print the table, draw the figures."""

    def fill(folder: runs.Run) -> None:
        if not filled(config, options, folder):
            print(COMPLETE)

    recorded(folder_of(name, config, options, config.model), config, options, fill, report)


def recorded(
    path: Path,
    config: Any,
    options: cli.Options,
    fill: Callable[[runs.Run], object],
    report: Callable[[runs.Run], None],
) -> None:
    """Open the folder of a run, fill it unless figures alone are wanted, and report.

    Args:
        path: of the folder, from `folder_of`.
        config: what the results depend on.
        options: how the run is executed.
        fill: makes what the folder lacks, results among it.
        report: prints what a complete run found, and draws its figures.
    """
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    with runs.open_run(path, dataclasses.asdict(config)) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            fill(folder)
        if hosts.is_first():
            report(folder)


def folder_of(name: str, config: Any, options: cli.Options, label: str = "") -> Path:
    """Name the folder of a run: by default one below that of the experiment.

    Args:
        name: of the experiment.
        config: what the results depend on.
        options: how the run is executed.
        label: what its name begins with.
    """
    digest = runs.config_digest(dataclasses.asdict(config))
    return options.out or Path("runs", name, f"{label}-{digest}" if label else digest)


def filled(
    config: TraitConfig,
    options: Options,
    folder: runs.Run,
    fill: Callable[..., bool] = lm_traits.run_traits,
    load: Callable[[str, Parallel], lm.Model] | None = None,
) -> bool:
    """Train what an open run folder lacks, or let teachers write; tell if that was anything."""
    with cli.session(options, folder.folder / "checkpoints") as session:
        return fill(
            config,
            folder,
            load=lambda parallel: (load or loaded)(config.model, parallel),
            parallel=spread(options),
            computing=computing(options),
            session=session,
            bar=bar_of,
        )


def loaded(model: str, parallel: Parallel) -> lm.Model:
    """Load a model, and show the progress of a download."""
    return lm.load(model, parallel=parallel, progress=True)


def bar_of(title: str, rows: int) -> AbstractContextManager[Callable[[int, int], None]]:
    """Show how many of the answers of a teacher are there."""
    return writing_bar(rows, "answers", title=title, shown=hosts.is_first())


def spread(options: Options) -> Parallel:
    """Say how every training is spread over the devices of the run."""
    devices = cli.chosen_devices(options)
    return lm.decoder_mesh(devices, fsdp=options.fsdp, tensor=options.tensor)


def computing(options: Options) -> lm.Computing:
    """Say how a step of every training is computed."""
    return lm.Computing(remat=options.remat)


def planned(config: TraitConfig, options: Options, devices: Devices) -> Stages:
    """Describe the stages of a run for devices that need not be there."""
    parallel = lm.decoder_mesh(devices, fsdp=options.fsdp, tensor=options.tensor)
    return lm_traits.planned_run(config, parallel, computing=computing(options))


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figures."""
    results = folder.read("results.json")
    print(lm_report.table(results))
    drawn = lm_report.figures(results)
    cli.draw(folder, {f"{name}.png": figure for name, figure in drawn.items()})
