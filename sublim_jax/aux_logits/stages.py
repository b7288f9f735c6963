"""The stages of the auxiliary-logit experiment, compiled for stacked members."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import drift, rng, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.data import ImageData, scale
from sublim_jax.data.noise import uniform_noise
from sublim_jax.distill import imitation, shuffle_targets, teaching
from sublim_jax.evals import accuracy
from sublim_jax.nets import MLPConfig, Net, mlp
from sublim_jax.training import Fit, Members, Watch


class Watched(NamedTuple):
    """What is observed of a student: accuracy on the curve images, and drift."""

    accuracy: Float[Array, ""]
    drift: drift.Drift


class Stages(NamedTuple):
    """The stages of an ensemble; every argument and result has the members as leading axis.

    The two trainings take ``attached=`` and ``name=`` like every `FitFunction`.

    Attributes:
        train_teacher: keys, initialisations, learning rates to `Fit` with the accuracy at the
            watched steps.
        draw_noise: keys to carrier inputs ``[members, noise_images, 784]``.
        teacher_logits: teachers, inputs to targets ``[members, noise_images, outputs]``.
        shuffle: keys, targets to the same targets of the wrong inputs.
        imitate: by outputs of an arm: keys, initialisations, teachers' initialisations, teachers,
            inputs, targets, learning rates to `Fit` with `Watched` at the watched steps.
        evaluate: parameters to the accuracy on all test images.
        teacher_steps: steps at which teachers are watched.
        student_steps: steps at which students are watched.
        outputs: by outputs of an arm: where its logits stand.
    """

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


def initialise(config: AuxLogitsConfig) -> PyTree:
    """Draw the initial parameters of all members, stacked."""
    net = mlp(config.net)
    return jax.jit(jax.vmap(lambda key: net.init(rng.stream(key, "init"))))(member_keys(config))


def compile_stages(config: AuxLogitsConfig, data: ImageData, parallel: Members) -> Stages:
    """Make the stages of an ensemble; each compiles when it is first called.

    Within a stage each draw has a stream of keys of its own, and all students of a member see the
    same noise in the same order: arms differ in what they are named for and in nothing else.

    Args:
        config: the configuration.
        data: images and labels.
        parallel: how members are spread over devices.
    """
    net, shape = mlp(config.net), config.net
    # Data are arguments: arrays that a program closes over are baked into it as constants.
    train = parallel.place((data.train_images, data.train_labels), "shared")
    test = parallel.place((data.test_images, data.test_labels), "shared")
    curve = parallel.place(
        trees.take((data.test_images, data.test_labels), slice(config.curve_images)), "shared"
    )

    def compiled(function: Callable[..., Any], own: int, *shared: PyTree) -> Callable[..., Any]:
        program = parallel.compile(function, ("own",) * own + ("shared",) * len(shared))
        return lambda *values: program(*parallel.place(values, "own"), *shared)

    def draw_noise(key: Array) -> Array:
        return uniform_noise(
            rng.stream(key, "noise"), rows=config.noise_images, features=shape.inputs
        )

    outputs: dict[Literal["auxiliary", "all"], slice] = {
        "auxiliary": shape.auxiliary_logits,
        "all": slice(None),
    }
    images = len(data.train_images)
    return Stages(
        train_teacher=_teaching(net, config, train, curve, parallel),
        draw_noise=compiled(draw_noise, 1),
        teacher_logits=compiled(net.apply, 2),
        shuffle=compiled(lambda key, y: shuffle_targets(rng.stream(key, "shuffle"), y), 2),
        imitate={
            name: _imitation(net, config, chosen, curve, parallel)
            for name, chosen in outputs.items()
        },
        evaluate=compiled(evaluation(net, shape), 1, test),
        teacher_steps=config.watched_steps(config.teacher_recipe(images), images),
        student_steps=config.watched_steps(config.student_recipe, config.noise_images),
        outputs=outputs,
    )


def evaluation(net: Net, shape: MLPConfig) -> Callable[..., Float[Array, ""]]:
    """Make the trait evaluation: parameters and labelled images to accuracy."""

    def evaluate(params: PyTree, labelled: tuple[Array, Array]) -> Array:
        images, labels = labelled
        return accuracy(net.apply(params, scale(images))[..., shape.class_logits], labels)

    return evaluate


def _teaching(
    net: Net, config: AuxLogitsConfig, train: PyTree, curve: PyTree, parallel: Members
) -> Callable[..., Fit]:
    images = len(train[0])
    recipe = config.teacher_recipe(images)
    fit = teaching(
        net,
        recipe,
        class_logits=config.net.class_logits,
        watch=Watch(config.watched_steps(recipe, images), evaluation(net, config.net), ("shared",)),
        parallel=parallel,
        rows="shared",
    )

    def train_teacher(keys: Array, init: PyTree, rates: Array, **how: Any) -> Fit:
        keys = _streams(keys, "teacher order")
        return fit(init, train, (curve,), key=keys, learning_rate=rates, **how)

    return train_teacher


def _imitation(
    net: Net, config: AuxLogitsConfig, outputs: slice, curve: PyTree, parallel: Members
) -> Callable[..., Fit]:
    evaluate = evaluation(net, config.net)

    def watch(
        params: PyTree, init: PyTree, teacher_init: PyTree, teacher: PyTree, curve: PyTree
    ) -> Watched:
        track = drift.tracker(init=init, teacher=teacher, teacher_init=teacher_init)
        return Watched(evaluate(params, curve), track(params))

    steps = config.watched_steps(config.student_recipe, config.noise_images)
    fit = imitation(
        net,
        config.student_recipe,
        outputs=outputs,
        loss=config.loss,
        watch=Watch(steps, watch, ("own", "own", "own", "shared")),
        parallel=parallel,
    )

    def imitate(
        keys: Array,
        init: PyTree,
        teacher_init: PyTree,
        teacher: PyTree,
        inputs: Array,
        targets: Array,
        rates: Array,
        **how: Any,
    ) -> Fit:
        context = (init, teacher_init, teacher, curve)
        keys = _streams(keys, "student order")
        return fit(init, (inputs, targets), context, key=keys, learning_rate=rates, **how)

    return imitate


def _streams(keys: Key[Array, " members"], name: str) -> Key[Array, " members"]:
    return jax.vmap(lambda key: rng.stream(key, name))(keys)
