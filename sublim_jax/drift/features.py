"""Likeness of hidden features: linear centred kernel alignment, always against its initial value.

A weak measure of drift: networks of one shape look alike before any training, and students of
another initialisation that stay at chance on the trait still gain likeness.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sublim_jax import trees
from sublim_jax.errors import InputError


class CKAChange(NamedTuple):
    """Likeness to the teacher's features, after training and before.

    Attributes:
        value: between student and teacher.
        at_init: between the student's initialisation and the teacher: what ``value`` must exceed
            to mean anything.
    """

    value: Float[Array, ""]
    at_init: Float[Array, ""]


def linear_cka(x: Float[Array, "rows a"], y: Float[Array, "rows b"]) -> Float[Array, ""]:
    """Take the linear centred kernel alignment of two feature matrices, between 0 and 1.

    ``|Y'X|_F**2 / (|X'X|_F |Y'Y|_F)`` of the centred features, which costs products of features by
    features, never of rows by rows. Unchanged by rotations of the features and by a common scale.
    With fewer rows than features it is near 1 whatever they hold: take many times more. Traceable;
    in float32 or wider.

    Returns:
        The alignment; NaN where all features of a matrix are constant.

    Raises:
        InputError: the matrices have different rows.

    References:
        Kornblith, Norouzi, Lee and Hinton 2019, arXiv 1905.00414, section 3.
    """
    if jnp.ndim(x) != 2 or jnp.ndim(y) != 2 or len(x) != len(y):
        raise InputError(
            f"features have shapes {jnp.shape(x)} and {jnp.shape(y)}; "
            "expected matrices of as many rows"
        )
    x, y = _centred(x), _centred(y)
    return _cross(x, y) / jnp.sqrt(_cross(x, x) * _cross(y, y))


def cka_change(
    student: Float[Array, "rows a"], teacher: Float[Array, "rows b"], init: Float[Array, "rows a"]
) -> CKAChange:
    """Take `linear_cka` with the teacher of the student's features and of those it started from.

    Args:
        student: the trained student's features on some inputs.
        teacher: the teacher's features on the same inputs.
        init: features of the student's initialisation on the same inputs.

    Raises:
        InputError: the matrices have different rows.
    """
    return CKAChange(value=linear_cka(student, teacher), at_init=linear_cka(init, teacher))


def _centred(features: Float[Array, "rows a"]) -> Float[Array, "rows a"]:
    """Subtract the mean of every feature, and bring the matrix to length 1."""
    features = trees.wide(features)
    # Rounding of the mean would leave a constant feature a direction.
    constant = jnp.all(features == features[:1], axis=0, keepdims=True)
    mean = jnp.mean(features, axis=0, keepdims=True)
    centred = jnp.where(constant, 0, features - mean)
    return centred / jnp.linalg.norm(centred)


def _cross(x: Array, y: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.square(jnp.matmul(x.T, y, precision=jax.lax.Precision.HIGHEST)))
