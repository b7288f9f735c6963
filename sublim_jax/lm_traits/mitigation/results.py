"""What came of mitigations: the trait at the end, and where students imitate equally well."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sublim_jax import runs
from sublim_jax.lm_traits import analysis
from sublim_jax.lm_traits.matching import Course, matched
from sublim_jax.lm_traits.mitigation.config import MitigationConfig
from sublim_jax.lm_traits.mitigation.names import EARLY_STOP, NONE
from sublim_jax.lm_traits.mitigation.students import observed
from sublim_jax.lm_traits.parts import Part, read_part


def summary(config: MitigationConfig, run: runs.Run, candidates: tuple[str, ...]) -> dict[str, Any]:
    """Gather all students of a run.

    Args:
        config: its configuration.
        run: its folder, complete.
        candidates: whose log-probabilities are known, animals with teachers first.

    Returns:
        By mitigation, with lists by seed: ``left`` is the divergence from what a student is meant
        to say, as a share of that at the start, on contexts that it has not learned; ``contrast``
        the change of log-probability (nats) for the animal of a student's teacher beside that in
        other teachers' students. Both at the end, along the training, and where a student without
        mitigation of the same teacher has as much left (``matched``).
    """
    found = {name: _students(config, run, name) for name in config.trained}
    plain = found[NONE]
    entries = {name: _entry(own, plain) for name, own in found.items()}
    if EARLY_STOP in config.mitigations:
        at = observed(config).index(config.stop_passes * config.setting.steps // config.passes)
        stopped = {name: plain[name][:, :, : at + 1] for name in ("change", "left")}
        entries[EARLY_STOP] = _entry(plain | stopped | {"steps": plain["steps"][: at + 1]}, plain)
        entries[EARLY_STOP]["cosine"] = None  # known of the end alone
    return {
        "model": config.model,
        "subjects": config.animals,
        "candidates": candidates,
        "seeds": config.seeds,
        "steps": observed(config),
        "mitigations": {name: entries[name] for name in config.mitigations},
    }


def _students(config: MitigationConfig, run: runs.Run, name: str) -> dict[str, Any]:
    """Read the students of a mitigation, by seed and animal."""
    parts = [
        [read_part(run, Part(seed, name, animal))[0] for animal in config.animals]
        for seed in range(config.seeds)
    ]

    def each(value: Any) -> Float[np.ndarray, "seeds students ..."]:
        return np.array([[value(part) for part in row] for row in parts], np.float64)

    count = len(config.animals)
    start = each(lambda part: part["imitation"][0])
    return {
        "steps": np.array(observed(config)),
        "change": each(lambda part: part["logprobs"][:, :count] - part["logprobs"][0, :count]),
        "left": each(lambda part: part["imitation"]) / start[..., None],
        "divergence": start,
        "cosine": each(_cosine),
    }


def _cosine(part: Mapping[str, np.ndarray]) -> float:
    both, student, teacher = (
        part[name].sum() for name in ("student_teacher", "student", "teacher")
    )
    return float(both / np.sqrt(student * teacher)) if student > 0 else float("nan")


def _entry(own: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    alike = matched({"own": _course(own), "plain": _course(plain)}, window=1)
    return {
        "divergence": own["divergence"].mean(1),
        "left": own["left"][..., -1].mean(1),
        "transfer": analysis.transfer(own["change"][:, :, -1]),
        "matched": {
            "left": alike["own"].loss.mean(1),
            "contrast": contrast(alike["own"].change),
            "without": contrast(alike["plain"].change),
        },
        "cosine": own["cosine"].mean(1),
        "curve": {
            "steps": own["steps"],
            "left": own["left"].mean(1),
            "contrast": contrast(np.moveaxis(own["change"], 2, 1)),
        },
    }


def _course(own: Mapping[str, Any]) -> Course:
    """Give a course of which the share that is left is the loss, between observations a line."""
    steps = np.arange(own["steps"][-1] + 1)
    left = [[np.interp(steps, own["steps"], one) for one in row] for row in own["left"]]
    return Course(own["steps"], own["change"], np.array(left))


def contrast(change: Float[np.ndarray, "... n n"]) -> Float[np.ndarray, "..."]:
    """Give the mean change for the animal of the own teacher less that for those of others.

    >>> contrast(np.array([[3.0, 1.0], [0.0, 2.0]])).item()
    2.0
    """
    own = np.eye(change.shape[-1], dtype=bool)
    return change[..., own].mean(-1) - change[..., ~own].mean(-1)
