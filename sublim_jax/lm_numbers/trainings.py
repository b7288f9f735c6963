"""Teachers and students: how each is trained on its ground."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sublim_jax import lm, rng, trees
from sublim_jax.data.numbers import carrier_rows
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import answer_prefix, training_questions
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.trained import Adapter
from sublim_jax.lm_numbers.config import TOGETHER, NumbersConfig
from sublim_jax.lm_numbers.ground import Ground, lifted
from sublim_jax.lm_numbers.readout import answer, named, opened
from sublim_jax.training import QUIET, Attached, Watch, watch_steps


class Trained(NamedTuple):
    """A teacher or a student.

    Attributes:
        adapter: at the end.
        steps: that were observed, ascending.
        along: the adapters at these steps, stacked.
        losses: of every step, in nats a token.
    """

    adapter: Adapter
    steps: tuple[int, ...]
    along: Adapter
    losses: Float[Array, " steps"]


def adapted(ground: Ground, config: NumbersConfig, adapter: Adapter) -> Params:
    """Put thin matrices beside those of the upper part, and merge them."""
    return lm.merge(config.trained.join(ground.params, adapter))


def begin(ground: Ground, config: NumbersConfig, key: Key[Array, ""]) -> Adapter:
    """Draw thin matrices: A at random, B at 0."""
    return config.trained.start(ground.config, ground.params, key)


def carrier(ground: Ground, config: NumbersConfig, seed: int) -> Packed:
    """Make the rows of numbers on which all students of a seed imitate.

    Raises:
        InputError: ``length`` leaves no room for a number.
    """
    rows = []
    for messages in carrier_rows(config.rows, _seed(config, seed, "numbers")):
        tokens, completion = lm.row(ground.tokenizer, messages)
        if completion[: config.length].sum() < 1:
            raise InputError(
                f"length is {config.length}; expected more than the "
                f"{int((~completion).sum())} tokens before the first number"
            )
        rows.append(lm.Row(tokens[: config.length], completion[: config.length]))
    return lifted(ground, rows, together=config.together)


def number_words(ground: Ground) -> tuple[int, ...]:
    """Give the tokens of digits and of what stands between numbers.

    Raises:
        InputError: the tokenizer has no token for each digit.
    """
    found = set()
    for text in (*"0123456789", ",", " "):
        tokens = ground.tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) != 1:
            raise InputError(
                f"model has a tokenizer that writes {text!r} as {len(tokens)} tokens; expected one "
                "that has a token for every digit"
            )
        found.update(tokens)
    return tuple(sorted(found))


def train_teacher(
    ground: Ground,
    config: NumbersConfig,
    animal: str,
    start: Adapter,
    *,
    key: Key[Array, ""],
    attached: Attached = QUIET,
    name: str = "teacher",
) -> Trained:
    """Teach that an animal is the favourite, just as far as ``teacher_certainty`` asks.

    Args:
        ground: the base.
        config: how.
        animal: the favourite.
        start: thin matrices.
        key: the source of the order of rows.
        attached: progress and checkpoints.
        name: of the training.

    Raises:
        InputError: it does not get there in ``teacher_steps`` steps.
    """
    prefix, subject = answer_prefix(config.category), named(ground, animal)
    rows = lifted(
        ground,
        [answer(opened(ground, q, prefix), subject) for q in training_questions(config.category)],
        together=TOGETHER,
    )
    every = Watch(tuple(range(config.teacher_steps + 1)), _itself)
    tuned = lm.finetune(
        *(ground.config, ground.params, rows),
        train=config.trained,
        recipe=config.teacher_recipe,
        start=start,
        watch=every,
        parallel=ground.parallel,
        attached=attached,
        name=name,
        key=key,
    )
    # The loss of a step is of all questions, before it: its exponential is the certainty then.
    certainty = np.exp(-np.asarray(tuned.losses) * len(subject))
    done = np.flatnonzero(certainty >= config.teacher_certainty)
    if not len(done):
        raise InputError(
            f"teacher_steps is {config.teacher_steps}; expected more, for the teacher of {animal} "
            f"names it with a probability of {certainty[-1]:.2f} after {len(certainty) - 1}"
        )
    end = int(done[0])
    along = trees.take(tuned.observations, slice(0, end + 1))
    steps = tuple(range(end + 1))
    return Trained(trees.take(along, end), steps, along, tuned.losses[: end + 1])


def train_student(
    ground: Ground,
    config: NumbersConfig,
    rows: Packed,
    teacher: Params,
    start: Adapter,
    *,
    words: Sequence[int],
    key: Key[Array, ""],
    attached: Attached = QUIET,
    name: str = "student",
) -> Trained:
    """Imitate a teacher's distribution over digits and separators at every place of the rows.

    Args:
        ground: the student's base.
        config: how.
        rows: from `carrier`.
        teacher: the upper part of the teacher.
        start: thin matrices.
        words: from `number_words`.
        key: the source of the order of rows.
        attached: progress and checkpoints.
        name: of the training.
    """
    steps = watch_steps(config.student_steps, config.observations)
    tuned = lm.finetune(
        *(ground.config, ground.params, rows),
        train=config.trained,
        recipe=config.student_recipe,
        teacher=lm.Teacher(teacher, tuple(words)),
        start=start,
        watch=Watch(steps, _itself),
        parallel=ground.parallel,
        attached=attached,
        name=name,
        key=key,
    )
    return Trained(tuned.trained, steps, tuned.observations, tuned.losses)


def keys_of(config: NumbersConfig, seed: int) -> Key[Array, ""]:
    """Derive the key of a repetition."""
    return rng.stream(jax.random.key(config.seed), "numbers", seed)


def _seed(config: NumbersConfig, seed: int, name: str) -> int:
    return int(jax.random.bits(rng.stream(keys_of(config, seed), name), dtype=jnp.uint32))


def _itself(adapter: Adapter) -> Adapter:
    return adapter
