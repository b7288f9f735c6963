"""The plane through an initialisation, a teacher and a student: a map of the landscape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax import hosts, trees
from sublim_jax.errors import InputError


class Plane(NamedTuple):
    """A plane in the space of parameters, with its unit of length; a tree, so jit takes it.

    Attributes:
        origin: the initialisation, ``theta_0``.
        first: the direction from it to the teacher, of length 1.
        second: the direction of the student's part at right angles to the first, of length 1.
        unit: what coordinates are counted in, ``|theta_T - theta_0|``.
    """

    origin: PyTree
    first: PyTree
    second: PyTree
    unit: Float[Array, ""]


class Coordinates(NamedTuple):
    """Where parameters lie in a plane, in its units.

    Attributes:
        x: along the first axis, 0 at the initialisation and 1 at the teacher.
        y: along the second axis, positive at the student.
        off: distance from the plane, at least 0: what a picture of it does not show.
    """

    x: Any
    y: Any
    off: Any


def plane_through(init: PyTree, teacher: PyTree, student: PyTree) -> Plane:
    """Lay the plane through three points, with orthonormal axes from Gram and Schmidt.

    With ``d_T = theta_T - theta_0`` and ``d_S = theta_S - theta_0``,
    ``e_1 = d_T / |d_T|`` and ``e_2 = (d_S - <d_S, e_1> e_1) / |...|``. The teacher has the
    coordinates (1, 0); a student's first coordinate is its `projection`, its second its
    `perpendicular_norm` in units of ``|d_T|``. Distances in the plane are those in the space of
    parameters; the axes are not normalised by filter, so compare no widths of valleys between
    networks.

    Not traceable: it looks at lengths to refuse three points that make no plane.

    Args:
        init: where the student starts, a tree of any floating-point arrays.
        teacher: the same shapes.
        student: the same shapes.

    Raises:
        InputError: teacher and initialisation are one point, the student lies on the line through
            them as far as the numbers can tell, or something is not finite.

    References:
        Li et al. 2018, arXiv 1712.09913, for pictures of loss landscapes and of paths in them.
    """
    plane, teacher_length, student_length, across = _laid(init, teacher, student)
    scale, teacher_length, student_length, across = (
        float(x) for x in hosts.gather((trees.norm(init), teacher_length, student_length, across))
    )
    for name, length in (("teacher", teacher_length), ("student", student_length)):
        if not np.isfinite(length):
            raise InputError(
                f"{name} is {length} away from the initialisation; expected a finite distance"
            )
    # Displacements are known up to the rounding of the parameters that they are differences of.
    coarsest = max(jnp.finfo(leaf.dtype).eps for leaf in jax.tree.leaves((init, teacher, student)))
    rounding = 2 * float(coarsest) * (scale + student_length)
    if teacher_length <= rounding:
        raise InputError(
            f"teacher is {teacher_length:.1e} away from the initialisation; expected another point"
        )
    if across <= rounding:
        raise InputError(
            f"student is {across:.1e} off the line from the initialisation to the teacher; "
            "expected more than rounding, for on a line it makes no plane"
        )
    return plane


def coordinates(plane: Plane, params: PyTree) -> Coordinates:
    """Find where parameters lie in a plane; traceable.

    ``x = <theta - theta_0, e_1> / u``, ``y = <theta - theta_0, e_2> / u`` and
    ``off = |theta - theta_0 - u x e_1 - u y e_2| / u`` with the plane's unit ``u``.
    """
    way = trees.sub(trees.wide(params), plane.origin)
    x, y = trees.dot(way, plane.first), trees.dot(way, plane.second)
    off = trees.norm(_without(_without(way, x, plane.first), y, plane.second))
    return Coordinates(x / plane.unit, y / plane.unit, off / plane.unit)


def plane_point(plane: Plane, x: Float[Array, ""] | float, y: Float[Array, ""] | float) -> PyTree:
    """Give the parameters at coordinates of a plane, ``theta_0 + u (x e_1 + y e_2)``; traceable."""
    x, y = x * plane.unit, y * plane.unit
    return jax.tree.map(
        lambda origin, first, second: origin + (x * first + y * second).astype(origin.dtype),
        *(plane.origin, plane.first, plane.second),
    )


def plane_values(
    evaluate: Callable[[PyTree], PyTree],
    plane: Plane,
    xs: Float[Array, " columns"],
    ys: Float[Array, " rows"],
) -> PyTree:
    """Evaluate on a grid of a plane, one point after the other.

    Traceable: to be called inside ``jax.jit`` like `straight_path`.

    Args:
        evaluate: parameters to a value, for instance a loss, or a tree of values; traceable.
        plane: the plane.
        xs: first coordinates of the columns.
        ys: second coordinates of the rows.

    Returns:
        What ``evaluate`` gives, stacked, ``[rows, columns, ...]`` as contour plots take it.
    """
    columns, rows = jnp.meshgrid(jnp.asarray(xs), jnp.asarray(ys))
    values = jax.lax.map(
        lambda at: evaluate(plane_point(plane, *at)), (columns.ravel(), rows.ravel())
    )
    return jax.tree.map(lambda value: value.reshape(*rows.shape, *value.shape[1:]), values)


@jax.jit
def _laid(init: PyTree, teacher: PyTree, student: PyTree) -> tuple[Plane, Array, Array, Array]:
    """Lay a plane that may be none; give the lengths by which to judge it."""
    origin = trees.wide(init)
    toward, moved = trees.sub(trees.wide(teacher), origin), trees.sub(trees.wide(student), origin)
    length = trees.norm(toward)
    first = _scaled(toward, length)
    across = _without(moved, trees.dot(moved, first), first)
    # Once more: what rounding has left along the first axis.
    across = _without(across, trees.dot(across, first), first)
    height = trees.norm(across)
    plane = Plane(origin, first, _scaled(across, height), length)
    return plane, length, trees.norm(moved), height


def _scaled(tree: PyTree, length: Array) -> PyTree:
    return jax.tree.map(lambda x: (x / length).astype(x.dtype), tree)


def _without(tree: PyTree, amount: Array, direction: PyTree) -> PyTree:
    return jax.tree.map(lambda x, d: x - (amount * d).astype(x.dtype), tree, direction)
