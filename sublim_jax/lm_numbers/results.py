"""What a run says in the end: changes, what drifted beside them, and whether it was expected."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sublim_jax import drift, runs
from sublim_jax.drift.metrics import quotient
from sublim_jax.lm_numbers import analysis
from sublim_jax.lm_numbers.config import NumbersConfig
from sublim_jax.lm_numbers.criteria import Cosines, verdicts
from sublim_jax.lm_numbers.parts import TEACHER, Arrays, Part, read_part

MEASURES = {
    "cosine": "cosine of parameters",
    "projection": "projection of parameters",
    "pull_numbers": "pull on the numbers",
    "pull_questions": "pull on the questions",
    "stream": "overlap of the residual stream",
}
"""What may tell of the trait, between every student and every teacher of its repetition: cosine
and projection of displacements, cosines of changes of outputs on the numbers and on the questions,
and of the shifts of the residual stream, mean over trained layers."""


def summary(config: NumbersConfig, run: runs.Run, candidates: tuple[str, ...]) -> dict[str, Any]:
    """Gather all parts of a run.

    Args:
        config: its configuration.
        run: its folder, complete.
        candidates: from `sublim_jax.lm_numbers.observing.candidates`.

    Returns:
        By arm, numbers in lists with seeds in front and then students: change of log-probability
        of every candidate (nats, mean over questions), of those after an unseen opening,
        probability, losses, curves, measures of drift by teacher, transfer and verdicts.
    """
    taught = _all(config, run, TEACHER)
    (base, *_) = (part["base_logprobs"] for part in taught[0])
    return {
        "animals": config.animals,
        "candidates": candidates,
        "first_layer": config.first_layer,
        "base": {"logprob": base.mean(0), "probability": np.exp(base).mean(0)},
        "teacher": _said(taught) | {"steps": _gathered(taught, lambda part: part["steps"][-1])},
        "arms": {arm: _arm(config, _all(config, run, arm), taught, arm) for arm in config.arms},
    }


def _all(config: NumbersConfig, run: runs.Run, arm: str) -> list[list[Arrays]]:
    """Read the parts of an arm, by seed and animal."""
    return [
        [read_part(run, Part(seed, arm, animal))[0] for animal in config.animals]
        for seed in range(config.seeds)
    ]


def _gathered(
    parts: list[list[Arrays]], value: Callable[[Arrays], Any]
) -> Float[np.ndarray, "seeds students ..."]:
    return np.array([[value(part) for part in row] for row in parts])


def _said(parts: list[list[Arrays]]) -> dict[str, Any]:
    """Give what models say, beside the base."""
    return {
        "change": _gathered(parts, lambda part: part["logprobs"].mean(0)),
        "unseen": _gathered(parts, lambda part: part["unseen"].mean(0)),
        "probability": _gathered(
            parts, lambda part: np.exp(part["base_logprobs"] + part["logprobs"]).mean(0)
        ),
    }


def _arm(
    config: NumbersConfig, parts: list[list[Arrays]], taught: list[list[Arrays]], arm: str
) -> dict[str, Any]:
    said, n = _said(parts), len(config.animals)
    measures, streams = _measures(parts, taught)
    change, unseen = said["change"][..., :n], said["unseen"][..., :n]
    found, after_unseen = analysis.transfer(change), analysis.transfer(unseen)
    cosines = None
    if arm == "same":
        own = np.eye(n, dtype=bool)
        cosines = Cosines(
            measures["cosine"][:, own].mean(1),
            measures["cosine"][:, ~own].mean(1),
            _gathered(parts, lambda part: part["null"]).ravel(),
        )
    return said | {
        "loss": {
            "first": _gathered(parts, lambda part: part["losses"][0]),
            "last": _gathered(parts, lambda part: part["losses"][-1]),
            "all": _gathered(parts, lambda part: part["losses"]),
        },
        "curve": {
            "steps": parts[0][0]["steps"],
            "change": _gathered(parts, lambda part: part["along"] - part["along"][0]),
        },
        "measures": measures,
        "stream_by_layer": streams,
        "transfer": found,
        "unseen_transfer": after_unseen,
        "correlations": _correlations(measures, change),
        "null_cosines": cosines and cosines.null,
        "verdicts": verdicts(found, unseen=after_unseen, cosines=cosines),
    }


def _measures(
    parts: list[list[Arrays]], taught: list[list[Arrays]]
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "seeds students teachers layers"]]:
    """Compare every student with every teacher of its seed."""
    student, teacher, both = (
        _gathered(parts, lambda part, name=name: part[name])
        for name in ("student", "teacher", "student_teacher")
    )
    products = drift.Products(student, teacher, both, np.full_like(student, np.nan))
    totals = drift.total(products)

    def each(change: Callable[[Arrays], np.ndarray]) -> np.ndarray:
        """Give the cosine of every row of what changed."""
        return np.array(
            [
                [
                    [_cosines(change(student), change(teacher)) for teacher in teachers]
                    for student in row
                ]
                for row, teachers in zip(parts, taught, strict=True)
            ]
        )

    streams = each(lambda part: part["stream"])
    return {
        "cosine": drift.cosine(totals),
        "projection": drift.projection(totals),
        "pull_numbers": each(lambda part: part["numbers"].reshape(1, -1))[..., 0],
        "pull_questions": each(_among_candidates)[..., 0],
        "stream": streams.mean(-1),
    }, streams


def _among_candidates(part: Arrays) -> np.ndarray:
    """Give how candidates change beside each other, in one row; all may rise or fall together."""
    change = part["logprobs"]
    return (change - change.mean(axis=1, keepdims=True)).reshape(1, -1)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give the cosine of each row of two matrices."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return quotient(np.sum(a * b, axis=-1), lengths)


def _correlations(
    measures: Mapping[str, np.ndarray], change: Float[np.ndarray, "seeds n n"]
) -> dict[str, Any]:
    """Correlate each measure with the trait over all pairs of student and teacher."""
    seeds, n, _ = change.shape
    clusters = np.repeat(np.arange(seeds), n * n)
    other = np.tile(~np.eye(n, dtype=bool).ravel(), seeds)
    flat = {name: values.ravel() for name, values in measures.items()}
    trait = change.ravel()
    return {
        "all": analysis.rank_correlations(flat, trait, clusters),
        "other teachers": analysis.rank_correlations(
            {name: values[other] for name, values in flat.items()}, trait[other], clusters[other]
        ),
    }
