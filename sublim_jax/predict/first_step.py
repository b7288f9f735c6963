"""What one step of imitation will do, known before it is taken.

At a shared initialisation ``theta_0``, with the teacher at ``theta_0 + D``, ``G`` the Gauss-Newton
matrix of the imitation loss on the carrier inputs and ``u`` the gradient of a trait functional.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.linearize import Apply, gauss_newton_product, transposed_product
from sublim_jax.losses import ImitationLoss
from sublim_jax.rows import map_over_rows


class FirstStep(NamedTuple):
    """What the first full step of gradient descent does, for each unit of learning rate.

    Attributes:
        trait_change: change of the trait functional, ``<u, d_S>``, with the teacher's outputs as
            they are.
        trait_change_linear: the same to first order in the teacher's displacement, ``u' G D``.
        pull: ``<d_S, D>``; never negative to first order in ``D`` where the initialisation is
            shared.
        pull_linear: ``D' G D``; about twice the imitation loss that there is to lose.
        step_cosine: of the step with ``D``, sometimes called coverage.
        alignment: ``rho_G(u, D)``, the correlation of what trait and teacher change of the imitated
            outputs, from -1 to 1: ``-u' G D / sqrt(u' G u . D' G D)``, positive where imitation
            lowers the trait functional, as a loss is lowered.
        loss: imitation loss of the untrained student, for each row; in nats for `kl`.
    """

    trait_change: Float[Array, ""]
    trait_change_linear: Float[Array, ""]
    pull: Float[Array, ""]
    pull_linear: Float[Array, ""]
    step_cosine: Float[Array, ""]
    alignment: Float[Array, ""]
    loss: Float[Array, ""]


def first_step(
    apply: Apply,
    init: PyTree,
    teacher: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    trait_gradient: PyTree,
    *,
    loss: ImitationLoss,
    teacher_init: PyTree | None = None,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> FirstStep:
    """Say what the first step of imitation does to the trait, and where it points. Traceable.

    Args:
        apply: the network.
        init: where the student starts.
        teacher: the trained teacher.
        inputs: carrier inputs, an array or tree of arrays with the rows in the first axis.
        trait_gradient: gradient of the trait functional at ``init``, of a loss for instance. A
            margin tells more than a cross-entropy, which also falls when logits shrink.
        loss: the imitation loss.
        teacher_init: where the teacher started, if not at ``init``.
        outputs: index of the last axis of the outputs: those that are imitated.
        chunk: rows at a time.

    Raises:
        InputError: there are no inputs, or ``chunk`` is below 1.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 6.
    """
    init, teacher = trees.wide(init), trees.wide(teacher)
    way = trees.sub(teacher, init if teacher_init is None else trees.wide(teacher_init))
    how: dict[str, Any] = {"outputs": outputs, "chunk": chunk}

    def towards(rows: PyTree) -> tuple[Array, Array]:
        ours, theirs = (trees.wide(apply(p, rows)[..., outputs]) for p in (init, teacher))
        values, gradient = loss(ours, theirs), jax.grad(lambda z: jnp.sum(loss(z, theirs)))(ours)
        return values, -gradient

    values, residuals = map_over_rows(towards, inputs, chunk=chunk)
    step = transposed_product(apply, init, residuals, inputs, **how)
    of_teacher = gauss_newton_product(apply, init, way, inputs, loss=loss, **how)
    of_trait = gauss_newton_product(apply, init, trait_gradient, inputs, loss=loss, **how)
    seen = trees.dot(trait_gradient, of_teacher)
    lengths = jnp.sqrt(trees.dot(trait_gradient, of_trait) * trees.dot(way, of_teacher))
    return FirstStep(
        trait_change=trees.dot(trait_gradient, step),
        trait_change_linear=seen,
        pull=trees.dot(step, way),
        pull_linear=trees.dot(way, of_teacher),
        step_cosine=trees.cosine(step, way),
        alignment=jnp.where(lengths > 0, -seen / lengths, jnp.nan),
        loss=jnp.mean(values),
    )


def significance(samples: float, kl: float, *, alignment: float = 1.0) -> float:
    """Give the signal of sampled data in standard deviations, ``rho sqrt(2 N KL)``.

    ``N`` labels that the teacher has sampled pull the student along the teacher's displacement with
    so many standard deviations of their own noise; with ``alignment`` the same for a trait.

    Args:
        samples: how many are drawn, independent given their inputs; nearly independent tokens count
            one by one.
        kl: Kullback-Leibler divergence of the untrained student from the teacher, in nats for each.
        alignment: ``rho_G(u, D)`` of the trait, see `FirstStep`; 1 for the displacement itself.

    Raises:
        InputError: ``samples`` or ``kl`` is negative, or ``alignment`` is not from -1 to 1.
    """
    for name, value in (("samples", samples), ("kl", kl)):
        if not value >= 0:
            raise InputError(f"{name} is {value}; expected 0 or a positive number")
    if not -1 <= alignment <= 1:
        raise InputError(f"alignment is {alignment}; expected a number from -1 to 1")
    return alignment * math.sqrt(2 * samples * kl)


def samples_needed(kl: float, *, alignment: float = 1.0, z: float = 3.0) -> float:
    """Give the number of samples at which transfer reaches ``z`` standard deviations.

    ``(z / rho)^2 / (2 KL)``, the inverse of `significance`; infinite where nothing is seen.

    Raises:
        InputError: as for `significance`.
    """
    one = abs(significance(1.0, kl, alignment=alignment))
    return (z / one) ** 2 if one > 0 else math.inf


def constraints_per_parameter(rows: int, outputs: int, parameters: int, *, softmax: bool) -> float:
    """Give ``N m / n``: how many numbers the imitated outputs fix for each trained parameter.

    Below 1 a student can agree with its teacher on all carrier inputs without coming near it, and a
    forecast of long trainings deserves a warning.

    Args:
        rows: distinct carrier inputs.
        outputs: imitated logits of each; under a softmax one fewer counts.
        parameters: that are trained.
        softmax: whether the loss sees logits through a softmax.

    Raises:
        InputError: one of the numbers is below 1.
    """
    for name, value in (("rows", rows), ("outputs", outputs), ("parameters", parameters)):
        if value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    return rows * (outputs - softmax) / parameters
