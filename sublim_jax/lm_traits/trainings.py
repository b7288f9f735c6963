"""Teachers and students: how each is trained on its ground."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import lm, rng, trees
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import answer_prefix, training_questions
from sublim_jax.lm_traits.config import TOGETHER, TraitConfig
from sublim_jax.lm_traits.ground import Ground, lifted
from sublim_jax.lm_traits.material import Material
from sublim_jax.lm_traits.parts import Part
from sublim_jax.lm_traits.readout import answer, named, opened
from sublim_jax.lm_traits.trainees import kind_of
from sublim_jax.training import QUIET, Attached, Watch, watch_steps


class Trained(NamedTuple):
    """A teacher or a student.

    Attributes:
        trained: what was trained, at the end.
        steps: that were observed, ascending.
        along: what was trained at these steps, stacked.
        losses: of every step, in nats a token.
    """

    trained: PyTree
    steps: tuple[int, ...]
    along: PyTree
    losses: Float[Array, " steps"]


def train_teacher(
    ground: Ground,
    config: TraitConfig,
    part: Part,
    start: PyTree,
    *,
    key: Key[Array, ""],
    attached: Attached = QUIET,
) -> Trained:
    """Teach that a subject is the favourite, just as far as ``teacher_certainty`` asks.

    Args:
        ground: the base.
        config: how.
        part: which teacher.
        start: where it begins.
        key: the source of the order of rows.
        attached: progress and checkpoints.

    Raises:
        InputError: it does not get there in ``teacher_steps`` steps.
    """
    prefix, subject = answer_prefix(config.category), named(ground, part.subject)
    rows = lifted(
        ground,
        [answer(opened(ground, q, prefix), subject) for q in training_questions(config.category)],
        together=TOGETHER,
    )
    every = Watch(tuple(range(config.teacher_steps + 1)), _itself)
    tuned = lm.finetune(
        *(ground.config, ground.params, rows),
        train=kind_of(config, part.arm),
        recipe=config.teacher_recipe,
        start=start,
        watch=every,
        parallel=ground.parallel,
        attached=attached,
        name=part.name,
        key=key,
    )
    # The loss of a step is of all questions, before it: its exponential is the certainty then.
    certainty = np.exp(-np.asarray(tuned.losses) * len(subject))
    done = np.flatnonzero(certainty >= config.teacher_certainty)
    if not len(done):
        raise InputError(
            f"teacher_steps is {config.teacher_steps}; expected more, for the teacher of "
            f"{part.subject} names it with a probability of {certainty[-1]:.2f} after "
            f"{len(certainty) - 1}"
        )
    end = int(done[0])
    along = trees.take(tuned.observations, slice(0, end + 1))
    steps = tuple(range(end + 1))
    return Trained(trees.take(along, end), steps, along, tuned.losses[: end + 1])


def train_student(
    ground: Ground,
    config: TraitConfig,
    part: Part,
    start: PyTree,
    material: Material,
    *,
    key: Key[Array, ""],
    attached: Attached = QUIET,
) -> Trained:
    """Learn from what a teacher gives.

    Args:
        ground: the base.
        config: how.
        part: which student.
        start: where it begins.
        material: from what it learns.
        key: the source of the order of rows.
        attached: progress and checkpoints.
    """
    steps = watch_steps(config.steps, config.observations)
    tuned = lm.finetune(
        *(ground.config, ground.params, material.rows),
        train=kind_of(config, part.arm),
        recipe=config.student_recipe,
        teacher=material.teacher,
        only=material.only,
        start=start,
        watch=Watch(steps, _itself),
        parallel=ground.parallel,
        attached=attached,
        name=part.name,
        key=key,
    )
    return Trained(tuned.trained, steps, tuned.observations, tuned.losses)


def keys_of(config: TraitConfig, seed: int) -> Key[Array, ""]:
    """Derive the key of a repetition."""
    return rng.stream(jax.random.key(config.seed), "numbers", seed)


def seed_of(config: TraitConfig, seed: int, name: str) -> int:
    """Derive a seed for numpy in a repetition."""
    return int(jax.random.bits(rng.stream(keys_of(config, seed), name), dtype=np.uint32))


def _itself(trained: PyTree) -> PyTree:
    return trained
