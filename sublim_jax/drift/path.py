"""The straight way between two parameter vectors, and the barrier on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax.errors import InputError


class Barrier(NamedTuple):
    """How far a loss on a path rises above the straight line between its values at the ends.

    Attributes:
        height: in units of the loss; 0 where it nowhere rises, NaN where a value is undefined.
        place: the fraction of the way at which it is highest, between 0 (the start) and 1 (the
            end); NaN where there is no barrier.
    """

    height: Any
    place: Any


def interpolate(start: PyTree, end: PyTree, fraction: Float[Array, ""] | float) -> PyTree:
    """Go a fraction of the straight way, ``(1 - a) start + a end``, in float32 or wider.

    At 0 and 1 the ends themselves come out, to the bit.

    Raises:
        InputError: the two are not of the same shapes.
    """

    def leaf(x: Array, y: Array) -> Array:
        if np.shape(x) != np.shape(y):
            raise InputError(f"end has a leaf of shape {np.shape(y)}; expected {np.shape(x)}")
        wide = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
        a = jnp.asarray(fraction, wide)
        return (1 - a) * jnp.asarray(x, wide) + a * jnp.asarray(y, wide)

    return jax.tree.map(leaf, start, end)


def straight_path(
    evaluate: Callable[[PyTree], PyTree], start: PyTree, end: PyTree, *, points: int = 21
) -> PyTree:
    """Evaluate along the straight path between two parameter vectors.

    Traceable: to be called inside ``jax.jit``, with what is evaluated on as an argument of the
    compiled function. One point is evaluated after the other, so one more copy of the parameters is
    all the memory that it takes, and sharded parameters stay where they are. Members are mapped
    over by ``jax.vmap``.

    Args:
        evaluate: parameters to a value, for instance a loss, or a tree of values; traceable.
        start: parameters at ``a = 0``.
        end: parameters at ``a = 1``, of the same shapes.
        points: how many, evenly spaced, both ends among them.

    Returns:
        What ``evaluate`` gives at ``(1 - a) start + a end``, stacked, ``[points, ...]``.

    Raises:
        InputError: there are fewer than 2 points, or the two are not of the same shapes.

    References:
        Goodfellow, Vinyals and Saxe 2015, arXiv 1412.6544.
    """
    if points < 2:
        raise InputError(f"points is {points}; expected at least 2, the ends of the path")
    return jax.lax.map(
        lambda fraction: evaluate(interpolate(start, end, fraction)), jnp.linspace(0, 1, points)
    )


def barrier(losses: Any) -> Barrier:
    """Find the barrier of a loss on a path.

    ``max_a [ L(a) - ((1 - a) L(0) + a L(1)) ]``, at least 0, the value at the ends. Where it is 0
    the two ends are linearly mode connected. The maximum is over the given points, so between them
    a barrier may be a little higher. For an accuracy give the error, ``1 - accuracy``.

    Frankle et al. subtract the mean of the ends instead of the line between them, which counts a
    slope without a rise as a barrier; for equal losses at the ends the two agree.

    Args:
        losses: values at evenly spaced points, ``[points, ...]``, of numpy (taken in float64) or
            of jax (in float32 or wider); each of the other axes has paths of its own.

    Returns:
        The barrier of each path, ``[...]``.

    Raises:
        InputError: there are fewer than 2 points.

    References:
        Frankle et al. 2020, arXiv 1912.05671, section 2; with the line between the ends Entezari
        et al. 2022, arXiv 2110.06296, definition 3.1.

    >>> import numpy as np
    >>> barrier(np.array([0.0, 1.5, 2.0, 2.0, 2.0])).height.item()
    1.0
    """
    points = losses.shape[0] if losses.ndim else 0
    if points < 2:
        raise InputError(f"losses has {points} points; expected at least 2, the ends of the path")
    xp = losses.__array_namespace__()
    wide = np.float64 if xp is np else jnp.promote_types(losses.dtype, jnp.float32)
    losses = xp.astype(losses, wide)
    places = xp.linspace(0, 1, points, dtype=wide).reshape(-1, *(1,) * (losses.ndim - 1))
    surplus = losses - ((1 - places) * losses[:1] + places * losses[-1:])
    height = surplus.max(axis=0)
    place = xp.astype(surplus.argmax(axis=0), wide) / (points - 1)
    return Barrier(height, xp.where(height > 0, place, xp.nan))
