"""Drift metrics as functions of the inner products, elementwise.

Each takes `Products` of numpy or jax arrays of any shape and returns one value per entry: per layer
for the products of layers, and for the whole network after `total`. What is undefined (a cosine
with a displacement of zero) is NaN, never 0.

A cosine far above ``1/sqrt(n)`` is not yet evidence of a pull: biases and common input statistics
give students of another initialisation a positive one. Compare with control students.
"""

from typing import Any

from sublim_jax.drift.products import Products, total


def projection(products: Products) -> Any:
    """Coefficient of the student's displacement along the teacher's, ``<d_S, d_T> / <d_T, d_T>``.

    1 where the student has gone all the way of the teacher, 0 where it moved at right angles.
    """
    return quotient(products.student_teacher, products.teacher)


def projection_by_layer(products: Products) -> Any:
    """Each layer's share of the projection: ``<d_S, d_T>_layer / <d_T, d_T>_all``.

    They add up to ``projection(total(products))`` exactly, which cosines of layers do not.
    """
    return quotient(products.student_teacher, total(products).teacher[..., None])


def cosine(products: Products) -> Any:
    """Cosine of the angle between the displacements, ``<d_S, d_T> / (|d_S| |d_T|)``."""
    # The product of two roots: the product of squared lengths can underflow in float32.
    return quotient(products.student_teacher, products.student**0.5 * products.teacher**0.5)


def relative_length(products: Products) -> Any:
    """Length of the student's displacement in units of the teacher's, ``|d_S| / |d_T|``."""
    return quotient(products.student, products.teacher) ** 0.5


def perpendicular_norm(products: Products) -> Any:
    """Length of the part of the student's displacement at right angles to the teacher's."""
    along = projection(products) * products.student_teacher
    xp = along.__array_namespace__()
    return xp.maximum(products.student - along, xp.zeros_like(along)) ** 0.5


def distance_reduction(products: Products) -> Any:
    """Share of the distance to the teacher that the student has covered.

    ``R = 1 - |theta_S - theta_T| / |theta_0 - theta_T|``, from products with
    ``d_T = theta_T - theta_0``, where ``theta_0`` is the student's own initialisation. Computed as
    ``-expm1(log1p(kappa**2 - 2 rho) / 2)`` with relative length ``kappa`` and projection ``rho``,
    which keeps its digits where the difference of two distances has none left. A student can have
    a positive projection and be further from its teacher: R > 0 exactly when
    ``rho > kappa**2 / 2``.
    """
    change = quotient(products.student, products.teacher) - 2 * projection(products)
    xp = change.__array_namespace__()
    # A student on top of its teacher is at -1, or by rounding just below.
    arrived = change <= -1
    reduction = -xp.expm1(0.5 * xp.log1p(xp.where(arrived, 0.0, change)))
    return xp.where(arrived, 1.0, reduction) + 0.0  # no reduction is 0, not -0


def distance_ratio(products: Products) -> Any:
    """Distance to the teacher over its initial value, ``1 - distance_reduction``."""
    return 1 - distance_reduction(products)


def quotient(numerator: Any, denominator: Any) -> Any:
    """Divide elementwise, numpy or jax arrays; NaN where the denominator is 0."""
    xp = denominator.__array_namespace__()
    defined = denominator != 0
    return xp.where(defined, numerator / xp.where(defined, denominator, 1), xp.nan)
