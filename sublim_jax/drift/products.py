"""The inner products per layer from which every Euclidean drift metric follows."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from sublim_jax import trees


class Products(NamedTuple):
    """Inner products of displacements, one per layer in the last axis.

    With the student's displacement ``d_S`` from its initialisation ``theta_0``, the teacher's
    displacement ``d_T`` (or whichever displacement the student is compared with), and a control
    student's ``d_C``.

    Attributes:
        student: ``<d_S, d_S>``.
        teacher: ``<d_T, d_T>``.
        student_teacher: ``<d_S, d_T>``.
        init: ``<theta_0, theta_0>``, the scale of the parameters themselves.
        student_control: ``<d_S, d_C>``, or None without a control.
    """

    student: Any
    teacher: Any
    student_teacher: Any
    init: Any
    student_control: Any = None


def inner_products(
    student: PyTree, teacher: PyTree, init: PyTree, *, control: PyTree | None = None
) -> Products:
    """Take the inner products per layer, in float32 or wider.

    Traceable: no parameter leaves the device, only ``[layers]`` numbers do.

    Args:
        student: the student's displacement from its initialisation, a tree of layers.
        teacher: the displacement it is compared with.
        init: the initialisation, for the scale.
        control: a control student's displacement, where there is one.

    Returns:
        Products with one entry per layer, in the order of `trees.layers`.
    """
    return Products(
        student=trees.dot_by_layer(student, student),
        teacher=trees.dot_by_layer(teacher, teacher),
        student_teacher=trees.dot_by_layer(student, teacher),
        init=trees.dot_by_layer(init, init),
        student_control=None if control is None else trees.dot_by_layer(student, control),
    )


def total(products: Products) -> Products:
    """Add up the layers in float64 on the host: products of the whole parameter vectors."""
    return Products(
        *(None if p is None else np.asarray(p, np.float64).sum(axis=-1) for p in products)
    )
