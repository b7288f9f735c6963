"""What is seen of a student: on its way, and when it has finished."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import drift, losses, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.data import scale
from sublim_jax.evals import accuracy
from sublim_jax.nets import MLPConfig, Net
from sublim_jax.training import Role


class Watched(NamedTuple):
    """What is observed of a student.

    Attributes:
        accuracy: on the curve images.
        drift: see `drift.tracker`.
        trait_gain: change of the class loss on the curve images since the observation before, in
            nats, see `drift.trait_gain`; None if not asked for.
    """

    accuracy: Float[Array, ""]
    drift: drift.Drift
    trait_gain: Float[Array, ""] | None


class Finished(NamedTuple):
    """What is measured of a finished student.

    Attributes:
        accuracy: on all test images.
        imitation_loss: on held-out carrier inputs, over the imitated logits.
        untrained_loss: the same where the student started.
        carrier_pull: share of the teacher's change of the imitated logits on these inputs that
            the student has made, ``<f_S - f_0, f_T - f_0> / |f_T - f_0|^2`` with its own start.
        trait_pull: the same of the class logits on test images.
        toward: products of the displacement, as in `drift.Drift`.
        concentration: of its entries, see `drift.sign_concentration`.
    """

    accuracy: Float[Array, ""]
    imitation_loss: Float[Array, ""]
    untrained_loss: Float[Array, ""]
    carrier_pull: Float[Array, ""]
    trait_pull: Float[Array, ""]
    toward: drift.Products
    concentration: Float[Array, " layers"]


def evaluation(net: Net, shape: MLPConfig) -> Callable[..., Float[Array, ""]]:
    """Make the trait evaluation: parameters and labelled images to accuracy."""

    def evaluate(params: PyTree, labelled: tuple[Array, Array]) -> Array:
        images, labels = labelled
        return accuracy(net.apply(params, scale(images))[..., shape.class_logits], labels)

    return evaluate


def observer(
    net: Net, config: AuxLogitsConfig
) -> tuple[Callable[..., Watched], tuple[Role, ...], Callable[..., PyTree]]:
    """Make what is observed of a student, the roles of its context, and what is remembered."""
    evaluate, trait = evaluation(net, config.net), trait_loss(net, config.net)
    gains = "trait_gain" in config.track

    def remember(params: PyTree, *context: PyTree) -> tuple[PyTree, PyTree]:
        # The gradient is the one of the observation: within a program it is computed once.
        return params, jax.grad(trait)(params, context[-1]) if gains else ()

    def observe(
        params: PyTree,
        memory: PyTree,
        init: PyTree,
        teacher_init: PyTree,
        teacher: PyTree,
        curve: PyTree,
    ) -> Watched:
        before, gradient = memory
        seen = drift.tracker(
            init=init,
            teacher=teacher,
            teacher_init=teacher_init,
            before=before if "pull" in config.track else None,
        )(params)
        gain = None
        if gains:
            step = trees.sub(params, before)
            gain = drift.trait_gain(step, gradient, jax.grad(trait)(params, curve))
        return Watched(evaluate(params, curve), seen, gain)

    return observe, ("own", "own", "own", "shared"), remember


def trait_loss(net: Net, shape: MLPConfig) -> Callable[..., Float[Array, ""]]:
    """Make the loss of the trait: parameters and labelled images to mean cross-entropy in nats."""

    def loss(params: PyTree, labelled: tuple[Array, Array]) -> Array:
        images, labels = labelled
        logits = net.apply(params, scale(images))[..., shape.class_logits]
        return jnp.mean(losses.cross_entropy(logits, labels))

    return loss


def measuring(net: Net, config: AuxLogitsConfig, outputs: slice) -> Callable[..., Finished]:
    """Make what measures a finished student.

    Returns:
        A function of student, its start, the teacher's start, teacher, inputs held out and labelled
        images to `Finished`.
    """
    evaluate, distance = evaluation(net, config.net), losses.IMITATION_LOSSES[config.loss]

    def measure(
        student: PyTree,
        init: PyTree,
        teacher_init: PyTree,
        teacher: PyTree,
        held_out: Array,
        test: tuple[Array, Array],
    ) -> Finished:
        def pull(inputs: Array, chosen: slice) -> Array:
            seen = drift.function_products(
                net.apply, init, student, teacher, inputs, outputs=chosen
            )
            return drift.projection(seen)

        def loss(params: PyTree) -> Array:
            logits, wanted = (net.apply(p, held_out)[..., outputs] for p in (params, teacher))
            return jnp.mean(distance(logits, wanted))

        moved, way = trees.sub(student, init), trees.sub(teacher, teacher_init)
        return Finished(
            accuracy=evaluate(student, test),
            imitation_loss=loss(student),
            untrained_loss=loss(init),
            carrier_pull=pull(held_out, outputs),
            trait_pull=pull(scale(test[0]), config.net.class_logits),
            toward=drift.inner_products(moved, way, init),
            concentration=drift.sign_concentration(moved, way),
        )

    return measure
