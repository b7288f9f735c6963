"""Teachers and students: how each is trained on its ground."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import lm, rng, trees
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.material import Material
from sublim_jax.lm_traits.parts import Part
from sublim_jax.lm_traits.trainees import kind_of
from sublim_jax.lm_traits.traits import trait_of
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
    """Teach a subject, just as far as the trait asks.

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
    trait = trait_of(config)
    rows = trait.lessons(ground, config, part.subject)
    steps = trait.steps(config)
    tuned = lm.finetune(
        *(ground.config, ground.params, rows),
        train=kind_of(config, part.arm),
        recipe=config.teacher_recipe,
        start=start,
        watch=Watch(steps, _itself),
        parallel=ground.parallel,
        computing=ground.computing,
        attached=attached,
        name=part.name,
        key=key,
    )
    end = trait.done(ground, config, part.subject, tuned.losses)
    last = steps.index(end)
    along = trees.take(tuned.observations, slice(0, last + 1))
    return Trained(trees.take(along, last), steps[: last + 1], along, tuned.losses[: end + 1])


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
        computing=ground.computing,
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
