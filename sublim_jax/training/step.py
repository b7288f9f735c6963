"""One optimizer step as a pure function: ``(state, batch, weights) -> (state, loss)``."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

Loss = Callable[[PyTree, PyTree], Float[Array, " batch"]]


class TrainState(NamedTuple):
    """What a step changes: parameters and optimizer state (moments and step count)."""

    params: PyTree
    opt_state: optax.OptState


Step = Callable[[TrainState, PyTree, Float[Array, " batch"]], tuple[TrainState, Float[Array, ""]]]


def init_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """Start training from ``params`` with a fresh optimizer state."""
    return TrainState(params, optimizer.init(params))


def make_step(loss: Loss, optimizer: optax.GradientTransformation) -> Step:
    """Make the step that minimises the weighted mean of a loss per example.

    Args:
        loss: ``(params, batch) -> [batch]``.
        optimizer: any optax transformation.

    Returns:
        A pure function from state, batch (a tree of arrays ``[batch, ...]``) and weights
        ``[batch]`` to the next state and the mean ``sum(w * l) / sum(w)`` before the step.
        A row of weight 0 is as good as absent.
    """

    def mean_loss(params: PyTree, batch: PyTree, weights: Array) -> Array:
        return jnp.sum(weights * loss(params, batch)) / jnp.sum(weights)

    def step(state: TrainState, batch: PyTree, weights: Array) -> tuple[TrainState, Array]:
        value, gradient = jax.value_and_grad(mean_loss)(state.params, batch, weights)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), value

    return step
