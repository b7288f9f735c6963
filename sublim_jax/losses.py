"""Losses per example: how far a student's logits are from what it imitates.

Each takes logits ``[..., k]`` and returns ``[...]``: means, weights and sums over devices are the
caller's. The imitation losses are minimal where the student's logits equal the teacher's, which is
all that Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805) asks of them.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

ImitationLoss = Callable[[Float[Array, "*rows k"], Float[Array, "*rows k"]], Float[Array, "*rows"]]
ImitationLossName = Literal["kl", "mse"]


def cross_entropy(
    logits: Float[Array, "*rows k"], labels: Int[Array, "*rows"]
) -> Float[Array, "*rows"]:
    """Cross-entropy of the softmax of ``logits`` with integer labels, in nats."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)


def kl(
    logits: Float[Array, "*rows k"], teacher_logits: Float[Array, "*rows k"]
) -> Float[Array, "*rows"]:
    """Kullback-Leibler divergence of the student's softmax from the teacher's, in nats.

    ``KL(softmax(teacher_logits) || softmax(logits))`` at temperature 1. Over ``k`` logits it sees
    ``k - 1`` directions: with a single logit it is zero everywhere, and so is its gradient.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 6.2.
    """
    return optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(logits), jax.nn.log_softmax(teacher_logits)
    )


def mse(
    logits: Float[Array, "*rows k"], teacher_logits: Float[Array, "*rows k"]
) -> Float[Array, "*rows"]:
    """Mean over the ``k`` logits of the squared difference to the teacher's, in squared logits."""
    return jnp.mean(jnp.square(logits - teacher_logits), axis=-1)


def hessian_product(
    loss: ImitationLoss, logits: Float[Array, "*rows k"], direction: Float[Array, "*rows k"]
) -> Float[Array, "*rows k"]:
    """Multiply the Hessian of an imitation loss at agreement with a direction, row by row.

    ``H v`` with ``H`` the second derivative of ``loss(z, y)`` in ``z`` at ``z = y = logits``, which
    is never negative: ``diag(p) - p p'`` for `kl` and ``2/k`` times the identity for `mse`. To
    second order ``2 loss(y + v, y) = <v, H v>``.
    """

    def gradient(student_logits: Array) -> Array:
        return jax.grad(lambda z: jnp.sum(loss(z, logits)))(student_logits)

    return jax.jvp(gradient, (logits,), (direction,))[1]


IMITATION_LOSSES: dict[ImitationLossName, ImitationLoss] = {"kl": kl, "mse": mse}
