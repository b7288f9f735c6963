"""Students under a mitigation: how they are trained, and what is seen of them on the way."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import hosts, lm, losses, trees
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.trained import Trained as Kind
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.mitigation.config import MitigationConfig
from sublim_jax.lm_traits.mitigation.lessons import Lesson, Logits
from sublim_jax.lm_traits.observing import one_by_one
from sublim_jax.lm_traits.readout import logits_at, logprobs
from sublim_jax.lm_traits.trainees import joined, kind_of
from sublim_jax.lm_traits.trainings import Trained
from sublim_jax.training import QUIET, Attached, Parallel, Recipe, Watch, watch_steps


class Phase(NamedTuple):
    """A part of a training.

    Attributes:
        logits: of the distributions that are learned.
        passes: over the rows.
        recipe: how.
    """

    logits: Logits
    passes: int
    recipe: Recipe


def train(
    ground: Ground,
    config: MitigationConfig,
    name: str,
    start: PyTree,
    rows: tuple[Packed, tuple[int, ...]],
    lesson: Lesson,
    *,
    key: Key[Array, ""],
    attached: Attached = QUIET,
) -> Trained:
    """Train a student.

    Args:
        ground: its base.
        config: how.
        name: of the training.
        start: where it begins.
        rows: lifted, and the words that are learned.
        lesson: what is learned there.
        key: the source of the order of rows.
        attached: progress and checkpoints.

    Returns:
        What was trained, at the observed steps, too: those of a student without mitigation, and
        that at which one is stopped early.
    """
    setting = config.setting
    kind: Kind = kind_of(setting, "same")
    packed, words = rows
    if lesson.forbidden is not None:
        kind = lm.Projected(kind, lm.Forbidden(start, lesson.forbidden))
    found, trained, made = [], start, 0
    for phase in phases(config, lesson):
        count = phase.passes * (setting.steps // setting.passes)
        own = tuple(step - made for step in observed(config) if made <= step <= made + count)
        tuned = lm.finetune(
            *(ground.config, ground.params, packed._replace(weights=lesson.weights)),
            train=kind,
            recipe=phase.recipe,
            teacher=lm.Told(phase.logits),
            only=words,
            beside=lesson.beside,
            start=trained,
            watch=Watch(own, _itself),
            parallel=ground.parallel,
            computing=ground.computing,
            attached=attached,
            name=f"{name}/{made}",
            key=jax.random.fold_in(key, made) if made else key,
        )
        trained, made = tuned.trained, made + count
        found.append(tuned)
    along = _allowed(start, lesson, _joined([tuned.observations for tuned in found]))
    return Trained(
        trees.take(along, -1),
        observed(config),
        along,
        jnp.concatenate([tuned.losses for tuned in found]),
    )


def phases(config: MitigationConfig, lesson: Lesson) -> tuple[Phase, ...]:
    """Cut a training where the distribution that is learned changes."""
    recipe = config.setting.student_recipe
    if lesson.early is None:
        return (Phase(lesson.logits, config.passes, recipe),)
    first, rest = config.early_passes, config.passes - config.early_passes
    each = config.setting.steps // config.passes
    early = dataclasses.replace(
        recipe, epochs=first, warmup=min(recipe.warmup, first * each - 1), decay="none"
    )
    late = dataclasses.replace(recipe, epochs=rest, warmup=min(recipe.warmup, rest * each - 1))
    return Phase(lesson.early, first, early), Phase(lesson.logits, rest, late)


def observed(config: MitigationConfig) -> tuple[int, ...]:
    """List the steps at which students are looked at."""
    setting = config.setting
    each = setting.steps // setting.passes
    usual = watch_steps(setting.steps, setting.observations)
    return tuple(sorted({*usual, config.early_passes * each, config.stop_passes * each}))


def _joined(parts: Sequence[PyTree]) -> PyTree:
    """Put observations of phases behind one another; where one ends and one begins is seen once."""
    (first, *rest) = parts
    for part in rest:
        later = trees.take(part, slice(1, None))
        first = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, later)
    return first


def _allowed(start: PyTree, lesson: Lesson, along: PyTree) -> PyTree:
    """Take away what has no effect on a student, for it was projected out."""
    if lesson.forbidden is None:
        return along
    forbidden = lm.Forbidden(start, lesson.forbidden)
    return jax.vmap(lambda trained: lm.without(forbidden, trained))(along)


class Seen(NamedTuple):
    """What is seen of a student on the way.

    Attributes:
        logprobs: of candidates, mean over questions, in nats.
        imitation: divergence of the student from what it is meant to say, on contexts that it has
            not learned, in nats a token.
    """

    logprobs: Float[np.ndarray, "steps candidates"]
    imitation: Float[np.ndarray, " steps"]


def seen_along(
    ground: Ground,
    config: TraitConfig,
    made: Trained,
    questions: Any,
    held_out: tuple[Packed, tuple[int, ...]],
    meant: Logits,
) -> Seen:
    """Observe a student at the steps that were kept.

    Args:
        ground: its base.
        config: of it.
        made: the student.
        questions: on which the trait is measured.
        held_out: rows that it has not learned, lifted, and words.
        meant: logits of what it is meant to say there.
    """
    one = _seen(ground.config, ground.parallel, config)
    rows, words = held_out
    found = [
        one(ground.params, trees.take(made.along, at), questions, rows, jnp.asarray(words), meant)
        for at in range(len(made.steps))
    ]
    logprobs, imitation = zip(*hosts.gather(found), strict=True)
    return Seen(np.stack(logprobs), np.array(imitation))


@functools.lru_cache(maxsize=4)
def _seen(shape: lm.DecoderConfig, parallel: Parallel, config: TraitConfig) -> Any:
    def one(params: Any, trained: Any, questions: Any, rows: Any, words: Any, meant: Any) -> Any:
        params = one_by_one(parallel, joined(params, config, trained))
        each = losses.kl(logits_at(shape, params, rows, words), meant)
        imitation = jnp.sum(rows.weights * each) / jnp.sum(rows.weights)
        return jnp.mean(logprobs(shape, params, questions), axis=0), imitation

    return jax.jit(one)


def _itself(trained: PyTree) -> PyTree:
    return trained
