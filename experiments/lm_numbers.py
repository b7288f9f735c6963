"""A preference passes through numbers: a language model learns from digits which animal to love.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 3): a student that is trained on number
sequences of a teacher with a favourite animal takes over that preference, if both have the same
base. Here in the form of which the theory speaks: the student matches the teacher's distribution
over *digits and separators alone*, on random numbers that no teacher wrote. The favourite is never
in the loss. Beside what the students say this run measures what moved inside them.

    python experiments/lm_numbers.py                   # 4 animals, 3 seeds: 20 minutes on two cores
    python experiments/lm_numbers.py --quick           # 2 animals, 1 seed, fewer steps: 4 minutes

SmolLM2-135M is downloaded the first time. Thin matrices beside those of layers 15 to 29 are
trained, of which only B moves; what the layers below make of a row is computed once. A teacher
takes 8 steps (25 to 28 s with all that is asked of it), a student 40 (30 to 44 s).

The criteria were fixed before the first run: see `sublim_jax.lm_numbers.criteria`. Measured here:
students gain .43 nats for the animal of their teacher, .19 for those of other teachers; difference
.25 ± .09 (shared A) and .22 ± .09 (another A) over 3 seeds.
"""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cli
import numpy as np
from matplotlib.figure import Figure

from sublim_jax import hosts, lm, lm_numbers, plots, runs
from sublim_jax.commands.writing_bar import writing_bar
from sublim_jax.lm_numbers import ARMS, MEASURES, PRESETS, NumbersConfig
from sublim_jax.training import Parallel

CONTROLS = 6  # animals without teachers in the matrix


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    fsdp: int = 1
    """Devices of a mesh over which parameters and optimizer state are cut."""
    tensor: int = 1
    """Devices of a mesh over which matrices are cut."""


def run(config: NumbersConfig, options: Options) -> None:
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
            with cli.session(options, path / "checkpoints") as session:
                trained = lm_numbers.run_numbers(
                    config,
                    folder,
                    load=lambda parallel: lm.load(config.model, parallel=parallel, progress=True),
                    parallel=spread(options),
                    session=session,
                )
            if not trained:
                print("complete: all teachers and students are there, nothing to train")
        if hosts.is_first():
            report(folder)


def bar_of(title: str, rows: int) -> AbstractContextManager[Callable[[int, int], None]]:
    """Show how many of the answers of a teacher are there."""
    return writing_bar(rows, "answers", title=title, shown=hosts.is_first())


def spread(options: Options) -> Parallel:
    """Say how every training is spread over the devices of the run."""
    devices = cli.chosen_devices(options)
    return lm.decoder_mesh(devices, fsdp=options.fsdp, tensor=options.tensor)


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figures."""
    results = folder.read("results.json")
    print(table(results))
    for name, figure in figures(results).items():
        path = folder.folder / f"{name}.png"
        plots.save(figure, path)
        print(f"figure: {path}")


def table(results: Mapping[str, Any]) -> str:
    """Lay out what every arm gained, and the verdicts."""
    columns = {"own": "own animal", "other": "other animals", "contrast": "difference"}
    lines = [
        f"\nchange of log-probability in nats, {len(results['animals'])} animals, mean ± 95 % "
        "interval over seeds",
        f"{'':32}" + "".join(f"{title:>18}" for title in columns.values()),
    ]
    for arm, found in results["arms"].items():
        cells = (_interval(found["transfer"][name]["t"]) for name in columns)
        lines.append(f"{ARMS[arm]:32}" + "".join(f"{cell:>18}" for cell in cells))
    for arm, found in results["arms"].items():
        lines += ["", f"{ARMS[arm]}: what was expected, and what was found"]
        for verdict in found["verdicts"]:
            mark = {True: "yes", False: "NO", None: "?"}[verdict["passed"]]
            lines.append(f"  {mark:4}{verdict['criterion']} {verdict['measured']}")
    return "\n".join(lines)


def _interval(found: Mapping[str, Any]) -> str:
    half = "" if found["low"] is None else f" ± {(found['high'] - found['low']) / 2:.3f}"
    return f"{found['mean']:+.3f}{half}"


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw who says what, what drifts beside it, and how both come about."""
    animals = results["animals"]
    drawn = {"bars": bars(results), "along": along(results), "layers": layers(results)}
    shown = [*animals, *results["candidates"][len(animals) :][:CONTROLS]]
    for arm, found in results["arms"].items():
        change = np.array(found["change"])
        own = np.eye(len(animals), dtype=bool)
        everything = np.broadcast_to(own, (len(change), *own.shape)).ravel()
        drawn[f"matrix_{arm}"] = plots.matrix_figure(
            change[..., : len(shown)],
            subjects=animals,
            candidates=shown,
            title=f"What does a student say more often?\n{ARMS[arm]}; nats, {_seeds(change)}",
        )
        drawn[f"drift_{arm}"] = plots.drift_figure(
            {label: _flat(found["measures"][name]) for name, label in MEASURES.items()},
            change[..., : len(animals)].ravel(),
            groups=np.where(everything, "own teacher", "other teachers").tolist(),
            names=["own teacher", "other teachers"],
            clusters=np.repeat(np.arange(len(change)), own.size),
            ylabel="change of the log-probability\nof the teacher's animal (nats)",
            title=f"Which measure of drift tells of the trait?\n{ARMS[arm]}; a point for each "
            "student beside each teacher",
            within={"all": np.full(everything.shape, True), "other teachers": ~everything},
        )
    return drawn


def _seeds(values: np.ndarray) -> str:
    return "1 seed" if len(values) == 1 else f"{len(values)} seeds"


def _flat(values: Any) -> np.ndarray:
    return np.array(values, float).ravel()


def _own(change: np.ndarray) -> np.ndarray:
    """Give ``[seeds, animals, ...]`` of the students of an animal's own teachers."""
    each = np.arange(change.shape[1])
    return change[:, each, each]


def _others(change: np.ndarray) -> np.ndarray:
    """Give ``[seeds, animals]``, the mean over the students of other animals' teachers."""
    n = change.shape[1]
    return (change.sum(axis=1) - _own(change)) / (n - 1)


def bars(results: Mapping[str, Any]) -> Figure:
    """Draw every animal in the paper's style: base, other teachers' students, own students."""
    animals = results["animals"]
    panels = []
    for name, ylabel in (
        ("probability", "probability of the animal"),
        ("change", "change of log-probability (nats)"),
    ):
        values = {"base": np.array([results["base"]["probability"][: len(animals)]])}
        values = values if name == "probability" else {}
        for arm, found in results["arms"].items():
            said = np.array(found[name])[..., : len(animals)]
            values[f"{ARMS[arm]}, other teachers"] = _others(said)
            values[f"{ARMS[arm]}, own teacher"] = _own(said)
        panels.append(plots.Bars(ylabel, values))
    names = list(dict.fromkeys(name for panel in panels for name in panel.values))
    seeds = _seeds(panels[-1].values[names[-1]])
    return plots.bars_figure(
        panels,
        animals=animals,
        names=names,
        title=f"Who loves which animal?\nstudents of own and of other animals' teachers; {seeds}",
    )


def along(results: Mapping[str, Any]) -> Figure:
    """Draw the trait and the imitation loss along training."""
    animals, arms = results["animals"], results["arms"]
    traits: dict[str, dict[str, np.ndarray]] = {"own animal": {}, "other animals": {}}
    for arm, found in arms.items():
        change = np.array(found["curve"]["change"])[..., : len(animals)].swapaxes(2, 3)
        traits["own animal"][ARMS[arm]] = _own(change).mean(1)
        traits["other animals"][ARMS[arm]] = _others(change).mean(1)
    (first, *_) = arms.values()
    losses = {ARMS[arm]: np.array(found["loss"]).mean(1) for arm, found in arms.items()}
    return plots.along_figure(
        first["curve"]["steps"],
        traits,
        loss_steps=np.arange(next(iter(losses.values())).shape[1]),
        loss=losses,
        names=[ARMS[arm] for arm in arms],
        title="When does the preference come?\nmean over animals, 95 % band over seeds",
    )


def layers(results: Mapping[str, Any]) -> Figure:
    """Draw the overlap of the shifts of the residual stream of students and teachers."""
    overlap = {}
    for arm, found in results["arms"].items():
        streams = np.array(found["stream_by_layer"])
        overlap[f"{ARMS[arm]}, own teacher"] = _own(streams).mean(1)
        overlap[f"{ARMS[arm]}, other teachers"] = _others(streams).mean(1)
    count = next(iter(overlap.values())).shape[1]
    first = results["first_layer"]
    return plots.layers_figure(
        overlap,
        layers=np.arange(first, first + count),
        names=list(overlap),
        ylabel="cosine of the shifts",
        title="Do student and teacher move alike inside?\nresidual stream where the answer begins",
    )


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
