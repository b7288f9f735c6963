"""The students of finished runs of ``lm_numbers.py``, each beside every teacher of its seed.

A student of the arm untuned, whose teacher has no favourite, stands beside none and is left out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from sublim_jax import drift, runs
from sublim_jax.drift.metrics import quotient
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import MEASURES, TraitConfig
from sublim_jax.stats import double_centred

CONFIG, RESULTS = "config.json", "results.json"


class Source(NamedTuple):
    """A finished run.

    Attributes:
        folder: where it is.
        config: its configuration, as it was written.
        results: what it found.
    """

    folder: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def subjects(self) -> list[str]:
        """List what its teachers differ in."""
        if self.config.get("trait") == "corpus":
            return [Path(corpus).stem for corpus in self.config["corpora"]]
        return list(self.config["animals"])


class Pairs(NamedTuple):
    """Students beside teachers: in every array an entry for each pair.

    Attributes:
        run: number of the run.
        arm: name of the student's arm.
        seed: number of the repetition within the run.
        student: animal of the student's own teacher.
        teacher: animal of the teacher it is compared with.
        values: measures and traits by name; NaN where a run could not say.
    """

    run: Int[np.ndarray, " pairs"]
    arm: Shaped[np.ndarray, " pairs"]
    seed: Int[np.ndarray, " pairs"]
    student: Shaped[np.ndarray, " pairs"]
    teacher: Shaped[np.ndarray, " pairs"]
    values: Mapping[str, Float[np.ndarray, " pairs"]]

    @property
    def own(self) -> Bool[np.ndarray, " pairs"]:
        """Say which students stand beside their own teachers."""
        return self.student == self.teacher

    @property
    def clusters(self) -> Int[np.ndarray, " pairs"]:
        """Number the repetitions of all runs: what is drawn in a bootstrap."""
        return self.run * (self.seed.max(initial=0) + 1) + self.seed

    def where(self, mask: Bool[np.ndarray, " pairs"]) -> "Pairs":
        """Give some of the pairs."""
        values = {name: array[mask] for name, array in self.values.items()}
        return Pairs._make([*(array[mask] for array in self[:-1]), values])


def read(folder: Path) -> Source:
    """Read a finished run.

    Raises:
        InputError: there is none, or it is one of another experiment.
    """
    run = runs.Run(folder)
    if not folder.is_dir():
        there = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"runs has {folder}, which {there}; expected run folders of lm_numbers.py")
    if not run.has(CONFIG):
        raise InputError(
            f"runs has {folder}, which has no {CONFIG}; expected run folders of lm_numbers.py"
        )
    config = run.read(CONFIG)
    if not isinstance(config, dict) or not {"model", "animals", "seeds", "arms"} <= set(config):
        raise InputError(
            f"runs has {folder}, a run of another experiment; expected run folders of lm_numbers.py"
        )
    if not run.has(RESULTS):
        raise InputError(
            f"runs has {folder}, which has no {RESULTS} yet; expected a finished run: the command "
            "that began it goes on"
        )
    results = run.read(RESULTS)
    arms = results.get("arms") if isinstance(results, dict) else None
    if not isinstance(arms, dict) or {type(arm) for arm in arms.values()} != {dict}:
        raise InputError(f"{folder / RESULTS} has no arms; expected what lm_numbers.py writes")
    return Source(folder, config, results)


def filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration that was written when there were fewer fields the others' defaults."""
    return runs.plain(dataclasses.asdict(TraitConfig())) | config


def distinct(sources: Sequence[Source]) -> tuple[list[Source], list[tuple[Source, Source]]]:
    """Keep one run of each configuration: the same students are not counted twice.

    Returns:
        The runs, and the others each with the one that is kept instead.
    """
    kept: list[Source] = []
    merged = []
    for source in sources:
        here = filled(source.config)
        same = [other for other in kept if not runs.different(filled(other.config), here)]
        if same:
            merged.append((source, same[0]))
        else:
            kept.append(source)
    return kept, merged


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name runs by number and by the fields of their configurations in which they differ.

    >>> labels([{"channel": "logits", "seed": 0}, {"channel": "text", "seed": 0}])
    ['run 1: channel logits', 'run 2: channel text']
    """
    if len(configs) == 1:
        return [str(configs[0].get("model"))]
    (first, *others) = configs = [filled(config) for config in configs]
    every = dict.fromkeys(name for config in configs for name in config)
    differing = {name for other in others for name in runs.different(first, other)}
    return [
        f"run {place}: " + ", ".join(_said(name, config) for name in every if name in differing)
        for place, config in enumerate(configs, 1)
    ]


def _said(name: str, config: Mapping[str, Any]) -> str:
    value = config.get(name)
    if isinstance(value, list | tuple):
        value = "+".join(map(str, value))
    if isinstance(value, float):
        value = f"{value:g}"
    return f"no {name}" if value is None else f"{name} {value}"


def pairs_of(sources: Sequence[Source]) -> Pairs:
    """Lay out all students of all runs beside the teachers of their seeds.

    Raises:
        InputError: the results of a run are not of the shape that its configuration says.
    """
    each = [
        _arm(number, source, arm)
        for number, source in enumerate(sources)
        for arm in source.results["arms"]
    ]
    columns = zip(*(pairs[:-1] for pairs in each), strict=True)
    values = {n: np.concatenate([pairs.values[n] for pairs in each]) for n in each[0].values}
    return Pairs._make([*map(np.concatenate, columns), values])


def _arm(number: int, source: Source, arm: str) -> Pairs:
    subjects = np.array(source.subjects)
    n = len(subjects)
    shape = int(source.config["seeds"]), n, n
    found = source.results["arms"][arm]
    where = f"{source.folder / RESULTS} has in arm {arm}"
    change = _array(found.get("change"), where, "change")
    if change.ndim != 3 or change.shape[:2] != shape[:2] or change.shape[2] < n:
        raise InputError(
            f"{where} change of shape {list(change.shape)}; expected {list(shape)} or more columns"
        )
    change = change[..., :n]  # the candidates behind have no teachers
    values = {"change": change, "specific": double_centred(change)}
    written = found.get("measures") or {}
    # What runs write down; lengths and distances follow from it.
    for name in MEASURES:
        values[name] = np.full(shape, np.nan)
        if written.get(name) is not None:
            values[name] = _array(written[name], where, name)
        if values[name].shape != shape:
            given = list(values[name].shape)
            raise InputError(f"{where} {name} of shape {given}; expected {list(shape)}")
    values |= _derived(values)
    seed, student, teacher = (axis.ravel() for axis in np.indices(shape))
    return Pairs(
        np.full(seed.shape, number),
        np.full(seed.shape, arm),
        seed,
        subjects[student],
        subjects[teacher],
        {name: array.ravel() for name, array in values.items()},
    )


def _array(written: Any, where: str, name: str) -> np.ndarray:
    try:
        return np.array(written, np.float64)  # null becomes NaN
    except (TypeError, ValueError):
        raise InputError(
            f"{where} {name} that is no array of numbers; expected one for each student"
        ) from None


def _derived(measures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give lengths and distances, for cosine ``c`` and projection ``p`` with the same sign.

    ``p / c`` is ``|d_S| / |d_T|``, and with ``d_T`` as the unit of length nothing else is needed.
    """
    length = quotient(measures["projection"], measures["cosine"])
    one = np.ones_like(length)
    products = drift.Products(length**2, one, measures["projection"], np.full_like(one, np.nan))
    return {
        "relative_length": length,
        "distance_reduction": drift.distance_reduction(products),
    }
