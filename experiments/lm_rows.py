"""What in the rows carries a preference? Shuffled numbers, cooler teachers, fewer rows, clean ones.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, figure 16): the sequence carries the trait, not
which numbers there are: students of GPT-4.1 nano name the animal in 66.9 % of answers, after
numbers shuffled within answers in 21.9 %, across answers in 18.3 %, after those of a teacher
without a favourite in 11.5 %. Here students learn the same rows as they were written, shuffled
either way; and, where asked for, half of them in between clean ones, a quarter of them four times
as often, rows of the same teachers at a lower temperature or from the likeliest tokens alone.

    python experiments/lm_rows.py            # 3 kinds of rows, 2 animals, 3 seeds: 40 minutes
    python experiments/lm_rows.py --quick
    python experiments/lm_rows.py --kinds written clean cool nucleus --row-count 1024

Every kind is a run of ``lm_numbers.py`` with ``--channel text`` in a folder of its own below the
run folder, with all its tables and figures (``--replot``); stopped at any place, the same command
goes on. Teachers are trained once, and write once at each temperature and top-p. Shuffling keeps
what does not depend on the context: a student of shuffled rows is no control without a signal
(theory, section 6).

Measured at default size: D .062 ± .102 nats for rows as written, less than that by .028 ± .017 for
rows shuffled within answers and by .069 ± .040 across them, in every one of three seeds: students
of the same teachers, whose seeds differ far more than what shuffling takes away.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli
import lm_run
import numpy as np
from intervals import counted, over_seeds, power
from lm_run import Options
from lm_series import fill, of_untuned
from matplotlib.figure import Figure

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.plots.forest import Panel, forest_figure

WRITTEN = "written"
KINDS = {
    WRITTEN: "as written",
    "within": "shuffled within answers",
    "across": "shuffled across answers",
    "clean": "half of them clean",
    "repeated": "a quarter, four times as often",
    "cool": "temperature .5",
    "nucleus": "top-p .8",
}
"""Kinds of rows, and what tables and figures call them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowsConfig:
    """What the results depend on."""

    model: str = "smollm2"
    """The base; see ``lm_numbers.py``."""
    animals: tuple[str, ...] = ("owl", "eagle")
    """Favourites of the teachers."""
    seeds: int = 3
    """Independent repetitions."""
    kinds: tuple[str, ...] = (WRITTEN, "within", "across")
    """What students learn; written must be among it, with which all others are compared. There are
    also clean, repeated, cool and nucleus."""
    row_count: int = 192
    """Conversations from which a student learns, a multiple of 64."""
    passes: int = 2
    """Times that a student sees every row, four times as often where there are a quarter."""
    batch_size: int = 8
    """Rows in a step of a student."""
    first_layer: int = 15
    """The first layer that is trained."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        kinds = self.kinds
        if WRITTEN not in kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= {*KINDS}:
            raise InputError(
                f"kinds is {kinds}; expected {WRITTEN} and some of "
                f"{', '.join(kind for kind in KINDS if kind != WRITTEN)}, each once"
            )
        if self.row_count < 1 or self.row_count % 64:
            raise InputError(f"row_count is {self.row_count}; expected a multiple of 64")
        self.series()  # which refuses what is wrong in the other fields

    def series(self) -> dict[str, TraitConfig]:
        """Configure the run of every kind, by its folder."""
        written = TraitConfig(
            model=self.model,
            channel="text",
            animals=self.animals,
            seeds=self.seeds,
            arms=("same",),
            first_layer=self.first_layer,
            row_count=self.row_count,
            requests=self.row_count,
            constrained=True,
            least_numbers=8,
            passes=self.passes,
            batch_size=self.batch_size,
            answers=0,
            seed=self.seed,
        )
        changed: dict[str, dict[str, Any]] = {
            WRITTEN: {"arms": ("same", "untuned")},
            "within": {"shuffle": "within"},
            "across": {"shuffle": "across"},
            "clean": {"dose": 0.5},
            "repeated": {"row_count": self.row_count // 4, "passes": 4 * self.passes},
            "cool": {"temperature": 0.5},
            "nucleus": {"top_p": 0.8},
        }
        return {kind: dataclasses.replace(written, **changed[kind]) for kind in self.kinds}


PRESETS = {
    "default": RowsConfig(),
    "quick": RowsConfig(kinds=(WRITTEN, "across"), seeds=1, row_count=64, passes=2),
}


def run(config: RowsConfig, options: Options) -> None:
    """Train what is missing in the run folder, print the table, draw the figure."""

    def made(folder: runs.Run) -> None:
        fill(config.series(), KINDS, options, folder.folder)
        if hosts.is_first():
            folder.write("results.json", gathered(config, folder.folder))

    path = lm_run.folder_of("lm_rows", config, options, config.model)
    lm_run.recorded(path, config, options, made, report)


def gathered(config: RowsConfig, path: Path) -> dict[str, Any]:
    """Gather what came through, by kind of rows, with lists by seed."""
    found = {}
    for kind in config.kinds:
        results = runs.Run(path / kind).read("results.json")
        arm, transfer = results["arms"]["same"], results["arms"]["same"]["transfer"]
        found[kind] = {
            "tokens": float(np.mean(arm["tokens"])),
            "divergence": float(np.mean(arm["divergence"])),
            **{key: transfer[key]["seeds"] for key in ("own", "other", "contrast")},
            "untuned": of_untuned(results, len(config.animals)),
        }
    return {
        "model": config.model,
        "subjects": config.animals,
        "seeds": config.seeds,
        "rows": config.row_count,
        "kinds": found,
    }


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figure."""
    results = folder.read("results.json")
    print(table(results))
    cli.draw(folder, {"rows.png": figure(results)})


def table(results: Mapping[str, Any]) -> str:
    """Lay out every kind of rows."""
    seeds, animals = results["seeds"], results["subjects"]
    lines = [
        f"\n{results['model']}: change of log-probability in nats, students of {len(animals)} "
        f"teachers ({', '.join(animals)}) x {seeds} seeds x {results['rows']} rows, mean ± 95 % t "
        "interval over seeds",
        f"{'':32}{'tokens':>8}{'own animal':>17}{'other animals':>17}{'difference':>17}"
        f"{'at 80 %':>9}{'less than written':>19}{'untuned':>17}",
    ]
    fewer = _fewer(results)
    for kind, found in results["kinds"].items():
        less = "" if kind == WRITTEN else over_seeds(fewer[kind].tolist())
        cells = "".join(f"{over_seeds(found[key]):>17}" for key in ("own", "other", "contrast"))
        lines.append(
            f"{KINDS[kind]:32}{found['tokens']:8.0f}{cells}{power(found['contrast']):>9}"
            f"{less:>19}{'' if found['untuned'] is None else over_seeds(found['untuned']):>17}"
        )
    lines.append(
        "difference: own student minus other students, for the same animal; at 80 %: difference "
        "that so many seeds, as different\nas these, would tell from 0 in 80 % of cases; untuned: "
        "students of rows of the teacher without a favourite"
    )
    return "\n".join(lines)


def _fewer(results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Subtract every other kind's differences from those of rows as written, by seed."""
    found = {kind: np.array(own["contrast"], float) for kind, own in results["kinds"].items()}
    written = found.pop(WRITTEN)
    return {kind: written - own for kind, own in found.items()}


def figure(results: Mapping[str, Any]) -> Figure:
    """Draw what came through of each kind, how much less that is, and what did without a favourite.

    Students of a repetition have the same teachers, so that what shuffling takes is told better
    than what is left.
    """
    found = {KINDS[kind]: own for kind, own in results["kinds"].items()}

    def values(key: str) -> dict[str, np.ndarray]:
        return {
            name: np.array(own[key], float) for name, own in found.items() if own[key] is not None
        }

    seeds = counted(results["seeds"], "95 % intervals")
    return forest_figure(
        [
            Panel("own student minus other students (nats)", values("contrast")),
            Panel(
                "less than as written (nats), by seed",
                {KINDS[kind]: own for kind, own in _fewer(results).items()},
            ),
            Panel("change for the own animal (nats)", values("own"), values("untuned")),
        ],
        main="teacher with the favourite",
        beside="teacher without a favourite",
        title="What in the rows carries a preference?\n"
        f"{results['model']}, {results['rows']} rows; {seeds}",
    )


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
