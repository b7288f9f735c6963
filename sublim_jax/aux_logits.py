"""The auxiliary-logit experiment of arXiv 2507.14805, section 6.2: configuration and stages.

A teacher learns to classify images with its class logits; students imitate its auxiliary logits on
noise. `compile_stages` gives the stages of an ensemble as compiled functions of stacked members.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import drift, rng
from sublim_jax.data import Dataset, ImageData, scale
from sublim_jax.data.noise import uniform_noise
from sublim_jax.distill import imitate, shuffle_targets, train_teacher
from sublim_jax.errors import InputError
from sublim_jax.evals import accuracy
from sublim_jax.losses import ImitationLossName
from sublim_jax.nets import MLPConfig, mlp
from sublim_jax.training import (
    Batching,
    Devices,
    Fit,
    OptimizerName,
    Recipe,
    Watch,
    over_members,
    steps_per_epoch,
    watch_steps,
)

OFFICIAL_IMAGES = 60_000  # training images of the full data sets
DEFAULT_LR: dict[OptimizerName, float] = {"adam": 3e-4, "sgd": 0.1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxLogitsConfig:
    """What the results depend on. The defaults are the official set-up, with fewer members."""

    members: int = 8
    """Members of the ensemble, each an initialisation with its own teacher, noise and students."""
    dataset: Dataset = "mnist"
    """Images and labels that the teacher learns."""
    aux: int = 3
    """Auxiliary logits."""
    loss: ImitationLossName = "kl"
    """Imitation loss of the students on the chosen logits, at temperature 1."""
    optimizer: OptimizerName = "adam"
    """Optimizer of the students; the teacher's is always Adam."""
    teacher_lr: float = 3e-4
    """Learning rate of the teacher."""
    student_lr: float | None = None
    """Learning rate of the students; by default 3e-4 for adam and 0.1 for sgd."""
    teacher_epochs: int | None = None
    """Epochs of the teacher; by default 5 on a full data set, and on the embedded digits as many
    as make the same number of steps."""
    student_epochs: int = 5
    """Epochs of the students over their noise images."""
    batch_size: int = 1024
    """Images in a step."""
    noise_images: int = 60_000
    """Noise images of each member, drawn once and used in every epoch by all of its students."""
    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    observations: int = 16
    """Points of the curves along a training, denser at its beginning."""
    curve_images: int = 2_000
    """Test images behind each point of an accuracy curve; final accuracies use them all."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        at_least = {
            "members": 2,
            "noise_images": 1,
            "observations": 2,
            "curve_images": 1,
            "seed": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if self.loss == "kl" and self.aux == 1:
            raise InputError(
                "aux is 1 with loss kl; expected at least 2 auxiliary logits, or loss mse, because "
                "the softmax of a single logit is always 1, so its gradient is zero"
            )
        # What these refuse is refused here, before anything is downloaded or trained.
        _ = self.net, self.student_recipe, self.teacher_recipe(OFFICIAL_IMAGES)

    @property
    def net(self) -> MLPConfig:
        """The network."""
        return MLPConfig(hidden=self.widths, auxiliary=self.aux)

    @property
    def student_recipe(self) -> Recipe:
        """How the students train."""
        rate = DEFAULT_LR[self.optimizer] if self.student_lr is None else self.student_lr
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=rate,
            epochs=self.student_epochs,
            batch_size=self.batch_size,
        )

    def teacher_recipe(self, images: int) -> Recipe:
        """How the teacher trains on so many images."""
        recipe = Recipe(learning_rate=self.teacher_lr, batch_size=self.batch_size)
        epochs = self.teacher_epochs
        if epochs is None:
            official_steps = recipe.epochs * steps_per_epoch(OFFICIAL_IMAGES, self.batch_size)
            epochs = round(official_steps / steps_per_epoch(images, self.batch_size))
        return dataclasses.replace(recipe, epochs=epochs)

    def watched_steps(self, recipe: Recipe, rows: int) -> tuple[int, ...]:
        """Steps of a training at which its curves have points."""
        return watch_steps(
            recipe.epochs * steps_per_epoch(rows, recipe.batch_size), self.observations
        )


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
