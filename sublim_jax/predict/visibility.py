"""How much of a teacher's displacement the imitated outputs see, and what is copied when."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax import linearize, trees
from sublim_jax.errors import InputError
from sublim_jax.losses import ImitationLoss

LEAST = 1e-6
"""Eigenvalues below this share of the largest are rounding: nothing of them is ever copied."""


class Visibility(NamedTuple):
    """How a teacher's displacement ``D`` lies in the Gauss-Newton spectrum of the imitation.

    Attributes:
        visibility: ``D' G D / (lambda_max |D|^2)``: what the fastest stable step copies at first;
            1 if ``D`` is the fastest direction.
        visible_fraction: share of ``|D|^2`` that is seen at all: ``|P D|^2 / |D|^2`` with ``P`` the
            projection on the range of ``G``; the limit of the projection coefficient. Directions
            that a few products do not tell apart count together, by what is seen of them on
            average.
        largest: ``lambda_max``, largest eigenvalue; gradient descent is stable at learning rates
            below ``2 / lambda_max``.
        krylov: the reduced matrix, for curves and filtered displacements.
    """

    visibility: float
    visible_fraction: float
    largest: float
    krylov: linearize.Krylov

    def projection(self, copied: linearize.Share) -> float:
        """Give the projection coefficient of a linearised student, `gradient_flow(t)` for instance.

        Too small for long trainings of real ones (`theory/transfer_table.py`).
        """
        return self.krylov.expectation(copied)


def visibility(
    apply: linearize.Apply,
    init: PyTree,
    teacher: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    loss: ImitationLoss,
    outputs: Any = slice(None),
    depth: int = 40,
    chunk: int | None = None,
) -> Visibility:
    """Say how much of a teacher's displacement the imitated outputs see.

    Args:
        apply: the network.
        init: where teacher and student start.
        teacher: the trained teacher.
        inputs: carrier inputs, an array or tree of arrays with the rows in the first axis.
        loss: the imitation loss.
        outputs: index of the last axis of the outputs: those that are imitated.
        depth: Gauss-Newton products, each about two forward and one backward pass; the memory of
            as many displacements. Right up to times ``t`` of ``depth^2 / (4 lambda_max)``.
        chunk: rows at a time.

    Raises:
        InputError: teacher and initialisation are equal, there are no inputs, or ``depth`` is below
            1.

    References:
        Golub and Meurant 2010, Matrices, Moments and Quadrature, chapter 6.
    """
    init, way = trees.wide(init), trees.sub(trees.wide(teacher), trees.wide(init))
    if not trees.norm(way) > 0:
        raise InputError("teacher is at init; expected one that has moved")

    def product(vector: PyTree, init: PyTree, inputs: PyTree) -> PyTree:
        return linearize.gauss_newton_product(
            apply, init, vector, inputs, loss=loss, outputs=outputs, chunk=chunk
        )

    krylov = linearize.lanczos(product, way, init, inputs, depth=depth)
    largest = float(krylov.eigenvalues[-1])
    if not largest > 0:  # nothing is seen, but for rounding
        return Visibility(0.0, 0.0, 0.0, krylov)
    return Visibility(
        visibility=krylov.expectation(lambda x: x / largest),
        visible_fraction=krylov.expectation(lambda x: np.asarray(x > LEAST * largest, float)),
        largest=largest,
        krylov=krylov,
    )
