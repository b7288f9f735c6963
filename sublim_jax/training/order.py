"""In which order rows are seen, and at which steps a training is looked at."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from sublim_jax import rng

FILLER = -1  # a place of a batch that no row takes


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
    key: Key[Array, ""], *, rows: int, epochs: int, batch_size: int, places: int | None = None
) -> Int[Array, "steps places"]:
    """Shuffle the rows anew for every epoch and cut them into batches.

    Args:
        key: the source of the order.
        rows: how many there are.
        epochs: passes over them.
        batch_size: rows in a batch; the last one of an epoch may have fewer.
        places: places of a batch, ``batch_size`` by default; more where devices share it evenly.

    Returns:
        Row numbers, `FILLER` where there is none. Every row occurs exactly once in an epoch.
    """
    batches = steps_per_epoch(rows, batch_size)

    def shuffled(epoch: Array) -> Array:
        # Half the time of jax.random.permutation, which sorts twice to be unbiased to the last
        # bit: here the rare rows that draw the same 32 bits keep their order.
        return jnp.argsort(jax.random.bits(rng.stream(key, epoch), (rows,)))

    order = jax.lax.map(shuffled, jnp.arange(epochs))
    missing = batches * batch_size - rows
    order = jnp.pad(order, ((0, 0), (0, missing)), constant_values=FILLER)
    order = order.reshape(epochs * batches, batch_size)
    free = (places or batch_size) - batch_size
    return jnp.pad(order, ((0, 0), (0, free)), constant_values=FILLER)
