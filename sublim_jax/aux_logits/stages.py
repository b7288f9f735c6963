"""The stages of the auxiliary-logit experiment, compiled for stacked members."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import drift, rng
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.data import ImageData, scale
from sublim_jax.data.noise import uniform_noise
from sublim_jax.distill import imitate, shuffle_targets, train_teacher
from sublim_jax.evals import accuracy
from sublim_jax.nets import mlp
from sublim_jax.training import Batching, Devices, Fit, Watch, over_members


class Watched(NamedTuple):
    """What is observed of a student: accuracy on the curve images, and drift."""

    accuracy: Float[Array, ""]
    drift: drift.Drift


class Stages(NamedTuple):
    """The stages of an ensemble; every argument and result has the members as leading axis.

    Attributes:
        initialise: keys to initial parameters.
        train_teacher: keys, initialisations to `Fit` with the accuracy at the watched steps.
        draw_noise: keys to carrier inputs ``[members, noise_images, 784]``.
        teacher_logits: teachers, inputs to targets ``[members, noise_images, outputs]``.
        shuffle: keys, targets to the same targets of the wrong inputs.
        imitate: by outputs of an arm: keys, initialisations, teachers' initialisations, teachers,
            inputs, targets to `Fit` with `Watched` at the watched steps.
        evaluate: parameters to the accuracy on all test images.
        teacher_steps: steps at which teachers are watched.
        student_steps: steps at which students are watched.
        outputs: by outputs of an arm: where its logits stand.
    """

    initialise: Callable[..., PyTree]
    train_teacher: Callable[..., Fit]
    draw_noise: Callable[..., Array]
    teacher_logits: Callable[..., Array]
    shuffle: Callable[..., Array]
    imitate: Mapping[Literal["auxiliary", "all"], Callable[..., Fit]]
    evaluate: Callable[..., Array]
    teacher_steps: tuple[int, ...]
    student_steps: tuple[int, ...]
    outputs: Mapping[Literal["auxiliary", "all"], slice]


def member_keys(config: AuxLogitsConfig) -> Key[Array, " members"]:
    """Derive a key for each member; a member stays the same however many there are."""
    root = jax.random.key(config.seed)
    return jax.vmap(lambda member: rng.stream(root, "member", member))(jnp.arange(config.members))


def compile_stages(
    config: AuxLogitsConfig,
    data: ImageData,
    *,
    devices: Devices | None = None,
    batching: Batching | None = None,
) -> Stages:
    """Make the stages of an ensemble; each compiles when it is first called.

    Within a stage each draw has a stream of keys of its own, and all students of a member see the
    same noise in the same order: arms differ in what they are named for and in nothing else.

    Args:
        config: the configuration.
        data: images and labels.
        devices: see `over_members`.
        batching: see `over_members`.
    """
    net, shape = mlp(config.net), config.net
    teacher_recipe = config.teacher_recipe(len(data.train_images))
    teacher_steps = config.watched_steps(teacher_recipe, len(data.train_images))
    student_steps = config.watched_steps(config.student_recipe, config.noise_images)
    train = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    test = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
    curve = tuple(array[: config.curve_images] for array in test)

    def compiled(function: Callable, stacked: int, *shared: Array) -> Callable[..., Any]:
        # Data are arguments: arrays that a program closes over are baked into it as constants.
        axes = (0,) * stacked + (None,) * len(shared)
        program = over_members(function, axes, devices=devices, batching=batching)
        return lambda *members: program(*members, *shared)

    def evaluate(params: PyTree, images: Array, labels: Array) -> Array:
        return accuracy(net.apply(params, scale(images))[..., shape.class_logits], labels)

    def teach(key: Array, init: PyTree, images: Array, labels: Array, *curve: Array) -> Fit:
        return train_teacher(
            net,
            teacher_recipe,
            init,
            images,
            labels,
            class_logits=shape.class_logits,
            watch=Watch(teacher_steps, lambda params: evaluate(params, *curve)),
            key=rng.stream(key, "teacher order"),
        )

    def draw_noise(key: Array) -> Array:
        return uniform_noise(
            rng.stream(key, "noise"), rows=config.noise_images, features=shape.inputs
        )

    def student(
        outputs: slice,
        key: Array,
        init: PyTree,
        teacher_init: PyTree,
        teacher: PyTree,
        inputs: Array,
        targets: Array,
        *curve: Array,
    ) -> Fit:
        track = drift.tracker(init=init, teacher=teacher, teacher_init=teacher_init)
        return imitate(
            net,
            config.student_recipe,
            init,
            inputs,
            targets,
            outputs=outputs,
            loss=config.loss,
            watch=Watch(
                student_steps, lambda params: Watched(evaluate(params, *curve), track(params))
            ),
            key=rng.stream(key, "student order"),
        )

    outputs: dict[Literal["auxiliary", "all"], slice] = {
        "auxiliary": shape.auxiliary_logits,
        "all": slice(None),
    }
    return Stages(
        initialise=compiled(lambda key: net.init(rng.stream(key, "init")), 1),
        train_teacher=compiled(teach, 2, *train, *curve),
        draw_noise=compiled(draw_noise, 1),
        teacher_logits=compiled(net.apply, 2),
        shuffle=compiled(lambda key, y: shuffle_targets(rng.stream(key, "shuffle"), y), 2),
        imitate={
            name: compiled(functools.partial(student, chosen), 6, *curve)
            for name, chosen in outputs.items()
        },
        evaluate=compiled(evaluate, 1, *test),
        teacher_steps=teacher_steps,
        student_steps=student_steps,
        outputs=outputs,
    )
