"""How fast the front door trains, against this machine's own ceiling and against torch.

    pip install -e ".[bench]"
    python experiments/benchmarks/mnist.py               # about four minutes on two cores
    python experiments/benchmarks/mnist.py --no-torch    # one minute

One run measures, in turn and repeatedly so that a change of the machine's load hits all alike:
the float32 matrix product of two 2048x2048 matrices (the ceiling); each phase of one member of the
official set-up, with compilation (the first call) and without (the best of the later ones); and the
same set-up in torch, members stacked and multiplied by einsum, end to end. Pixels are random: the
time does not depend on them. FLOPs are those of the matrix products of training and of the accuracy
curves along it, counted from the shapes (2 for a multiply and an add).

Targets: training without compilation at 75 % of the ceiling or more; three times torch's speed for
a member, end to end.
"""

import dataclasses
import importlib.util
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from sublim_jax import aux_logits, runs, trees
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.data import ImageData, Source
from sublim_jax.distill import ARMS
from sublim_jax.training import members

CEILING = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    repeats: int = 5
    """Timed calls of each phase after the first."""
    members: int = 1
    """Members of our program that run side by side on a device."""
    torch_members: int = 4
    """Members that torch stacks."""
    torch: bool = True
    """Whether to race torch, where it is installed."""


def main(config: Config) -> None:
    """Measure and print."""
    print(f"{runs.processor_name()}, {os.cpu_count()} cores; {jax.devices()[0].device_kind}")
    print(f"jax {jax.__version__}; best of {config.repeats} after the first call\n")
    setup = AuxLogitsConfig(members=max(2, config.members))
    data = random_images(np.random.default_rng(0))
    ours = our_phases(setup, data, config)
    ceiling = max(phase["ceiling"] for phase in ours.values())
    print(f"float32 matrix product {CEILING}³: {ceiling:.0f} GFLOP/s\n")
    print(f"{'one member':22}{'first call s':>14}{'later s':>10}{'GFLOP/s':>10}{'of ceiling':>12}")
    for name, phase in ours.items():
        later, flops = phase["later"], phase["flops"]
        rate = f"{flops / later / 1e9:>10.0f}{flops / later / 1e9 / ceiling:>12.0%}"
        print(f"{name:22}{phase['first']:>14.2f}{later:>10.2f}{rate if flops else ''}")
    # A member's students by what they imitate, and evaluations of them, teacher and reference.
    count = Counter(f"student, {arm.outputs}" for arm in ARMS) + Counter(evaluation=len(ARMS) + 2)
    whole = sum((count[name] or 1) * phase["later"] for name, phase in ours.items())
    print(f"{'member, end to end':22}{'':14}{whole:>10.2f}")
    if config.torch and importlib.util.find_spec("torch"):
        race(setup, data, config, whole)


def random_images(random: np.random.Generator) -> ImageData:
    """Make images of the number and kind of the full MNIST."""

    def images(rows: int) -> np.ndarray:
        return random.integers(0, 256, (rows, 784), dtype=np.uint8)

    def labels(rows: int) -> np.ndarray:
        return random.integers(0, 10, rows, dtype=np.int32)

    return ImageData(
        name="mnist",
        train_images=images(60_000),
        train_labels=labels(60_000),
        test_images=images(10_000),
        test_labels=labels(10_000),
        source=Source(kind="embedded", title="random pixels", origin="", sha256=""),
    )


def our_phases(
    setup: AuxLogitsConfig, data: ImageData, config: Config
) -> dict[str, dict[str, float]]:
    """Time each phase: seconds for a member in the first call and the best later one."""
    stages = aux_logits.compile_stages(setup, data, members())
    keys = aux_logits.member_keys(setup)[: config.members]
    square = jax.random.normal(jax.random.key(0), (CEILING, CEILING))
    product = jax.jit(jnp.matmul)
    product(square, square).block_until_ready()
    phases: dict[str, dict[str, float]] = {}

    def timed(name: str, flops: float, function: Callable, *args: Any) -> Any:
        first, result = seconds(function, *args)
        later, ceiling = [], []
        for _ in range(config.repeats):
            ceiling.append(seconds(product, square, square)[0])
            later.append(seconds(function, *args)[0])
        phases[name] = {
            "first": first / config.members,
            "later": min(later) / config.members,
            "flops": flops,
            "ceiling": 2 * CEILING**3 / min(ceiling) / 1e9,
        }
        return result

    inits = trees.take(aux_logits.initialise(setup), slice(config.members))
    teacher_rate = np.full(config.members, setup.teacher_lr, np.float32)
    student_rate = np.full(config.members, setup.student_recipe.learning_rate, np.float32)
    rows = len(data.train_images) * setup.teacher_recipe(len(data.train_images)).epochs
    classes, outputs = setup.net.classes, setup.net.classes + setup.net.auxiliary
    curve = len(stages.student_steps) * setup.curve_images * 2 * weights(setup, classes)
    flops = rows * training_flops(setup, classes) + curve
    teacher = timed("teacher", flops, stages.train_teacher, keys, inits, teacher_rate).params
    noise = timed("noise", 0, stages.draw_inputs, keys)
    forward = setup.noise_images * 2 * weights(setup, outputs)
    logits = timed("targets", forward, stages.teacher_logits, teacher, noise)
    rows = setup.noise_images * setup.student_epochs
    for name, imitate in stages.imitate.items():
        targets = logits[..., stages.outputs[name]]
        arguments = keys, inits, inits, teacher, noise, targets, student_rate
        flops = rows * training_flops(setup, targets.shape[-1]) + curve
        timed(f"student, {name}", flops, imitate, *arguments)
    forward = len(data.test_images) * 2 * weights(setup, classes)
    timed("evaluation", forward, stages.evaluate, inits)
    return phases


def seconds(function: Callable, *args: Any) -> tuple[float, Any]:
    """Time one call to its end."""
    began = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return time.perf_counter() - began, result


def weights(setup: AuxLogitsConfig, outputs: int) -> int:
    """Count the weights between an input and some outputs."""
    widths = (setup.net.inputs, *setup.widths, outputs)
    return sum(a * b for a, b in itertools.pairwise(widths))


def training_flops(setup: AuxLogitsConfig, outputs: int) -> int:
    """Count FLOPs for an image: forward, weight gradients, input gradients but the first."""
    everything = weights(setup, outputs)
    return 2 * (3 * everything - setup.net.inputs * setup.widths[0])


def race(setup: AuxLogitsConfig, data: ImageData, config: Config, ours: float) -> None:
    """Run torch end to end, and print how many times as fast we are."""
    import torch  # pyright: ignore[reportMissingImports]
    import torch_peer

    threads = torch.get_num_threads()
    square = torch.randn(CEILING, CEILING)
    product = min(seconds(torch.matmul, square, square)[0] for _ in range(5))
    rate = 2 * CEILING**3 / product / 1e9
    print(f"\ntorch {torch.__version__}, {threads} threads, {config.torch_members} members stacked")
    print(f"float32 matrix product {CEILING}³: {rate:.0f} GFLOP/s")
    for targets in ("once", "batch"):
        phases = dict(
            torch_peer.phases(
                torch.from_numpy(data.train_images.copy()),
                torch.from_numpy(data.train_labels.copy()).long(),
                members=config.torch_members,
                widths=(setup.net.inputs, *setup.widths, setup.net.classes + setup.aux),
                classes=setup.net.classes,
                noise_images=setup.noise_images,
                students=len(ARMS),
                epochs=setup.student_epochs,
                batch_size=setup.batch_size,
                learning_rate=setup.teacher_lr,
                targets=targets,
            )
        )
        member = {name: spent / config.torch_members for name, spent in phases.items()}
        whole = sum(member.values())
        said = {"once": "targets computed once, as ours", "batch": "targets in every batch"}[
            targets
        ]
        print(
            f"{said:32} {whole:6.2f} s a member, {whole / ours:.2f} times ours  "
            + json.dumps({name: round(spent, 2) for name, spent in member.items()})
        )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))
