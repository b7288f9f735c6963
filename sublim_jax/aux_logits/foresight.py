"""What is known of a student before it is trained."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import linearize, losses, predict, rng, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.observing import evaluation, trait_loss
from sublim_jax.nets import Net
from sublim_jax.training import epoch_order, init_state, make_step


class Foreseen(NamedTuple):
    """What one step of imitation, and a student that is linear in its parameters, would do.

    Attributes:
        step_cosine: of the first step of gradient descent with the teacher's displacement.
        step_alignment: how far the step lowers the class loss, as `predict.FirstStep.alignment`.
        step_trait_change: of the class loss, in nats for each unit of learning rate.
        linear_accuracy: of the linearised student on all test images, after the same steps of the
            same optimizer on the same batches.
    """

    step_cosine: Float[Array, ""]
    step_alignment: Float[Array, ""]
    step_trait_change: Float[Array, ""]
    linear_accuracy: Float[Array, ""]


def foreseeing(net: Net, config: AuxLogitsConfig, outputs: slice) -> Callable[..., Foreseen]:
    """Make what looks ahead from a student's start.

    Returns:
        A function of key, start, the teacher's start, teacher, carrier inputs, targets, learning
        rate, labelled images of the teacher and test images to `Foreseen`.
    """
    loss, trait = losses.IMITATION_LOSSES[config.loss], trait_loss(net, config.net)

    def foresee(
        key: Key[Array, ""],
        init: PyTree,
        teacher_init: PyTree,
        teacher: PyTree,
        inputs: Array,
        targets: Array,
        rate: Array,
        taught: tuple[Array, Array],
        test: tuple[Array, Array],
    ) -> Foreseen:
        first = predict.first_step(
            *(net.apply, init, teacher, inputs, jax.grad(trait)(init, taught)),
            loss=loss,
            teacher_init=teacher_init,
            outputs=outputs,
        )
        linear = net._replace(apply=linearize.linearized(net.apply, init))
        student = train(linear, config, outputs, key, init, (inputs, targets), rate)
        return Foreseen(
            step_cosine=first.step_cosine,
            step_alignment=first.alignment,
            step_trait_change=first.trait_change,
            linear_accuracy=evaluation(linear, config.net)(student, test),
        )

    return foresee


def train(
    net: Net,
    config: AuxLogitsConfig,
    outputs: slice,
    key: Key[Array, ""],
    init: PyTree,
    rows: tuple[Array, Array],
    rate: Array,
) -> PyTree:
    """Train a student in one piece, unobserved and without checkpoints; traceable.

    The same parameters come out as of `stages.Stages.imitate`.

    Args:
        net: the network, or a linear model of it.
        config: says how.
        outputs: where the imitated logits stand.
        key: of the member.
        init: where the student starts.
        rows: carrier inputs and targets.
        rate: the learning rate.
    """
    distance, recipe = losses.IMITATION_LOSSES[config.loss], config.student_recipe

    def imitation_loss(params: PyTree, batch: tuple[Array, Array]) -> Array:
        inputs, targets = batch
        logits = net.apply(trees.held(params, config.frozen), inputs)[..., outputs]
        return distance(logits, targets)

    optimizer = recipe.transformation()
    step = make_step(imitation_loss, optimizer)
    order = epoch_order(
        rng.stream(key, "student order"),
        rows=len(rows[0]),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
    )
    state = init_state(init, optimizer)
    state = state._replace(opt_state=optax.tree.set(state.opt_state, learning_rate=rate))

    def advance(state: Any, indices: Array) -> tuple[Any, None]:
        batch = trees.take(rows, jnp.maximum(indices, 0))
        return step(state, batch, (indices >= 0).astype(jnp.float32))[0], None

    return jax.lax.scan(advance, state, order)[0].params
