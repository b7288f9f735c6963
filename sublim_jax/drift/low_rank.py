"""Drift of low-rank adapters, from their factors and never from the merged matrices.

Factors are not compared with factors: rotating the rank space changes them and not the product.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.drift.products import Products
from sublim_jax.errors import InputError

HIGHEST = jax.lax.Precision.HIGHEST


class LowRank(NamedTuple):
    """A matrix ``scale A B`` of low rank, what an adapter adds to a frozen ``W_0``.

    Attributes:
        a: ``[d_in, rank]``.
        b: ``[rank, d_out]``.
        scale: a number, for LoRA its alpha over its rank.
    """

    a: Float[Array, "d_in rank"]
    b: Float[Array, "rank d_out"]
    scale: Any = 1.0


class Overlap(NamedTuple):
    """Overlap of two subspaces, with what random subspaces would show.

    Attributes:
        value: mean squared cosine of the principal angles, between 0 and 1.
        null_mean: its mean over uniformly random subspaces of the same dimensions.
        null_sd: its standard deviation over them.
    """

    value: Float[Array, ""]
    null_mean: float
    null_sd: float


def dense(x: LowRank) -> Float[Array, "d_in d_out"]:
    """Multiply out ``scale A B``."""
    a, b = _scaled(x)
    return jnp.matmul(a, b, precision=HIGHEST)


def dot(x: LowRank, y: LowRank) -> Float[Array, ""]:
    """Take the inner product of the merged matrices.

    ``s1 s2 sum((A1' A2) * (B1 B2'))``, in the order of ``rank**2 (d_in + d_out)`` steps. The ranks
    may differ. In float32 or wider.

    Raises:
        InputError: the merged matrices have different shapes.
    """
    _check(x, y)
    (a1, b1), (a2, b2) = _scaled(x), _scaled(y)
    left = jnp.matmul(a1.T, a2, precision=HIGHEST)
    return jnp.sum(left * jnp.matmul(b1, b2.T, precision=HIGHEST))


def norm(x: LowRank) -> Float[Array, ""]:
    """Take the Frobenius norm of the merged matrix, by QR of both factors.

    No sum of signed terms: accurate to rounding of the factors, where the root of ``dot(x, x)``
    keeps half the digits of a matrix whose columns cancel.
    """
    a, b = _scaled(x)
    left, right = (jnp.linalg.qr(factor, mode="r") for factor in (a, b.T))
    return jnp.linalg.norm(jnp.matmul(left, right.T, precision=HIGHEST))


def difference(x: LowRank, y: LowRank) -> LowRank:
    """Subtract ``y`` from ``x``, as a matrix of twice the larger rank.

    Written as ``[s1 (A1 - A2) + (s1 - s2) A2, s2 A2] [B1; B1 - B2]``: where the factors are close,
    their difference is taken before anything is multiplied, and keeps its digits.

    Raises:
        InputError: the merged matrices have different shapes.
    """
    _check(x, y)
    rank = max(x.a.shape[1], y.a.shape[1])

    def padded(z: LowRank) -> tuple[Array, Array]:
        missing = ((0, 0), (0, rank - z.a.shape[1]))
        return jnp.pad(trees.wide(z.a), missing), jnp.pad(trees.wide(z.b), missing[::-1])

    (a1, b1), (a2, b2) = padded(x), padded(y)
    moved = x.scale * (a1 - a2) + (x.scale - y.scale) * a2
    return LowRank(
        jnp.concatenate([moved, y.scale * a2], axis=1), jnp.concatenate([b1, b1 - b2], axis=0)
    )


def distance(x: LowRank, y: LowRank) -> Float[Array, ""]:
    """Take the Frobenius norm of the difference of the merged matrices.

    By QR of the factors of `difference`, which does not cancel as ``|x|**2 - 2 <x, y> + |y|**2``
    does where the two are nearly equal.

    Raises:
        InputError: the merged matrices have different shapes.
    """
    return norm(difference(x, y))


def low_rank_products(
    student: Mapping[str, PyTree],
    teacher: Mapping[str, PyTree],
    *,
    init: Mapping[str, PyTree] | None = None,
    control: Mapping[str, PyTree] | None = None,
) -> Products:
    """Take the inner products per layer of the displacements that adapters make.

    An adapter starts from a product of zero, so the adapter itself is the displacement; where one
    starts from another, give the `difference` of the two. Traceable.

    Args:
        student: a tree of layers whose leaves are `LowRank`.
        teacher: the same tree, with adapters of any rank.
        init: the frozen matrices to which the adapters add, a tree of the same layers, for the
            scale.
        control: a control student's adapters, where there is one.

    Returns:
        Products with one entry per layer, in the order of `trees.layers`, equal to the
        `inner_products` of the merged displacements; ``init`` is NaN where none is given.

    Raises:
        InputError: the trees have different layers, or adapters of different shapes.
    """
    return Products(
        student=_dot_by_layer("student", student, student),
        teacher=_dot_by_layer("teacher", teacher, teacher),
        student_teacher=_dot_by_layer("teacher", student, teacher),
        init=jnp.full(len(student), jnp.nan) if init is None else trees.dot_by_layer(init, init),
        student_control=None if control is None else _dot_by_layer("control", student, control),
    )


def subspace_overlap(x: Float[Array, "d r1"], y: Float[Array, "d r2"]) -> Overlap:
    """Compare the column spaces of two matrices: ``|Q1' Q2|_F**2 / min(r1, r2)``.

    1 where one space holds the other, whatever the bases. Random spaces of dimension ``r`` have the
    mean ``r / d`` and the standard deviation ``sqrt(2) (d - r) / (d sqrt((d - 1) (d + 2)))``; of
    different dimensions, ``max(r1, r2) / d`` and ``sqrt(2 r1 r2 (d - r1) (d - r2) / ((d - 1)
    (d + 2))) / (d min(r1, r2))``. Give ``A`` for the inputs that an adapter reads, ``B'`` for the
    outputs it writes. Traceable.

    Returns:
        The overlap with the mean and the standard deviation of its null; NaN where the columns of a
        matrix are linearly dependent to rounding, as in an adapter that has not moved.

    Raises:
        InputError: the columns have different lengths, or are more than they are long.
    """
    (d, r1), (length, r2) = x.shape, y.shape
    if length != d or max(r1, r2) > d:
        raise InputError(
            f"columns have shapes {x.shape} and {y.shape}; "
            "expected the same length, and no more columns than that"
        )
    value = jnp.sum(jnp.square(jnp.matmul(_basis(x).T, _basis(y), precision=HIGHEST)))
    variance = 2 * r1 * r2 * (d - r1) * (d - r2) / max((d - 1) * (d + 2), 1)
    smaller = min(r1, r2)
    return Overlap(value / smaller, max(r1, r2) / d, math.sqrt(variance) / (d * smaller))


def _basis(columns: Float[Array, "d r"]) -> Float[Array, "d r"]:
    """Orthonormal basis of the columns, NaN where they are linearly dependent."""
    q, r = jnp.linalg.qr(trees.wide(columns))
    sizes = jnp.linalg.svd(r, compute_uv=False)
    dependent = sizes[-1] <= sizes[0] * max(columns.shape) * jnp.finfo(r.dtype).eps
    return jnp.where(dependent, jnp.nan, q)


def _dot_by_layer(
    name: str, one: Mapping[str, PyTree], other: Mapping[str, PyTree]
) -> Float[Array, " layers"]:
    mine, theirs = _adapters("student", one), _adapters(name, other)
    if mine.keys() != theirs.keys():
        raise InputError(
            f"{name} has adapters {', '.join(map(''.join, theirs))}; "
            f"expected those of student, {', '.join(map(''.join, mine))}"
        )
    sums = dict.fromkeys(trees.layers(one), jnp.zeros(()))
    for place, adapter in mine.items():
        sums[place[0]] += dot(adapter, theirs[place])
    return jnp.stack(list(sums.values()))


def _adapters(name: str, tree: Mapping[str, PyTree]) -> dict[tuple[str, str], LowRank]:
    """Find the adapters by layer and place in the layer."""
    found = {}
    for layer in trees.layers(tree):
        leaves = jax.tree.leaves_with_path(tree[layer], is_leaf=lambda x: isinstance(x, LowRank))
        for path, leaf in leaves:
            place = layer, jax.tree_util.keystr(path)
            if not isinstance(leaf, LowRank):
                raise InputError(
                    f"{name} has a {type(leaf).__name__} at {''.join(place)}; expected LowRank"
                )
            found[place] = leaf
    return found


def _check(x: LowRank, y: LowRank) -> None:
    for z in (x, y):
        if z.a.shape[1] != z.b.shape[0]:
            raise InputError(f"b has rank {z.b.shape[0]}; expected that of a, {z.a.shape[1]}")
    shapes = [(z.a.shape[0], z.b.shape[1]) for z in (x, y)]
    if shapes[0] != shapes[1]:
        raise InputError(f"merged matrix has shape {shapes[1]}; expected {shapes[0]}")


def _scaled(x: LowRank) -> tuple[Array, Array]:
    _check(x, x)
    return x.scale * trees.wide(x.a), trees.wide(x.b)
