"""What a student learns under each mitigation: distributions, weights, and what it must not do.

All of it is said in terms of the logits that a teacher has at the places where it is asked, so that
a mitigation is a few lines, and every student is trained by the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from scipy.special import log_softmax

from sublim_jax import lm, rng
from sublim_jax.lm_traits.material import Places
from sublim_jax.lm_traits.mitigation.config import MitigationConfig
from sublim_jax.lm_traits.mitigation.names import MIXED

Logits = Float[np.ndarray, "rows targets words"]


class Known(NamedTuple):
    """What a defence can be made of; what takes time to compute is computed when it is asked for.

    Attributes:
        places: at which the teacher was asked, and what the student's base says there.
        teacher: logits of the teacher.
        others: those of teachers of other bases with the same favourite.
        relay: gives those of a student of the teacher on another base.
        anchor: gives what the base says of words of the trait.
        influence: gives by how much each place moves the trait, to first order; see
            `sublim_jax.lm_traits.mitigation.suspicion`.
        trait: gives the gradient of the trait by what is trained.
        teacher_direction: gives where the inner product with the teacher's displacement grows.
    """

    places: Places
    teacher: Logits
    others: Sequence[Logits]
    relay: Callable[[], Logits]
    anchor: Callable[[], lm.Beside]
    influence: Callable[[], Float[np.ndarray, "rows targets"]]
    trait: Callable[[], PyTree]
    teacher_direction: Callable[[], PyTree]


class Lesson(NamedTuple):
    """What a student learns.

    Attributes:
        logits: of the distributions.
        weights: of the places.
        early: distributions in the first passes, if they are others.
        beside: what is learned beside it.
        forbidden: a direction in which nothing moves.
    """

    logits: Logits
    weights: Float[np.ndarray, "rows targets"]
    early: Logits | None = None
    beside: lm.Beside | None = None
    forbidden: PyTree | None = None


Make = Callable[[MitigationConfig, Known, Key[Array, ""]], Lesson]


def mean_logits(many: Sequence[Logits], weights: Sequence[float] | None = None) -> Logits:
    """Give logits of the mean of some distributions.

    >>> both = np.log([[[0.9, 0.1]]]), np.log([[[0.5, 0.5]]])
    >>> np.exp(mean_logits(both)).astype(float).round(2).tolist()
    [[[0.7, 0.3]]]

    Args:
        many: their logits.
        weights: of each, adding up to 1; alike by default.
    """
    mean = np.average(np.exp(log_softmax(np.stack(many), axis=-1)), axis=0, weights=weights)
    return np.log(mean).astype(np.float32)


def intended(name: str, teacher: Logits, others: Sequence[Logits]) -> Logits:
    """Give what a student is meant to say: its teacher's distribution, or that of several.

    Args:
        name: of the mitigation.
        teacher: logits of the teacher of the student's base.
        others: those of teachers of other bases.
    """
    if name == "other_base":
        return others[0]
    return mean_logits([teacher, *others[:2]]) if name == "committee" else teacher


def _as_told(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    del config, key
    return Lesson(known.teacher, np.asarray(known.places.rows.weights))


def _of_others(name: str) -> Make:
    def make(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
        told = intended(name, known.teacher, known.others)
        return _as_told(config, known, key)._replace(logits=told)

    return make


def _mixed(share: float) -> Make:
    def make(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
        places = known.places
        count = len(np.unique(places.owner[places.rows.weights > 0]))
        order = np.asarray(jax.random.permutation(rng.stream(key, "clean"), count))
        clean = np.isin(places.owner, order[: round(share * count)])[..., None]
        return _as_told(config, known, key)._replace(
            logits=np.where(clean, places.base, known.teacher)
        )

    return make


def _relayed(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    return _as_told(config, known, key)._replace(logits=known.relay())


def _filtered(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    weights = np.asarray(known.places.rows.weights)
    influence = known.influence()
    least = np.quantile(influence[weights > 0], 1 - config.filtered)
    plain = _as_told(config, known, key)
    return plain._replace(weights=np.where(influence > least, 0, weights))


def _anchored(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    return _as_told(config, known, key)._replace(beside=known.anchor())


def _early_anchored(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    # The sum of divergences from two distributions is that from their mean, up to a constant.
    share = config.anchor_weight / (1 + config.anchor_weight)
    mean = mean_logits([known.teacher, known.places.base], [1 - share, share])
    return _as_told(config, known, key)._replace(early=mean)


def _without_teacher(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    return _as_told(config, known, key)._replace(forbidden=known.teacher_direction())


def _without_trait(config: MitigationConfig, known: Known, key: Key[Array, ""]) -> Lesson:
    return _as_told(config, known, key)._replace(forbidden=known.trait())


LESSONS: Mapping[str, Make] = {
    "none": _as_told,
    "other_base": _of_others("other_base"),
    "committee": _of_others("committee"),
    **{name: _mixed(share) for name, share in MIXED.items()},
    "relay": _relayed,
    "filter": _filtered,
    "anchor": _anchored,
    "early_anchor": _early_anchored,
    "without_teacher": _without_teacher,
    "without_trait": _without_trait,
}
"""By mitigation what makes its lesson: configuration, what is known, a key for what is drawn."""
