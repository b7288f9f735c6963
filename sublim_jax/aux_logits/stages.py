"""The stages of the auxiliary-logit experiment, compiled for stacked members."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from sublim_jax import rng, trees
from sublim_jax.aux_logits.carriers import draw_carrier
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.foresight import Foreseen, foreseeing
from sublim_jax.aux_logits.observing import Finished, evaluation, measuring, observer
from sublim_jax.aux_logits.starts import realign
from sublim_jax.data import ImageData
from sublim_jax.distill import imitation, shuffle_targets, teaching
from sublim_jax.nets import Net, mlp
from sublim_jax.training import Fit, Members, Watch

HELD_OUT = 2_000  # carrier inputs on which a finished student's imitation is measured

Outputs = Literal["auxiliary", "all"]


class Stages(NamedTuple):
    """The stages of an ensemble; every argument and result has the members as leading axis.

    The two trainings take ``attached=`` and ``name=`` like every `FitFunction`.

    Attributes:
        train_teacher: keys, initialisations, learning rates to `Fit` with the accuracy at the
            watched steps.
        draw_inputs: keys to carrier inputs ``[members, rows, 784]``.
        draw_held_out: keys to carrier inputs that no student trains on.
        teacher_logits: teachers, inputs to targets ``[members, rows, outputs]``.
        realign: initialisations or teachers, and permutations of their hidden units, to the same
            networks with units permuted.
        shuffle: keys, targets to the same targets of the wrong inputs.
        imitate: by outputs of an arm: keys, initialisations, teachers' initialisations, teachers,
            inputs, targets, learning rates to `Fit` with `Watched` at the watched steps.
        measure: by outputs of an arm: students, their starts, teachers' initialisations, teachers,
            held-out inputs to `Finished`.
        foresee: by outputs of an arm: what `imitate` takes to `Foreseen`.
        evaluate: parameters to the accuracy on all test images.
        teacher_steps: steps at which teachers are watched.
        student_steps: steps at which students are watched.
        outputs: by outputs of an arm: where its logits stand.
    """

    train_teacher: Callable[..., Fit]
    draw_inputs: Callable[..., Array]
    draw_held_out: Callable[..., Array]
    teacher_logits: Callable[..., Array]
    realign: Callable[..., PyTree]
    shuffle: Callable[..., Array]
    imitate: Mapping[Outputs, Callable[..., Fit]]
    measure: Mapping[Outputs, Callable[..., Finished]]
    foresee: Mapping[Outputs, Callable[..., Foreseen]]
    evaluate: Callable[..., Array]
    teacher_steps: tuple[int, ...]
    student_steps: tuple[int, ...]
    outputs: Mapping[Outputs, slice]


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

    curve_taught = trees.take(train, slice(config.curve_images))

    def compiled(function: Callable[..., Any], own: int, *shared: PyTree) -> Callable[..., Any]:
        program = parallel.compile(function, ("own",) * own + ("shared",) * len(shared))
        return lambda *values: program(*parallel.place(values, "own"), *shared)

    images = len(data.train_images)

    outputs: dict[Outputs, slice] = {"auxiliary": shape.auxiliary_logits, "all": slice(None)}
    return Stages(
        train_teacher=_teaching(net, config, train, curve, parallel),
        draw_inputs=compiled(
            lambda key, x: draw_carrier(config, key, x, rows=config.carrier_rows(images)),
            *(1, train[0]),
        ),
        draw_held_out=compiled(
            lambda key, x: draw_carrier(
                config, rng.stream(key, "held out"), x, rows=min(HELD_OUT, len(x))
            ),
            *(1, test[0]),
        ),
        teacher_logits=compiled(net.apply, 2),
        realign=compiled(lambda tree, units: realign(config, tree, units), 2),
        shuffle=compiled(lambda key, y: shuffle_targets(rng.stream(key, "shuffle"), y), 2),
        imitate={
            name: _imitation(net, config, chosen, images, curve, parallel)
            for name, chosen in outputs.items()
        },
        measure={
            name: compiled(measuring(net, config, chosen), 5, test)
            for name, chosen in outputs.items()
        },
        foresee={
            name: compiled(foreseeing(net, config, chosen), 7, curve_taught, test)
            for name, chosen in outputs.items()
        },
        evaluate=compiled(evaluation(net, shape), 1, test),
        teacher_steps=config.teacher_steps(images),
        student_steps=config.student_steps(images),
        outputs=outputs,
    )


def _teaching(
    net: Net, config: AuxLogitsConfig, train: PyTree, curve: PyTree, parallel: Members
) -> Callable[..., Fit]:
    images = len(train[0])
    fit = teaching(
        net,
        config.teacher_recipe(images),
        class_logits=config.net.class_logits,
        watch=Watch(config.teacher_steps(images), evaluation(net, config.net), ("shared",)),
        parallel=parallel,
        rows="shared",
        frozen=config.frozen,
    )

    def train_teacher(keys: Array, init: PyTree, rates: Array, **how: Any) -> Fit:
        keys = _streams(keys, "teacher order")
        return fit(init, train, (curve,), key=keys, learning_rate=rates, **how)

    return train_teacher


def _imitation(
    net: Net,
    config: AuxLogitsConfig,
    outputs: slice,
    images: int,
    curve: PyTree,
    parallel: Members,
) -> Callable[..., Fit]:
    watch = Watch(config.student_steps(images), *observer(net, config))
    fit = imitation(
        net,
        config.student_recipe,
        outputs=outputs,
        loss=config.loss,
        watch=watch,
        parallel=parallel,
        frozen=config.frozen,
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
