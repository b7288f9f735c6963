"""What somebody can compute who suspects a trait: its gradient, and how much each place moves it.

Questions are those on which teachers are trained, never those on which a trait is measured.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax import hosts, lm
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import answer_prefix, training_questions
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.drifting import Bases, products
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.mitigation.lessons import Logits
from sublim_jax.lm_traits.observing import one_by_one
from sublim_jax.lm_traits.readout import Readout, logits_at, logprobs, make_readout
from sublim_jax.lm_traits.trainees import joined
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Parallel


def asked(ground: Ground, config: TraitConfig) -> Readout:
    """Prepare the questions of somebody who suspects a preference."""
    candidates = trait_of(config).columns(ground, config)
    return make_readout(
        *(ground, training_questions(config.category), answer_prefix(config.category)),
        candidates,
    )


def telling_words(questions: Readout) -> tuple[int, ...]:
    """Give the tokens with which candidates begin.

    Raises:
        InputError: all of them begin with the same.
    """
    found = tuple(sorted({int(word) for word in questions.words[:, 0]}))
    if len(found) < 2:
        raise InputError(
            "mitigations has anchor with a model of which all names begin with the same token; "
            "expected one with a token for each"
        )
    return found


def trait_gradient(
    ground: Ground, config: TraitConfig, start: PyTree, questions: Readout, place: int
) -> PyTree:
    """Give the gradient of a preference by what is trained, where it begins.

    The preference is the log-probability of a candidate less the mean of all candidates', mean over
    questions: what raises all of them is none.

    Args:
        ground: the student's base.
        config: of the student.
        start: what is trained of it, at the start.
        questions: from `asked`.
        place: of the candidate.
    """
    return _gradient(ground.config, ground.parallel, config)(
        start, ground.params, questions, jnp.asarray(place)
    )


@functools.lru_cache(maxsize=4)
def _gradient(shape: lm.DecoderConfig, parallel: Parallel, config: TraitConfig) -> Any:
    def preference(trained: PyTree, params: Any, questions: Any, place: Array) -> Array:
        params = one_by_one(parallel, joined(params, config, trained))
        found = jnp.mean(logprobs(shape, params, questions), axis=0)
        return found[place] - jnp.mean(found)

    return jax.jit(jax.grad(preference))


def teacher_direction(
    ground: Ground, config: TraitConfig, start: PyTree, teacher: PyTree
) -> PyTree:
    """Give the direction that makes the inner product with a teacher's displacement grow.

    A student that does not go there has a cosine of 0 with the teacher in the space of the
    matrices, which is not that of the thin ones.

    Args:
        ground: the base of both.
        config: of the student.
        start: what is trained of it, at the start.
        teacher: what was trained of the teacher.
    """
    bases = Bases(ground.params, ground.params)

    def product(trained: PyTree) -> Array:
        return jnp.sum(products(config, bases, trained, teacher).student_teacher)

    return jax.grad(product)(start)


def influence(
    ground: Ground,
    config: TraitConfig,
    start: PyTree,
    direction: PyTree,
    rows: Packed,
    words: tuple[int, ...],
    teacher: Logits,
) -> Float[np.ndarray, "rows targets"]:
    """Give by how much learning a place moves along a direction, in nats for each unit of it.

    It is the inner product of the direction with the descent on the place's divergence from the
    teacher, at the start, where the student says what the base says; see
    `sublim_jax.predict.influence` for the same of whole examples.

    Args:
        ground: the student's base.
        config: of the student.
        start: what is trained of it, at the start.
        direction: a tree like it.
        rows: at which the teacher was asked, lifted.
        words: of which.
        teacher: its logits.
    """
    along = _along(ground.config, ground.parallel, config)
    found = along(start, direction, ground.params, rows, jnp.asarray(words), teacher)
    return np.asarray(hosts.gather(found))


@functools.lru_cache(maxsize=4)
def _along(shape: lm.DecoderConfig, parallel: Parallel, config: TraitConfig) -> Any:
    def change(
        start: PyTree, direction: PyTree, params: Any, rows: Any, words: Array, teacher: Array
    ) -> Array:
        def said(trained: PyTree) -> Array:
            own = one_by_one(parallel, joined(params, config, trained))
            return logits_at(shape, own, rows, words)

        logits, moved = jax.jvp(said, (start,), (direction,))
        lack = jax.nn.softmax(teacher) - jax.nn.softmax(logits)
        return jnp.sum(lack * moved, axis=-1)

    return jax.jit(change)
