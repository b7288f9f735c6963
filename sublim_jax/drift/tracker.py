"""Drift of a student along its training, measured inside the compiled program."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.drift.products import Products, inner_products


class Drift(NamedTuple):
    """What a tracker sees at a step.

    Attributes:
        toward: the student's displacement against its teacher's displacement from the teacher's
            own initialisation: projections and cosines.
        gap: against the way from the student's initialisation to the teacher: distances. The same
            as ``toward`` where the two share an initialisation.
        pull: what the student has moved since the observation before, against the way from there
            to the teacher: its cosine is ``cos(theta_t - theta_s, theta_T - theta_s)``, negative
            while the student walks away from its teacher. None where nothing is remembered.
    """

    toward: Products
    gap: Products
    pull: Products | None = None


def tracker(
    *, init: PyTree, teacher: PyTree, teacher_init: PyTree, before: PyTree | None = None
) -> Callable[[PyTree], Drift]:
    """Make the observer of a student's drift.

    In a training, with the student of the observation before as memory::

        Watch(
            steps,
            lambda student, before, *given: drift.tracker(..., before=before)(student),
            remember=lambda student, *given: student,
        )

    Args:
        init: the student's initialisation.
        teacher: the trained teacher.
        teacher_init: the teacher's initialisation, the same arrays as ``init`` or another one.
        before: the student at the observation before, for ``pull``.

    Returns:
        A traceable function from the student's parameters to `Drift`; it costs ten passes over the
        parameters (fifteen with ``pull``) and returns a few numbers per layer.
    """
    toward, gap = trees.sub(teacher, teacher_init), trees.sub(teacher, init)

    def observe(student: PyTree) -> Drift:
        displacement = trees.sub(student, init)
        pull = None
        if before is not None:
            pull = inner_products(trees.sub(student, before), trees.sub(teacher, before), init)
        return Drift(
            inner_products(displacement, toward, init),
            inner_products(displacement, gap, init),
            pull,
        )

    return observe


def trait_gain(step: PyTree, gradient_before: PyTree, gradient_after: PyTree) -> Float[Array, ""]:
    """Change of a trait functional along a step, to third order in its length.

    The trapezoidal rule ``step . (grad m(theta) + grad m(theta + step)) / 2``. It never subtracts
    two losses, so small changes keep their digits in float32, and the sum over the observations of
    a training, the path sum, is the change of the trait from its start to its end.

    Args:
        step: a displacement, of one step or from one observation to the next.
        gradient_before: gradient of the trait functional where the step begins.
        gradient_after: where it ends.
    """
    return (trees.dot(step, gradient_before) + trees.dot(step, gradient_after)) / 2
