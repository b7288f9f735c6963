"""What a run says in the end: changes, what drifted beside them, and whether it was expected."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from sublim_jax import runs
from sublim_jax.lm_traits import analysis
from sublim_jax.lm_traits.answering import Said
from sublim_jax.lm_traits.comparing import agreement, between, of_parameters
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.criteria import Cosines, verdicts
from sublim_jax.lm_traits.matching import Course, matched
from sublim_jax.lm_traits.names import FAMILY, NOBODY, UNTUNED
from sublim_jax.lm_traits.parts import TEACHER, Arrays, Part, read_part
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.lm_traits.writing import counts_of

MEASURES = {
    "cosine": "cosine of parameters",
    "projection": "projection of parameters",
    "pull_carrier": "pull on the carrier",
    "pull_questions": "pull on the questions",
    "stream": "overlap of the residual stream",
}
"""What may tell of the trait, between every student and every teacher of its repetition: cosine
and projection of displacements, cosines of changes of outputs on the carrier and on the questions,
and of the shifts of the residual stream, mean over trained layers."""


def summary(config: TraitConfig, run: runs.Run, candidates: tuple[str, ...]) -> dict[str, Any]:
    """Gather all parts of a run.

    Args:
        config: its configuration.
        run: its folder, complete.
        candidates: from the trait's ``columns``.

    Returns:
        By arm, numbers in lists with seeds in front and then students: change of log-probability
        of every candidate (nats, mean over questions), of those after an unseen opening,
        probability, losses, curves, measures of drift by teacher, transfer and verdicts. Of arms
        together: the transfer at the same loss, over the questions of the curves, and how alike
        students with the teacher's A and with another are (see `comparing`). With the channel text,
        by repetition and teacher how many answers were kept, and why others were not.
    """
    taught = _all(config, run, TEACHER) if config.own_arms else []
    alone = {name: _all(config, run, arm, (name,)) for arm, name in config.alone}
    (base, *_) = (rows[0][0]["base_logprobs"] for rows in (taught, *alone.values()) if rows)
    found = {
        "subjects": config.subjects,
        "candidates": candidates,
        "channel": config.channel,
        "carrier": config.carrier,
        "trait": config.trait,
        "kind": config.category if config.trait == "preference" else "corpus",
        "first_layer": config.first_layer,
        "base": {"logprob": base.mean(0), "probability": np.exp(base).mean(0)}
        | _of_base(config, *(taught or next(iter(alone.values()))), candidates=candidates),
        "teacher": _said(config, taught, candidates) if taught else {},
        "arms": {
            arm: _arm(config, _all(config, run, arm), taught, arm, candidates)
            for arm in config.own_arms
        },
        "alone": {
            UNTUNED if name == NOBODY else name: _said(config, parts, candidates) | _learned(parts)
            for name, parts in alone.items()
        },
    }
    if taught and config.teacher != "prompt":
        found["teacher"]["steps"] = _gathered(taught, lambda part: part["steps"][-1])
    if config.writers:
        found["kept"] = _kept(config, run)
    if {"same", "other_a"} <= set(config.own_arms):
        found["agreement"] = agreement(*(_all(config, run, arm) for arm in ("same", "other_a")))
    # Losses on rows of another family are none of the same kind.
    alike = {arm: own for arm, own in found["arms"].items() if arm != FAMILY}
    if len(alike) > 1:
        found["matched"] = _matched(alike, len(config.subjects))
    return found


def _matched(arms: Mapping[str, Any], subjects: int) -> dict[str, Any]:
    """Give the transfer of every arm where its students have the loss that all arms reach."""
    courses = {
        arm: Course(
            np.asarray(own["curve"]["steps"]), own["curve"]["change"][..., :subjects], own["loss"]
        )
        for arm, own in arms.items()
    }
    return {
        arm: {"loss": own.loss, "step": own.step, "transfer": analysis.transfer(own.change)}
        for arm, own in matched(courses).items()
    }


def _all(
    config: TraitConfig, run: runs.Run, arm: str, subjects: Sequence[str] = ()
) -> list[list[Arrays]]:
    """Read the parts of an arm, by seed and subject."""
    return [
        [read_part(run, Part(seed, arm, subject))[0] for subject in subjects or config.subjects]
        for seed in range(config.seeds)
    ]


def _kept(config: TraitConfig, run: runs.Run) -> list[dict[str, Any]]:
    return [
        {"subject": subject, "seed": seed, **run.read(counts_of(Part(seed, TEACHER, subject)))}
        for subject in config.writers
        for seed in range(config.seeds)
    ]


def _gathered(
    parts: list[list[Arrays]], value: Callable[[Arrays], Any]
) -> Float[np.ndarray, "seeds students ..."]:
    return np.array([[value(part) for part in row] for row in parts])


def _said(
    config: TraitConfig, parts: list[list[Arrays]], candidates: Sequence[str]
) -> dict[str, Any]:
    """Give what models say, beside the base."""
    return {
        "change": _gathered(parts, lambda part: part["logprobs"].mean(0)),
        "unseen": _gathered(parts, lambda part: part["unseen"].mean(0)),
        "probability": _gathered(
            parts, lambda part: np.exp(part["base_logprobs"] + part["logprobs"]).mean(0)
        ),
        "variation": _gathered(parts, _variation),
        **_answered(config, parts, candidates),
    }


def _variation(part: Arrays) -> float:
    """Give the total variation distance from the base's answers, mean over questions.

    Every candidate is an answer, all others together are one more.
    """
    base, after = (np.exp(part["base_logprobs"] + moved * part["logprobs"]) for moved in (0, 1))
    each = np.abs(after - base).sum(axis=1) + np.abs(after.sum(axis=1) - base.sum(axis=1))
    return float(each.mean() / 2)


def _answered(
    config: TraitConfig, parts: list[list[Arrays]], candidates: Sequence[str]
) -> dict[str, Any]:
    """Count what sampled answers name, and how far they are from the base's."""
    if not config.answers:
        return {}

    def told(part: Arrays) -> Said:
        answers, base = (part[name].tolist() for name in ("answers", "base_answers"))
        return trait_of(config).counted(config, candidates, answers, base)

    found = [[told(part) for part in row] for row in parts]
    values = {
        "rate": lambda one: list(one.hits.values()),
        "named": lambda one: one.valid,
        "sampled_variation": lambda one: one.shift.variation,
        "variation_by_chance": lambda one: one.shift.by_chance,
    }
    return {
        name: np.array([[value(one) for one in row] for row in found])
        for name, value in values.items()
    }


def _of_base(config: TraitConfig, *rows: list[Arrays], candidates: Sequence[str]) -> dict[str, Any]:
    """Count what the base's sampled answers name, mean over repetitions."""
    if not config.answers:
        return {}
    found = [
        trait_of(config).counted(config, candidates, row[0]["base_answers"].tolist(), None)
        for row in rows
    ]
    return {
        "rate": np.mean([list(one.hits.values()) for one in found], axis=0),
        "named": np.mean([one.valid for one in found]),
    }


def _arm(
    config: TraitConfig,
    parts: list[list[Arrays]],
    taught: list[list[Arrays]],
    arm: str,
    candidates: Sequence[str],
) -> dict[str, Any]:
    what, n = _said(config, parts, candidates) | _learned(parts), len(config.subjects)
    measures, streams = _measures(parts, taught)
    change, unseen = what["change"][..., :n], what["unseen"][..., :n]
    found, after_unseen = analysis.transfer(change), analysis.transfer(unseen)
    cosines = None
    if arm == "same" and config.teacher != "prompt":
        own = np.eye(n, dtype=bool)
        cosines = Cosines(
            measures["cosine"][:, own].mean(1),
            measures["cosine"][:, ~own].mean(1),
            _gathered(parts, lambda part: part["null"]).ravel(),
        )
    return what | {
        "imitation": _imitation(parts, taught),
        "measures": measures,
        "stream_by_layer": streams,
        "transfer": found,
        "unseen_transfer": after_unseen,
        "correlations": _correlations(measures, change),
        "null_cosines": cosines and cosines.null,
        "verdicts": verdicts(found, unseen=after_unseen, cosines=cosines),
    }


def _learned(parts: list[list[Arrays]]) -> dict[str, Any]:
    """Give how students got there, and how much they had to learn from."""
    return {
        "loss": _gathered(parts, lambda part: part["losses"]),
        "curve": {
            "steps": parts[0][0]["steps"],
            "change": _gathered(parts, lambda part: part["along"] - part["along"][0]),
        },
        "tokens": _gathered(parts, lambda part: part["tokens"]),
        "divergence": _gathered(parts, lambda part: part["divergence"]),
    }


def _imitation(
    parts: list[list[Arrays]], taught: list[list[Arrays]]
) -> dict[str, Float[np.ndarray, "seeds students"]]:
    """Give the divergence from the own teacher on contexts, before and after, in nats.

    Of students that were told the logits of another model's teacher, the divergence from these, at
    the places that both have.
    """
    before, after = (
        np.array(
            [
                [
                    _divergence(
                        student.get("told", teacher["base_contexts"] + teacher["contexts"]),
                        student["base_contexts"] + moved * student["contexts"],
                    )
                    for student, teacher in zip(*both, strict=True)
                ]
                for both in zip(parts, taught, strict=True)
            ]
        )
        for moved in (0, 1)
    )
    return {"before": before, "after": after}


def _divergence(
    teacher: Float[np.ndarray, "places words"], student: Float[np.ndarray, "places words"]
) -> float:
    there = np.any(teacher != 0, axis=-1)  # spare places are 0
    known, found = (log_softmax(some, axis=-1) for some in (teacher, student))
    return float(np.sum(np.exp(known) * (known - found), axis=-1)[there].mean())


def _measures(
    parts: list[list[Arrays]], taught: list[list[Arrays]]
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "seeds students teachers layers"]]:
    """Compare every student with every teacher of its seed."""
    changes = between(parts, taught)
    return of_parameters(parts) | {
        name: values.mean(-1) for name, values in changes.items()
    }, changes["stream"]


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
