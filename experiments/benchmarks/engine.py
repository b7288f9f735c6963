"""What the training engine costs beside the training itself, as ratios within one run.

    python experiments/benchmarks/engine.py               # about six minutes on two cores
    python experiments/benchmarks/engine.py --repeats 1   # two minutes

Measured in turn and repeatedly, so that a change of the machine's load hits all alike; medians:
the official set-up of a student (MLP 784-256-256-13, Adam, 60,000 noise images, batches of 1,024)
as a bare scan and as `fit` with what rides along; a checkpoint of 500 MB written beside a training;
`pmap` against a mesh on two virtual devices; the drift tracker against a step; and members from 1
to 64, one after another and stacked.

Target: `fit` with drift tracking and a checkpoint a minute costs less than 3 % more than the bare
scan. (The measured training saves far more often, to tell what a single checkpoint costs.)
"""

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_num_cpu_devices", 2)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import tyro  # noqa: E402

from sublim_jax import drift, losses, rng, runs, trees  # noqa: E402
from sublim_jax.data.noise import uniform_noise  # noqa: E402
from sublim_jax.nets import MLPConfig, mlp  # noqa: E402
from sublim_jax.training import (  # noqa: E402
    QUIET,
    Attached,
    Checkpoints,
    Fit,
    Parallel,
    Recipe,
    Session,
    TrainState,
    Watch,
    epoch_order,
    make_fit,
    members,
    mesh_parallel,
    pmap_parallel,
    watch_steps,
)

SHAPE = MLPConfig(auxiliary=3)
NET = mlp(SHAPE)
KEY = jax.random.key(0)
RECIPE = Recipe(epochs=10)
CHECKPOINT_STEPS = 295  # 2.5 s here; users save every five minutes by default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    repeats: int = 3
    """Timed rounds after the first."""
    images: int = 60_000
    """Noise images of a student."""
    most_members: int = 64
    """Members at the end of the growth curve."""


def imitation_loss(params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Compare auxiliary logits with the teacher's."""
    inputs, targets = batch
    return losses.kl(NET.apply(params, inputs)[:, SHAPE.auxiliary_logits], targets)


def problem(images: int) -> tuple[Any, Any, tuple[jax.Array, jax.Array]]:
    """Make an initialisation, a teacher near it, and what it says of noise."""
    init, move = (NET.init(rng.stream(KEY, name)) for name in ("init", "move"))
    teacher = jax.tree.map(lambda p, d: p + 0.1 * d, init, move)
    noise = uniform_noise(rng.stream(KEY, "noise"), rows=images, features=SHAPE.inputs)
    return init, teacher, (noise, NET.apply(teacher, noise)[:, SHAPE.auxiliary_logits])


def main(config: Config) -> None:
    """Measure and print."""
    print(f"{runs.processor_name()}, {os.cpu_count()} cores; jax {jax.__version__}")
    print(f"medians of {config.repeats} rounds\n")
    overhead(config)
    big_checkpoint(config)
    modes(config)
    growth(config)


def rounds(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Run all variants in turn, one warm-up round first; median seconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, function in variants.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            if turn:
                spent[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def bare_scan(init: Any, rows: Any) -> Callable[[], Any]:
    """Make the peer: a training as one would write it down, a jitted scan, state donated."""
    optimizer = optax.adam(RECIPE.learning_rate)

    @jax.jit
    def order() -> jax.Array:
        return epoch_order(
            KEY, rows=len(rows[0]), epochs=RECIPE.epochs, batch_size=RECIPE.batch_size
        )

    def step(state: TrainState, indices: jax.Array, rows: Any) -> tuple[TrainState, jax.Array]:
        def loss(params: Any) -> jax.Array:
            each = imitation_loss(params, trees.take(rows, jnp.maximum(indices, 0)))
            weights = (indices >= 0).astype(jnp.float32)
            return jnp.sum(weights * each) / jnp.sum(weights)

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), value

    train = jax.jit(
        lambda state, order, rows: jax.lax.scan(lambda s, i: step(s, i, rows), state, order),
        donate_argnums=0,
    )

    def run() -> Any:
        params = jax.tree.map(jnp.copy, init)
        return train(TrainState(params, optimizer.init(params)), order(), rows)

    return run


def fitted(
    init: Any, rows: Any, watch: Watch | None, attach: Callable[[], Any]
) -> Callable[[], Fit]:
    """Make a training by the engine."""
    fit = make_fit(imitation_loss, RECIPE, watch=watch or Watch())

    def run() -> Fit:
        with attach() as attached:
            return fit(init, rows, key=KEY, attached=attached)

    return run


@contextlib.contextmanager
def nothing() -> Iterator[Attached]:
    """Attach nothing."""
    yield QUIET


def overhead(config: Config) -> None:
    """Compare the bare scan with what the engine adds."""
    init, teacher, rows = problem(config.images)
    track = drift.tracker(init=init, teacher=teacher, teacher_init=init)
    steps = RECIPE.epochs * -(-config.images // RECIPE.batch_size)
    watch = Watch(watch_steps(steps, 16), track)
    with tempfile.TemporaryDirectory() as folder:

        def session(**how: Any) -> Session:
            return Session(checkpoints=Checkpoints(Path(folder, str(time.time_ns()))), **how)

        took = rounds(
            {
                "bare scan": bare_scan(init, rows),
                "fit": fitted(init, rows, None, nothing),
                "fit, drift at 16 steps": fitted(init, rows, watch, nothing),
                "… and a session": fitted(init, rows, watch, session),
                f"… and a checkpoint every {CHECKPOINT_STEPS} steps": fitted(
                    init, rows, watch, lambda: session(every_steps=CHECKPOINT_STEPS)
                ),
            },
            config.repeats,
        )
    bare = took["bare scan"]
    print(f"{f'a student, {steps} steps':42}{'seconds':>9}{'of bare':>9}")
    for name, seconds in took.items():
        print(f"{name:42}{seconds:9.3f}{seconds / bare:9.3f}")
    rare, often = list(took.values())[-2:]
    each = (often - rare) / (steps // CHECKPOINT_STEPS)
    minutely = rare / bare + each / 60
    print(f"a checkpoint: {1e3 * each:.0f} ms; with one a minute {minutely:.3f} of bare")
    observe = jax.jit(track)
    once = rounds({"tracker": lambda: [observe(teacher) for _ in range(100)]}, config.repeats)
    call = once["tracker"] / 100
    print(f"\ndrift tracker: {1e3 * call:.2f} ms a call, {call / (bare / steps):.2f} of a step\n")


def big_checkpoint(config: Config) -> None:
    """Write 500 MB beside a training: how long it stops, and how much it slows."""
    init, _, rows = problem(config.images)
    plain = fitted(init, rows, None, nothing)
    big = {str(i): jax.random.normal(jax.random.key(i), (5_000_000,)) for i in range(25)}
    stops, writes = [], []

    def beside() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder))
            began = time.perf_counter()
            checkpoints.save("big", 1, big)
            stops.append(time.perf_counter() - began)
            result = jax.block_until_ready(plain())
            checkpoints.wait()
            writes.append(time.perf_counter() - began)
            return result

    took = rounds({"alone": plain, "beside": beside}, config.repeats)
    slower = took["beside"] - took["alone"]
    print(
        f"checkpoint of 500 MB beside a training of {took['alone']:.2f} s: stops it for "
        f"{statistics.median(stops):.3f} s, lengthens it by {slower:.2f} s in all\n"
    )


def modes(config: Config) -> None:
    """Compare the two data-parallel modes on two virtual devices, and with one device."""
    init, _, rows = problem(config.images)

    def training(parallel: Parallel) -> Callable[[], Any]:
        fit = make_fit(imitation_loss, RECIPE, parallel=parallel)
        placed = parallel.place(rows, "own")
        return lambda: fit(init, placed, key=KEY)

    took = rounds(
        {
            "one device": training(mesh_parallel(jax.devices()[:1])),
            "pmap, 2 devices": training(pmap_parallel()),
            "mesh, data=2": training(mesh_parallel()),
            "mesh, fsdp=2": training(mesh_parallel(fsdp=2)),
            "mesh, tensor=2": training(mesh_parallel(tensor=2)),
        },
        config.repeats,
    )
    print(f"{'a student':24}{'seconds':>9}{'of pmap':>9}")
    for name, seconds in took.items():
        print(f"{name:24}{seconds:9.3f}{seconds / took['pmap, 2 devices']:9.3f}")
    print()


def growth(config: Config) -> None:
    """Train more and more members: speed and memory of each."""
    images, recipe = 2048, Recipe(epochs=4, batch_size=256)
    init, _, rows = problem(images)
    steps = recipe.epochs * images // recipe.batch_size
    print(f"members of {images:,} images, batches of {recipe.batch_size}, on one device")
    print(f"{'members':>8}{'batching':>10}{'steps/s each':>14}{'steps/s all':>13}{'MB each':>9}")
    count = 1
    while count <= config.most_members:
        for batching in ("map", "vmap"):
            parallel = members(jax.devices()[:1], batching=batching)
            fit = make_fit(imitation_loss, recipe, parallel=parallel)
            stacked = jax.tree.map(
                lambda a, count=count: np.broadcast_to(np.asarray(a), (count, *a.shape)),
                (init, rows),
            )
            start, data = parallel.place(stacked, "own")
            keys = jax.random.split(KEY, count)
            took = rounds(
                {
                    "all": lambda fit=fit, start=start, data=data, keys=keys: fit(
                        start, data, key=keys
                    )
                },
                1,
            )["all"]
            program: Any = fit.programs.advance
            memory = program.lower(*fit.described(start, data)).compile().memory_analysis()
            held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
            held += memory.output_size_in_bytes - memory.alias_size_in_bytes
            print(
                f"{count:8}{batching:>10}{steps / took:14.1f}{count * steps / took:13.1f}"
                f"{held / count / 1e6:9.1f}"
            )
        count *= 2


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))
