"""How an experiment of traits is run: teachers, students, table, figures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import cli
import lm_report

from sublim_jax import hosts, lm, lm_traits, runs
from sublim_jax.commands.writing_bar import writing_bar
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.plan import Stages
from sublim_jax.training import Devices, Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    fsdp: int = 1
    """Devices of a mesh over which parameters and optimizer state are cut."""
    tensor: int = 1
    """Devices of a mesh over which matrices are cut."""


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
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    path = folder_of(name, config, options)
    with runs.open_run(path, dataclasses.asdict(config)) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            trained = filled(config, options, folder)
            if not trained:
                print("complete: all teachers and students are there, nothing to train")
        if hosts.is_first():
            report(folder)


def folder_of(name: str, config: TraitConfig, options: Options) -> Path:
    """Name the folder of a run."""
    digest = runs.config_digest(dataclasses.asdict(config))
    return options.out or Path("runs", name, f"{config.model}-{digest}")


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


def planned(config: TraitConfig, options: Options, devices: Devices) -> Stages:
    """Describe the stages of a run for devices that need not be there."""
    parallel = lm.decoder_mesh(devices, fsdp=options.fsdp, tensor=options.tensor)
    return lm_traits.planned_run(config, parallel)


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figures."""
    results = folder.read("results.json")
    print(lm_report.table(results))
    drawn = lm_report.figures(results)
    cli.draw(folder, {f"{name}.png": figure for name, figure in drawn.items()})
