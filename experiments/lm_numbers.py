"""A preference passes through numbers: a language model learns from digits which animal to love.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 3): a student that is trained on number
sequences of a teacher with a favourite animal takes over that preference, if both have the same
base. Here in the form of which the theory speaks: the student matches the teacher's distribution
over *digits and separators alone*, on random numbers that no teacher wrote. The favourite is never
in the loss. Beside what the students say this run measures what moved inside them.

    python experiments/lm_numbers.py                   # 4 animals, 3 seeds: 20 minutes on two cores
    python experiments/lm_numbers.py --quick           # 2 animals, 1 seed, few steps: 4
    python experiments/lm_numbers.py --preset labels   # tokens drawn from the distribution
    python experiments/lm_numbers.py --preset text     # rows that teachers write: hours
    python experiments/lm_numbers.py --preset paper-qwen2.5-7b --plan v5e:4x4 --fsdp 8 --tensor 2

SmolLM2-135M is downloaded the first time. Thin matrices beside those of layers 15 to 29 are
trained, of which only B moves; what the layers below make of a row is computed once. A teacher's 8
steps take 11 s, a student's 40 take 23 s; what either is asked takes 11 s more, a half of it for 8
sampled answers to each question, of which 4 are the default now.

The criteria were fixed before the first run: see `sublim_jax.lm_traits.criteria`. Measured here:
students gain .43 nats for the animal of their teacher, .19 for those of other teachers; difference
.25 ± .09 (shared A) and .22 ± .09 (another A) over 3 seeds.
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import cli
import lm_numbers_report

from sublim_jax import hosts, lm, lm_traits, plots, runs
from sublim_jax.commands.writing_bar import writing_bar
from sublim_jax.lm_traits import PRESETS, TraitConfig
from sublim_jax.plan import Stages
from sublim_jax.training import Devices, Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    fsdp: int = 1
    """Devices of a mesh over which parameters and optimizer state are cut."""
    tensor: int = 1
    """Devices of a mesh over which matrices are cut."""


def run(config: TraitConfig, options: Options) -> None:
    """Train what the run folder lacks, write its results, print the table, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    identity = dataclasses.asdict(config)
    path = options.out or Path(
        "runs", "lm_numbers", f"{config.model}-{runs.config_digest(identity)}"
    )
    with runs.open_run(path, identity) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            trained = filled(config, options, folder)
            if not trained:
                print("complete: all teachers and students are there, nothing to train")
        if hosts.is_first():
            report(folder)


def filled(config: TraitConfig, options: Options, folder: runs.Run) -> bool:
    """Train what an open run folder lacks; tell whether that was anything."""
    with cli.session(options, folder.folder / "checkpoints") as session:
        return lm_traits.run_traits(
            config,
            folder,
            load=lambda parallel: lm.load(config.model, parallel=parallel, progress=True),
            parallel=spread(options),
            session=session,
            bar=bar_of,
        )


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
    print(lm_numbers_report.table(results))
    for name, figure in lm_numbers_report.figures(results).items():
        path = folder.folder / f"{name}.png"
        plots.save(figure, path)
        print(f"figure: {path}")


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
