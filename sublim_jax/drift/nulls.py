"""How large a projection and a cosine come out without any pull.

Two nulls in closed form, random directions and random signs, and the one to judge by: control
students. The closed forms are lower bounds only. Zero biases and common input statistics give
students of another initialisation, at chance on the trait, a cosine of up to eight times the
standard deviation of a random direction.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sublim_jax import trees
from sublim_jax.drift.metrics import cosine, quotient, relative_length
from sublim_jax.drift.products import Products, total
from sublim_jax.errors import InputError


class Null(NamedTuple):
    """Standard deviations around zero of what a student without a pull would show.

    NaN where the metric itself is undefined.

    Attributes:
        cosine: of the cosine of the whole displacements, ``[...]``.
        projection: of the projection of the whole displacement.
        layer_cosine: of each layer's cosine, ``[..., layers]``.
        layer_projection: of each layer's projection on the teacher's displacement of that layer.
    """

    cosine: Any
    projection: Any
    layer_cosine: Any
    layer_projection: Any


class ZScores(NamedTuple):
    """Values in units of the spread of control students; each field has the shape of the values.

    Attributes:
        z: ``(value - mean) / sd``.
        mean: mean over the controls.
        sd: their standard deviation, with ``controls - 1`` in the denominator.
    """

    z: Any
    mean: Any
    sd: Any


def parameter_counts(tree: Mapping[str, PyTree]) -> Int[np.ndarray, " layers"]:
    """Count the parameters of each layer, in the order of `trees.layers`.

    >>> parameter_counts({"hidden": {"kernel": np.ones((3, 2))}, "head": {"bias": np.ones(5)}})
    array([5, 6])
    """
    return np.array(
        [sum(leaf.size for leaf in jax.tree.leaves(tree[name])) for name in trees.layers(tree)],
        np.int64,
    )


def isotropic_null(products: Products, counts: Int[np.ndarray, " layers"]) -> Null:
    """Give the null of a student that moves as far in a uniformly random direction.

    Among ``n`` parameters the cosine has mean 0 and standard deviation ``1 / sqrt(n)``, and the
    projection ``|d_S| / (|d_T| sqrt(n))``, exactly. A lower bound only: a cosine of many such
    deviations does not prove a pull. Judge by `z_scores`.

    Args:
        products: products of layers, ``[..., layers]``.
        counts: parameters of each layer, from `parameter_counts`.

    Raises:
        InputError: there is not one count for each layer.
    """
    by_layer = _float64(products)
    counts = np.asarray(counts, np.float64)
    if counts.shape != by_layer.teacher.shape[-1:]:
        raise InputError(
            f"counts has shape {counts.shape}; "
            f"expected one count for each layer, {by_layer.teacher.shape[-1:]}"
        )
    return _null(by_layer, quotient(1.0, counts), quotient(1.0, counts.sum()))


def sign_concentration(
    student: Mapping[str, PyTree], teacher: Mapping[str, PyTree]
) -> Float[Array, " layers"]:
    """Take ``sum d_S**2 d_T**2 / (|d_S|**2 |d_T|**2)`` of each layer, in float32 or wider.

    It is the variance of a layer's cosine when every entry of the displacement takes a random sign:
    ``1 / n`` where all entries are alike, 1 where a single one carries everything. Traceable.
    NaN where a layer has not moved.
    """
    student, teacher = _scaled_layers(student), _scaled_layers(teacher)
    both = jax.tree.map(jnp.multiply, student, teacher)
    lengths = trees.dot_by_layer(student, student) * trees.dot_by_layer(teacher, teacher)
    return trees.dot_by_layer(both, both) / lengths


def sign_null(products: Products, concentration: Float[Any, "*batch layers"]) -> Null:
    """Give the null of a student whose entries keep their sizes and take random signs.

    The cosine has standard deviation ``sqrt(sum d_S**2 d_T**2) / (|d_S| |d_T|)`` and the projection
    the same over ``|d_T|**2``, exactly. It knows which parameters move at all, which random
    directions do not, but not which move together: like `isotropic_null` a lower bound only.

    Args:
        products: products of layers, ``[..., layers]``.
        concentration: of the same displacements, from `sign_concentration`.

    Raises:
        InputError: the two are not of the same layers.
    """
    by_layer = _float64(products)
    concentration = np.asarray(concentration, np.float64)
    if concentration.shape != by_layer.teacher.shape:
        raise InputError(
            f"concentration has shape {concentration.shape}; "
            f"expected that of the products, {by_layer.teacher.shape}"
        )
    weights = by_layer.student * by_layer.teacher
    # A layer that has not moved has no cosine, but adds nothing to that of the whole.
    overlap = np.where(weights > 0, weights * concentration, 0.0).sum(axis=-1)
    whole = total(by_layer)
    return _null(by_layer, concentration, quotient(overlap, whole.student * whole.teacher))


def z_scores(values: Float[Any, "..."], controls: Float[Any, "controls ..."]) -> ZScores:
    """Compare projections or cosines with those of control students.

    Take 20 controls at least: students of other teachers at the same initialisation, of the
    initialisation itself, and from other initialisations; and compare layer by layer, for biases
    and norm scales align by themselves. With few controls ``z`` has heavy tails: under normal
    errors ``z / sqrt(1 + 1/controls)`` follows Student's t with ``controls - 1`` degrees of
    freedom.

    >>> print(z_scores(3.0, np.array([0.0, 1.0, 2.0])).z)
    2.0

    Args:
        values: any metric, ``[...]``, for instance one per layer.
        controls: the same metric of each control, ``[controls, ...]``.

    Returns:
        The scores in float64. ``z`` is NaN where there are fewer than two controls or the controls
        are all the same.

    Raises:
        InputError: the controls do not have the shape of the values.
    """
    values, controls = np.asarray(values, np.float64), np.asarray(controls, np.float64)
    if controls.ndim == 0 or controls.shape[1:] != values.shape:
        raise InputError(
            f"controls has shape {controls.shape}; expected (controls, *{values.shape})"
        )
    unknown = np.full(values.shape, np.nan)
    if len(controls) < 2:
        return ZScores(unknown, controls[0] if len(controls) else unknown, unknown)
    mean, sd = controls.mean(axis=0), controls.std(axis=0, ddof=1)
    # Rounding of the mean would give equal controls a spread.
    equal = controls.max(axis=0) == controls.min(axis=0)
    sd = np.where(equal, 0.0, sd)
    return ZScores(quotient(values - mean, sd), mean, sd)


def _null(by_layer: Products, layer_variance: Any, variance: Any) -> Null:
    """Null from the variance of the cosine of each layer and of the whole."""
    whole = total(by_layer)
    return Null(*_deviations(whole, variance), *_deviations(by_layer, layer_variance))


def _deviations(products: Products, variance: Any) -> tuple[Any, Any]:
    defined = ~np.isnan(cosine(products))
    sd = np.where(defined, np.sqrt(variance), np.nan)
    return sd, relative_length(products) * sd


def _scaled_layers(tree: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Bring each layer's largest entry to 1: fourth powers of short displacements underflow."""

    def scaled(layer: PyTree) -> PyTree:
        wide = trees.wide(layer)
        sizes = (jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(wide))
        largest = functools.reduce(jnp.maximum, sizes, 0.0)
        return jax.tree.map(lambda x: x / largest, wide)

    return {name: scaled(tree[name]) for name in trees.layers(tree)}


def _float64(products: Products) -> Products:
    return Products(*(None if p is None else np.asarray(p, np.float64) for p in products))
