"""Students that keep the path they went, and the landscape around it, for ``student_path.py``.

A member is trained as in ``mnist_aux_logits.py``, draw for draw; its students' parameters are kept
at the watched steps. Then the straight lines to the teacher and the planes are evaluated on test
digits and on noise that no student has seen.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree
from tqdm import tqdm

from sublim_jax import hosts, rng, trees
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.data import Dataset, ImageData, scale
from sublim_jax.data.noise import uniform_noise
from sublim_jax.distill import ARMS, imitation, teaching
from sublim_jax.drift.path import straight_path
from sublim_jax.drift.plane import coordinates, plane_through, plane_values
from sublim_jax.errors import InputError
from sublim_jax.evals import accuracy
from sublim_jax.losses import IMITATION_LOSSES, ImitationLossName, cross_entropy
from sublim_jax.nets import mlp
from sublim_jax.training import Members, Session, Watch, steps_per_epoch, watch_steps

STUDENTS = {
    arm.name: arm
    for arm in ARMS
    if arm.name in ("student_aux", "student_all", "other_aux", "other_all")
}
DRAWN = {"student_aux": "same initialisation", "other_aux": "other initialisation"}
UNTOUCHED = {"student_aux": "init", "other_aux": "other_init"}
"""What the lines from the starts of some arms are called."""
QUANTITIES = ("loss", "accuracy", "imitation")
AT_LEAST = {"images": 1, "line_points": 3, "grid": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathConfig:
    """What the results depend on; the trainings are those of ``mnist_aux_logits.py``."""

    members: int = 4
    """Members of the ensemble, each an initialisation with its own teacher, noise and students."""
    dataset: Dataset = "mnist"
    """Images and labels that the teacher learns."""
    aux: int = 3
    """Auxiliary logits."""
    loss: ImitationLossName = "kl"
    """Imitation loss of the students on the chosen logits, at temperature 1."""
    teacher_lr: float = 3e-4
    """Learning rate of the teacher."""
    student_lr: float = 3e-4
    """Learning rate of the students."""
    teacher_epochs: int | None = None
    """Epochs of the teacher; by default as many as make the steps of 5 on a full data set."""
    student_epochs: int = 5
    """Epochs of the students over their noise images."""
    batch_size: int = 1024
    """Images in a step."""
    noise_images: int = 60_000
    """Noise images of each member, drawn once and used in every epoch by all of its students."""
    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    observations: int = 24
    """Points of a student's path, denser at its beginning."""
    images: int = 1_000
    """Test images, and unseen noise images, behind each value of a loss or an accuracy."""
    line_points: int = 21
    """Points of the straight lines, evenly spaced."""
    grid: int = 31
    """Columns of the grid on a plane; as many rows as make its cells square."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        _ = self.training  # which checks the rest

    @property
    def training(self) -> AuxLogitsConfig:
        """What is trained."""
        fields = dataclasses.asdict(self)
        return AuxLogitsConfig(**{k: v for k, v in fields.items() if k not in AT_LEAST})


class Trained(NamedTuple):
    """A student of stacked members, in the memory of the host.

    Attributes:
        arm: its name.
        keys: of the members.
        start: where it started.
        teacher: its teacher.
        path: where it was at the watched steps, ``[members, watched, ...]``; the last is its end.
        steps: the watched steps.
    """

    arm: str
    keys: Array
    start: PyTree
    teacher: PyTree
    path: PyTree
    steps: tuple[int, ...]


def trainer(
    setup: AuxLogitsConfig, data: ImageData, parallel: Members
) -> tuple[Callable[..., Iterator[Trained]], int]:
    """Make the trainings of stacked members as in ``mnist_aux_logits.py``; count their steps."""
    net, shape, images = mlp(setup.net), setup.net, len(data.train_images)
    recipe = setup.student_recipe
    steps = recipe.epochs * steps_per_epoch(setup.noise_images, recipe.batch_size)
    watch = Watch(watch_steps(steps, setup.observations), lambda params: params)
    teacher_recipe = setup.teacher_recipe(images)
    teach = teaching(
        net, teacher_recipe, class_logits=shape.class_logits, parallel=parallel, rows="shared"
    )
    outputs = {"auxiliary": shape.auxiliary_logits, "all": slice(None)}
    imitate = {
        name: imitation(
            net, recipe, outputs=chosen, loss=setup.loss, watch=watch, parallel=parallel
        )
        for name, chosen in outputs.items()
    }
    noise = parallel.compile(lambda key: _noise(setup, key, "noise", setup.noise_images), ("own",))
    apply = parallel.compile(net.apply, ("own", "own"))

    def streams(keys: Array, name: str) -> Array:
        return jax.vmap(lambda key: rng.stream(key, name))(keys)

    def train(
        keys: Array, inits: PyTree, others: PyTree, session: Session, name: str
    ) -> Iterator[Trained]:
        rows = data.train_images, data.train_labels
        taught = teach(
            *(inits, rows),
            key=streams(keys, "teacher order"),
            attached=session,
            name=f"{name}/teacher",
        )
        inputs = noise(parallel.place(keys, "own"))
        logits = apply(taught.params, inputs)
        teacher = hosts.gather(taught.params)
        for arm in STUDENTS.values():
            start = inits if arm.initialisation == "same" else others
            targets = logits[..., outputs[arm.outputs]]
            fit = imitate[arm.outputs](
                *(start, (inputs, targets)),
                key=streams(keys, "student order"),
                attached=session,
                name=f"{name}/{arm.name}",
            )
            yield Trained(
                arm.name, keys, start, teacher, hosts.gather(fit.observations), watch.steps
            )

    teacher_steps = teacher_recipe.epochs * steps_per_epoch(images, setup.batch_size)
    return train, teacher_steps + len(STUDENTS) * steps


def _noise(setup: AuxLogitsConfig, key: Array, name: str, rows: int) -> Array:
    return uniform_noise(rng.stream(key, name), rows=rows, features=setup.net.inputs)


def measure(
    config: PathConfig, data: ImageData, student: Trained, row: int, *, drawn: bool
) -> dict[str, Any]:
    """Measure a member of an arm: its straight lines, its path, and the plane if it is drawn."""
    setup, arm = config.training, student.arm
    net = mlp(setup.net)
    start, teacher, path = trees.take((student.start, student.teacher, student.path), row)
    outputs = setup.net.auxiliary_logits if STUDENTS[arm].outputs == "auxiliary" else slice(None)
    noise = _noise(setup, student.keys[row], "unseen noise", config.images)
    targets = net.apply(teacher, noise)[..., outputs]
    digits = data.test_images[: config.images], data.test_labels[: config.images]
    held_out = (*digits, noise, targets)
    programs = _programs(setup, outputs.start or 0, config.line_points)
    plane = plane_through(start, teacher, trees.take(path, -1))
    results = {
        "line": programs.line(trees.take(path, -1), teacher, held_out),
        "path": programs.place(plane, path)._asdict(),
        "steps": student.steps,
    }
    if drawn and arm in DRAWN:
        xs, ys = _window(config.grid, *(np.asarray(results["path"][axis]) for axis in "xy"))
        rows = [
            jax.device_get(programs.grid(plane, xs, ys[i : i + 1], held_out))
            for i in tqdm(range(len(ys)), desc=f"plane of {arm}", unit="row", leave=False)
        ]
        results["plane"] = {"xs": xs, "ys": ys} | {
            name: np.concatenate([values[name] for values in rows]) for name in QUANTITIES
        }
    found = {arm: jax.device_get(results)}
    if arm in UNTOUCHED:
        found[UNTOUCHED[arm]] = {"line": jax.device_get(programs.line(start, teacher, held_out))}
    return found


class Programs(NamedTuple):
    """What measures, compiled: lines, coordinates of paths, rows of grids."""

    line: Callable[..., Any]
    place: Callable[..., Any]
    grid: Callable[..., Any]


@functools.cache
def _programs(setup: AuxLogitsConfig, first_output: int, line_points: int) -> Programs:
    net, shape, distance = mlp(setup.net), setup.net, IMITATION_LOSSES[setup.loss]

    def evaluation(held_out: tuple[Array, ...]) -> Callable[[PyTree], dict[str, Array]]:
        images, labels, noise, targets = held_out

        def evaluate(params: PyTree) -> dict[str, Array]:
            with jax.default_matmul_precision("highest"):
                classes = net.apply(params, scale(images))[..., shape.class_logits]
                imitated = net.apply(params, noise)[..., first_output:]
            return {
                "loss": cross_entropy(classes, labels).mean(),
                "accuracy": accuracy(classes, labels),
                "imitation": distance(imitated, targets).mean(),
            }

        return evaluate

    return Programs(
        jax.jit(lambda a, b, held: straight_path(evaluation(held), a, b, points=line_points)),
        jax.jit(jax.vmap(coordinates, in_axes=(None, 0))),
        jax.jit(lambda plane, xs, ys, held: plane_values(evaluation(held), plane, xs, ys)),
    )


def _window(columns: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay a grid of square cells around a path, its beginning and its teacher."""
    low, high = min(x.min(), 0) - 0.25, max(x.max(), 1) + 0.25
    middle, half = (y.min() + y.max()) / 2, max(np.ptp(y) / 2 + 0.25, 0.5)
    rows = max(round(columns * 2 * half / (high - low)), 3)
    return np.linspace(low, high, columns), np.linspace(middle - half, middle + half, rows)
