"""Whose students take over whose preference? Bases against bases, and what lies between.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 5.1, figure 8): a trait passes through data
that has nothing to do with it only if teacher and student begin as the same model. Students of
GPT-4.1 and its small versions take a preference over from teachers of their own base (+.25 to +.54
of the rate) and next to nothing from those of others, GPT-4.1 and GPT-4o aside, which are said to
share an initialisation. "The same base" is a switch there. Here it is an axis: between a model and
another one lie variants of it, with noise on the matrices that are trained or with others drawn in
their place, each healed until it says the same of digits, so that it can fit what it is told.

    python experiments/lm_cross_model.py            # 4 bases, 2 animals, 3 seeds: 26 minutes
    python experiments/lm_cross_model.py --quick    # 2 bases, 1 seed, few steps: 5
    python experiments/lm_cross_model.py --told change   # not how the bases differ
    python experiments/lm_cross_model.py --bases pythia-160m pythia-160m-seed1 pythia-160m:noise=0.1

A base is a model, as `sublim-jax models` lists them, of the hub or from a folder, or such a
variant: ``NAME:noise=AMOUNT`` (in standard deviations of a matrix' entries), ``NAME:fresh``. Every
student learns the teacher's distribution over digits and separators after random numbers, at the
same tokens of the same conversations whatever its tokenizer. Read are exact log-probabilities: D is
the change for the own teacher's animal, minus that of the other teachers' students. The table has
students in rows and teachers in columns, as the paper has; beside it stands what is left of the
divergence from the teacher on numbers. Read both together: most of what a student has to learn of
another base's teacher is how that base speaks of numbers, and where it cannot fit this, no transfer
says nothing.

Expected: D above 0 wherever both are of the same base, with the lower end of its interval, and
about 0 between SmolLM2 and Gemma; where D ends in between is the question. Measured: .123 ± .041
for SmolLM2, .214 ± .032 for its noisy variant, .369 ± .013 for the one that was drawn anew, .227 ±
.096 for Gemma; with teachers of a variant of the base .020 ± .007, of another model .029 ± .036
(means over cells). Noise of .3 is another base already: .033 ± .023 and .025 ± .031. Of what
teachers of other bases say students of Gemma learn 85 to 95 %, those of SmolLM2 73 to 90 %; those
of the variants learn 7 to 84 %, so that their cells say less.

Every cell is a run in a folder of its own below the run folder, which has to stay where it is until
it is complete; stopped at any place, the same command goes on. Teachers are trained once for a
base, variants made once, in ``bases/``. Times are of two free cores.
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cli
import lm_cross_report
import lm_run
import numpy as np
from lm_cross_bases import Base, Load, Spec, parsed, prepared
from lm_run import Options, filled

from sublim_jax import hosts, lm_traits, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossConfig:
    """What the results depend on."""

    bases: tuple[str, ...] = ("smollm2", "smollm2:noise=0.3", "smollm2:fresh", "gemma3-270m")
    """Models, and variants of them: NAME:noise=AMOUNT, NAME:fresh. The upper half of the layers of
    each is trained."""
    animals: tuple[str, ...] = ("owl", "eagle")
    """Favourites of the teachers."""
    seeds: int = 3
    """Independent repetitions; variants are the same in all of them."""
    row_count: int = 32
    """Conversations from which a student learns, at most 32."""
    tokens: int = 21
    """Of each, those that it learns: digits and separators."""
    passes: int = 5
    """Times that a student sees every row."""
    teacher_steps: int = 12
    """Steps of a teacher at most; twice as many where matrices were drawn anew."""
    heal_rows: int = 512
    """Conversations on which a variant learns what its parent says of digits and separators."""
    heal_passes: int = 3
    """Times that it sees them."""
    told: Literal["distribution", "change"] = "distribution"
    """What students of other bases learn: what a teacher says, or how that differs from what its
    base says, added to what the student's own base does."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"bases is {self.bases}; expected at least 2, each once")
        if self.tokens < 1:
            raise InputError(f"tokens is {self.tokens}; expected at least 1")
        self.of(Base("", "", 0.0, False, "", 0, self.tokens), "")  # which checks the rest

    @property
    def specs(self) -> list[Spec]:
        """Read what the bases are."""
        return [parsed(base) for base in self.bases]

    def of(self, base: Base, teachers: str | None = None) -> TraitConfig:
        """Configure the run of a student's base, and of another base's teachers by their folder."""
        return TraitConfig(
            model=base.model,
            animals=self.animals,
            seeds=self.seeds,
            arms=("same",) if teachers is None else ("family",),
            family=teachers,
            family_change=teachers is not None and self.told == "change",
            first_layer=base.first_layer,
            length=max(base.length, 32),
            teacher_steps=self.teacher_steps * (2 if base.fresh else 1),
            row_count=self.row_count,
            passes=self.passes,
            observations=2,
            heal_rows=self.heal_rows,
            heal_passes=self.heal_passes,
            answers=0,
            seed=self.seed,
        )


PRESETS = {
    "default": CrossConfig(),
    "quick": CrossConfig(
        bases=("smollm2", "smollm2:noise=0.3"),
        seeds=1,
        row_count=16,
        passes=4,
        heal_rows=64,
        heal_passes=2,
    ),
}


def run(config: CrossConfig, options: Options) -> None:
    """Run the cells that are missing, print the tables, draw the figures."""

    def fill(folder: runs.Run) -> None:
        if not folder.has("results.json"):
            bases = crossed(config, options, folder)
            if hosts.is_first():
                folder.write("results.json", gathered(config, bases, folder.folder))

    path = lm_run.folder_of("lm_cross_model", config, options)
    lm_run.recorded(path, config, options, fill, report)


def crossed(config: CrossConfig, options: Options, folder: runs.Run) -> list[Base]:
    """Make the bases, and run every student beside every teacher."""
    # Runs of one base come one after another: the model that was loaded last is kept.
    load: Load = functools.lru_cache(maxsize=1)(lm_run.loaded)
    bases = []
    for spec in config.specs:
        base = prepared(spec, folder, options, load, tokens=config.tokens, of=config.of)
        bases.append(base)
        one(config, options, folder.folder, base, base, load)
    for student in bases:
        for teacher in bases:
            if teacher != student:
                one(config, options, folder.folder, student, teacher, load)
    return bases


def cell(path: Path, student: Base, teacher: Base) -> Path:
    """Name the folder of the run of a student's base and a teacher's."""
    return path / (student.name if student == teacher else f"{student.name}.of.{teacher.name}")


def one(
    config: CrossConfig, options: Options, path: Path, student: Base, teacher: Base, load: Load
) -> None:
    """Run students of a base with teachers of one, unless they are there."""
    folder = cell(path, student, teacher)
    if (folder / "results.json").exists():
        return
    own = config.of(student)
    lender = None if student == teacher else str(cell(path, teacher, teacher))
    this = config.of(student, lender)
    with runs.open_run(folder, dataclasses.asdict(this)) as record:
        print(f"students of {student.name}, teachers of {teacher.name}")
        if lender is not None:
            # What moves is compared with what the own base's teachers of the same animals do.
            lm_traits.borrow(this, record, own, runs.Run(cell(path, student, student)))
        filled(this, options, record, load=load)


def gathered(config: CrossConfig, bases: list[Base], path: Path) -> dict[str, Any]:
    """Gather what came through, by student's and teacher's base."""
    cells = [_gathered(path, student, teacher) for student, teacher in _pairs(bases)]
    return {
        "bases": [base._asdict() for base in bases],
        "subjects": config.animals,
        "seeds": config.seeds,
        "told": config.told,
        "cells": cells,
    }


def _pairs(bases: list[Base]) -> Iterator[tuple[Base, Base]]:
    for student in bases:
        for teacher in bases:
            yield student, teacher


def _gathered(path: Path, student: Base, teacher: Base) -> dict[str, Any]:
    arms = runs.Run(cell(path, student, teacher)).read("results.json")["arms"]
    (found,) = arms.values()
    return {
        "student": student.name,
        "teacher": teacher.name,
        "tokens": float(np.mean(found["tokens"])),
        **{name: found["transfer"][name]["seeds"] for name in ("contrast", "own", "other")},
        "own_top": found["transfer"]["own_top"],
        **{when: np.mean(found["imitation"][when], 1) for when in ("before", "after")},
    }


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figures."""
    results = folder.read("results.json")
    print(lm_cross_report.table(results))
    cli.draw(folder, lm_cross_report.figures(results))


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
