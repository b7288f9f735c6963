"""A learning rate that rises at first and falls toward the end."""

from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from sublim_jax.errors import InputError

Decay = Literal["none", "linear", "cosine"]


class ScheduleState(NamedTuple):
    """Where a training is.

    Attributes:
        steps_done: steps that were made.
        total_steps: of the whole training; whoever knows sets it before the first step.
    """

    steps_done: Int[Array, ""]
    total_steps: Float[Array, ""]


def factor(state: ScheduleState, *, warmup: int, decay: Decay) -> Float[Array, ""]:
    """Give what the learning rate is multiplied by in the next step.

    ``(i + 1) / warmup`` in step ``i`` of the warm-up, which ends at 1; then 1, or a straight line
    or half a cosine from 1 to 0, which is reached after the last step.
    """
    done = state.steps_done.astype(jnp.float32)
    rising = jnp.minimum((done + 1) / max(warmup, 1), 1.0)
    past = jnp.clip((done - warmup) / jnp.maximum(state.total_steps - warmup, 1.0), 0.0, 1.0)
    falling = {
        "none": jnp.ones_like(past),
        "linear": 1 - past,
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * past)),
    }[decay]
    return rising * falling


def scheduled(*, warmup: int, decay: Decay) -> optax.GradientTransformation:
    """Multiply updates, the last of a chain, by `factor`.

    The number of steps is part of the state rather than of the program, which therefore serves
    trainings of any length.

    Raises:
        InputError: ``warmup`` is negative, or ``decay`` not one of its names.
    """
    if warmup < 0:
        raise InputError(f"warmup is {warmup}; expected at least 0")
    if decay not in get_args(Decay):
        raise InputError(f"decay is {decay!r}; expected one of {', '.join(get_args(Decay))}")

    def init(params: PyTree) -> ScheduleState:
        del params
        return ScheduleState(jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, jnp.float32))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, ScheduleState]:
        del params
        by = factor(state, warmup=warmup, decay=decay)
        scaled = optax.tree.scale(by, updates)
        return scaled, state._replace(steps_done=state.steps_done + 1)

    return optax.GradientTransformation(init, update)
