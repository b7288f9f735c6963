"""Drift of what the networks compute, with the inner products of other metrics than Euclid's.

The pull in function space is the `projection` of these products, so every metric of drift applies.
They belong to inputs and outputs rather than to layers, and their fields are single numbers where
those of `inner_products` have an axis of layers: `total` is not for them.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.drift.products import Products
from sublim_jax.linearize import Apply
from sublim_jax.losses import ImitationLoss, hessian_product
from sublim_jax.rows import mean_over_rows


def function_products(
    apply: Apply,
    init: PyTree,
    student: PyTree,
    teacher: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> Products:
    """Take the inner products of the changes of outputs, ``f_S - f_0`` and ``f_T - f_0``.

    ``<a, b>`` is the sum over the chosen outputs of ``a b``, averaged over rows and positions. The
    `projection` is the function pull on these inputs. Traceable. In float32 a change is known to
    about ``1e-7 |f_0|``.

    Args:
        apply: parameters and inputs to outputs, the outputs of a row in the last axis.
        init: the student's initialisation.
        student: the student's parameters.
        teacher: the teacher's parameters.
        inputs: array or tree of arrays with the rows in the first axis.
        outputs: index of the last axis of the outputs, a slice or whole numbers.
        chunk: rows at a time, to bound the memory; all at once by default. Rows that are left over
            make a chunk of their own.

    Returns:
        Products of single numbers; ``init`` is ``<f_0, f_0>``.

    Raises:
        InputError: there are no inputs, or ``chunk`` is below 1.
    """
    init, student, teacher = map(trees.wide, (init, student, teacher))

    def chunk_sums(rows: PyTree) -> Products:
        at_init, at_student, at_teacher = (
            trees.wide(apply(params, rows)[..., outputs]) for params in (init, student, teacher)
        )
        vectors = (at_student - at_init, at_teacher - at_init, at_init)
        return _row_sums(vectors, vectors)

    return mean_over_rows(chunk_sums, inputs, chunk=chunk)


def gauss_newton_products(
    apply: Apply,
    init: PyTree,
    student_displacement: PyTree,
    teacher_displacement: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    loss: ImitationLoss,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> Products:
    """Take the inner products of displacements in the metric of an imitation loss.

    ``<a, b>_G = E_x (J a)' H (J b)``, with the Jacobian ``J`` of the chosen outputs at ``init`` and
    the Hessian ``H`` of the loss in the outputs, where student and teacher agree. To second order
    ``<d, d>_G`` is twice the loss between the networks at ``init + d`` and at ``init``. Directions
    that imitation on these inputs cannot see count nothing. Costs two forward-mode passes and no
    Jacobian. Traceable.

    Args:
        apply: parameters and inputs to outputs, the outputs of a row in the last axis.
        init: the initialisation at which the network is linearised.
        student_displacement: a tree like ``init``.
        teacher_displacement: a tree like ``init``.
        inputs: array or tree of arrays with the rows in the first axis.
        loss: any imitation loss of `sublim_jax.losses`.
        outputs: index of the last axis of the outputs: those that are imitated.
        chunk: rows at a time, as in `function_products`.

    Returns:
        Products of single numbers; ``init`` is ``E_x f_0' H f_0``, the scale of the outputs.

    Raises:
        InputError: there are no inputs, or ``chunk`` is below 1.

    References:
        Martens 2020, arXiv 1412.1193 (the generalised Gauss-Newton matrix). Cloud, Le et al. 2025,
        arXiv 2507.14805, section 6.
    """
    init = trees.wide(init)
    displacements = [
        # A tangent has the type of its parameter.
        jax.tree.map(lambda p, d: jnp.asarray(d, p.dtype), init, displacement)
        for displacement in (student_displacement, teacher_displacement)
    ]

    def chunk_sums(rows: PyTree) -> Products:
        def chosen(params: PyTree) -> Array:
            return trees.wide(apply(params, rows)[..., outputs])

        at_init, push = jax.linearize(chosen, init)
        vectors = (*map(push, displacements), at_init)
        return _row_sums(vectors, [hessian_product(loss, at_init, v) for v in vectors])

    return mean_over_rows(chunk_sums, inputs, chunk=chunk)


def weighted_products(student: PyTree, teacher: PyTree, init: PyTree, weights: PyTree) -> Products:
    """Take the inner products per layer in a diagonal metric, ``<a, b>_M = sum w a b``.

    A first step of imitation that is divided by the weights, as Adam's by the square roots of its
    second moments, is sure to point toward the teacher in this metric, to first order in the
    displacement; in the Euclidean one it is not. Traceable.

    Args:
        student: the student's displacement from its initialisation, a tree of layers.
        teacher: the displacement it is compared with.
        init: the initialisation, for the scale.
        weights: a tree of the same shapes, none below zero.

    Returns:
        Products with one entry per layer, as from `inner_products`.
    """
    student, teacher, init, weights = map(trees.wide, (student, teacher, init, weights))
    weighted_student, weighted_teacher, weighted_init = (
        jax.tree.map(jnp.multiply, weights, tree) for tree in (student, teacher, init)
    )
    return Products(
        student=trees.dot_by_layer(weighted_student, student),
        teacher=trees.dot_by_layer(weighted_teacher, teacher),
        student_teacher=trees.dot_by_layer(weighted_student, teacher),
        init=trees.dot_by_layer(weighted_init, init),
    )


def _row_sums(vectors: Sequence[Array], images: Sequence[Array]) -> Products:
    """Sum over rows of inner products of student, teacher and init with images under a metric."""
    (student, teacher, init), positions = vectors, math.prod(vectors[0].shape[1:-1])

    def inner(a: Array, b: Array) -> Array:
        return trees.dot(a, b) / positions

    return Products(
        student=inner(student, images[0]),
        teacher=inner(teacher, images[1]),
        student_teacher=inner(student, images[1]),
        init=inner(init, images[2]),
    )
