"""Drift of a student along its training, measured inside the compiled program."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import PyTree

from sublim_jax import trees
from sublim_jax.drift.products import Products, inner_products


class Drift(NamedTuple):
    """What a tracker sees at a step.

    Attributes:
        toward: the student's displacement against its teacher's displacement from the teacher's
            own initialisation: projections and cosines.
        gap: against the way from the student's initialisation to the teacher: distances. The same
            as ``toward`` where the two share an initialisation.
    """

    toward: Products
    gap: Products


def tracker(*, init: PyTree, teacher: PyTree, teacher_init: PyTree) -> Callable[[PyTree], Drift]:
    """Make the observer of a student's drift.

    Args:
        init: the student's initialisation.
        teacher: the trained teacher.
        teacher_init: the teacher's initialisation, the same arrays as ``init`` or another one.

    Returns:
        A traceable function from the student's parameters to `Drift`; it costs ten passes over the
        parameters and returns a few numbers per layer.
    """
    toward, gap = trees.sub(teacher, teacher_init), trees.sub(teacher, init)

    def observe(student: PyTree) -> Drift:
        displacement = trees.sub(student, init)
        return Drift(
            inner_products(displacement, toward, init), inner_products(displacement, gap, init)
        )

    return observe
