"""One optimizer step as a pure function: ``(state, batch, weights) -> (state, loss)``."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from sublim_jax.errors import InputError
from sublim_jax.training.parallel import Parallel

Loss = Callable[..., Float[Array, " batch"]]
"""``(params, batch, *frozen) -> [batch]``."""


class TrainState(NamedTuple):
    """What a step changes: parameters and optimizer state (moments, step count, learning rate)."""

    params: PyTree
    opt_state: optax.OptState


Step = Callable[..., tuple[TrainState, Float[Array, ""]]]
"""``(state, batch, weights, *frozen) -> (state, loss)``."""


def init_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """Start training from ``params`` with a fresh optimizer state."""
    return TrainState(params, optimizer.init(params))


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    parallel: Parallel | None = None,
    accumulate: int = 1,
) -> Step:
    """Make the step that minimises the weighted mean of a loss per example.

    Args:
        loss: ``(params, batch, *frozen) -> [batch]``.
        optimizer: any optax transformation.
        parallel: how the program that the step will be part of is spread; by default it is not.
        accumulate: micro-batches that a batch is cut into, one after another, to hold fewer
            activations; the gradient is that of the whole batch, however the weights lie.

    Returns:
        A pure function from state, batch (a tree of arrays ``[batch, ...]``), weights ``[batch]``
        and whatever else the loss takes, to the next state and the mean ``sum(w * l) / sum(w)``
        before the step, over the whole batch, also where each device holds a share. A row of
        weight 0 is as good as absent.

    Raises:
        InputError: ``accumulate`` is not positive or, when traced, does not divide the batch.
    """
    if accumulate < 1:
        raise InputError(f"accumulate is {accumulate}; expected at least 1")
    axis = None if parallel is None else parallel.axis
    split = (lambda batch: batch) if parallel is None else parallel.split

    def weighted_sum(params: PyTree, batch: PyTree, weights: Array, *frozen: PyTree) -> Array:
        return jnp.sum(weights * loss(params, batch, *frozen))

    value_and_gradient = jax.value_and_grad(weighted_sum)

    def step(
        state: TrainState, batch: PyTree, weights: Array, *frozen: PyTree
    ) -> tuple[TrainState, Array]:
        batch, weights = split((batch, weights))
        total = jnp.sum(weights)
        # Normalised before the gradient: shares of a batch then simply add up.
        weights = weights / (total if axis is None else jax.lax.psum(total, axis))
        if accumulate == 1:
            sums = value_and_gradient(state.params, batch, weights, *frozen)
        else:
            micro = _cut((batch, weights), accumulate)

            def add(sums: PyTree, part: tuple[PyTree, Array]) -> tuple[PyTree, None]:
                more = value_and_gradient(state.params, *split(part), *frozen)
                return jax.tree.map(jnp.add, sums, more), None

            like = jax.eval_shape(value_and_gradient, state.params, batch, weights, *frozen)
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
            sums, _ = jax.lax.scan(add, zeros, micro)
        value, gradient = sums if axis is None else jax.lax.psum(sums, axis)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), value

    return step


def _cut(batch: PyTree, parts: int) -> PyTree:
    """Cut ``[batch, ...]`` into ``[parts, batch / parts, ...]``.

    Every ``parts``-th row makes a part, so that the rows of one device stay on it.
    """

    def cut(array: Array) -> Array:
        if array.shape[0] % parts:
            raise InputError(
                f"accumulate is {parts}; expected a divisor of the {array.shape[0]} rows that a "
                "device has of a batch"
            )
        return jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0)

    return jax.tree.map(cut, batch)
