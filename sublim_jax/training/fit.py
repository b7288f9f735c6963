"""A whole training as one program: a scan over steps, with observations on the way."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import rng, trees
from sublim_jax.training.recipe import Recipe
from sublim_jax.training.step import Loss, TrainState, init_state, make_step


class Fit(NamedTuple):
    """A finished training.

    Attributes:
        params: the trained parameters.
        losses: mean loss of each step's batch, before the step, ``[steps]``.
        observations: what was observed at each watched step, stacked, ``[watched, ...]``.
    """

    params: PyTree
    losses: Float[Array, " steps"]
    observations: PyTree


class Watch(NamedTuple):
    """What to observe on the way, and when.

    Attributes:
        steps: after how many steps, ascending, from 0 (the start) to the last step.
        observe: parameters to a tree of small arrays, traceable.
    """

    steps: tuple[int, ...] = ()
    observe: Callable[[PyTree], PyTree] = lambda _: ()


UNWATCHED = Watch()


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Count the batches of an epoch, the last one possibly partial."""
    return math.ceil(rows / batch_size)


def watch_steps(steps: int, count: int) -> tuple[int, ...]:
    """Choose about ``count`` steps from 0 to ``steps``, both included, denser at the beginning.

    Spaced quadratically: a student moves fastest at first.

    >>> watch_steps(100, 6)
    (0, 4, 16, 36, 64, 100)
    """
    return tuple(sorted({round(steps * (i / (count - 1)) ** 2) for i in range(count)}))


def epoch_order(
    key: Key[Array, ""], *, rows: int, epochs: int, batch_size: int
) -> tuple[Int[Array, "steps batch"], Float[Array, "steps batch"]]:
    """Shuffle the rows anew for every epoch and cut them into batches.

    Returns:
        Row numbers, and weights that are 1 except for the rows that fill up the last batch of an
        epoch, which are 0. Every row has weight 1 exactly once in an epoch.
    """
    batches = steps_per_epoch(rows, batch_size)
    padding = batches * batch_size - rows

    def shuffled(epoch: Array) -> Array:
        # Half the time of jax.random.permutation, which sorts twice to be unbiased to the last
        # bit: here the rare rows that draw the same 32 bits keep their order.
        return jnp.argsort(jax.random.bits(rng.stream(key, epoch), (rows,)))

    order = jax.lax.map(shuffled, jnp.arange(epochs))
    order = jnp.pad(order, ((0, 0), (0, padding))).reshape(epochs * batches, batch_size)
    weights = np.ones((epochs, batches, batch_size), np.float32)
    weights[:, -1, batch_size - padding :] = 0
    return order, jnp.asarray(weights.reshape(order.shape))


def fit(
    loss: Loss,
    recipe: Recipe,
    params: PyTree,
    rows: PyTree,
    *,
    watch: Watch = UNWATCHED,
    key: Key[Array, ""],
) -> Fit:
    """Train on shuffled batches of ``rows``.

    Pure and traceable: jit it, map it over members. Observation runs inside the program and only
    at the watched steps, so parameters never travel to the host.

    Args:
        loss: ``(params, batch) -> [batch]``.
        recipe: optimizer, which starts afresh, and length.
        params: where the training starts.
        rows: a tree of arrays ``[rows, ...]``.
        watch: what to observe at which steps.
        key: the source of the order of rows.
    """
    optimizer = recipe.transformation()
    step = make_step(loss, optimizer)
    order, weights = epoch_order(
        key,
        rows=jax.tree.leaves(rows)[0].shape[0],
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
    )
    steps = order.shape[0]
    watched = np.isin(np.arange(steps), watch.steps)
    unseen = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(watch.observe, params)
    )

    def body(state: TrainState, now: tuple[Array, Array, Array]) -> tuple[TrainState, PyTree]:
        indices, weight, look = now
        # A predicate that no member changes stays a branch under vmap: other steps cost nothing.
        seen = jax.lax.cond(look, watch.observe, lambda _: unseen, state.params)
        state, value = step(state, trees.take(rows, indices), weight)
        return state, (value, seen)

    state, (losses, seen) = jax.lax.scan(
        body, init_state(params, optimizer), (order, weights, jnp.asarray(watched))
    )
    observations = trees.take(seen, np.flatnonzero(watched))
    if steps in watch.steps:
        observations = jax.tree.map(
            lambda past, last: jnp.concatenate([past, last[None]]),
            observations,
            watch.observe(state.params),
        )
    return Fit(state.params, losses, observations)
