"""A training of one or several processes, for test_hosts.py: ``worker.py '{"mode": "pmap", …}'``.

Prints a line for every chunk, so that whoever started it knows how far it is, and leaves its
parameters and losses in ``result.npz``.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

given = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", given["devices"])

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import cli  # noqa: E402

from sublim_jax import hosts, rng  # noqa: E402
from sublim_jax.metrics import MetricsLog  # noqa: E402
from sublim_jax.training import (  # noqa: E402
    Checkpoints,
    Recipe,
    Session,
    Watch,
    make_fit,
    mesh_parallel,
    pmap_parallel,
)
from sublim_jax.training.preemption import listening  # noqa: E402

MODES = {
    "pmap": pmap_parallel,
    "mesh": mesh_parallel,
    "fsdp": lambda: mesh_parallel(fsdp=2, tensor=2),
}


def loss(params, batch):
    inputs, targets = batch
    return ((jax.numpy.tanh(inputs @ params["w"]) @ params["v"])[:, 0] - targets) ** 2


class Spoken(Session):
    """A session that says how far it is, and takes its time if asked to."""

    def reached(self, training, step, steps, progress):
        limit = super().reached(training, step, steps, progress)
        print(f"step {step}", file=sys.stderr, flush=True)
        time.sleep(given.get("pause", 0))
        return limit


def run(config, options):
    del config
    random = np.random.default_rng(0)
    params = {
        "w": random.normal(size=(16, 32)).astype(np.float32),
        "v": random.normal(size=(32, 1)).astype(np.float32),
    }
    rows = random.normal(size=(90, 16)).astype(np.float32), np.ones(90, np.float32)
    weights = random.uniform(0.5, 2, 90).astype(np.float32)
    watch = Watch((0, 5, 27), lambda p: jax.numpy.sum(p["w"] ** 2))
    fit = make_fit(
        loss,
        Recipe(learning_rate=0.01, epochs=3, batch_size=10),
        watch=watch,
        parallel=MODES[given["mode"]](),
    )
    folder = options.out
    with listening() as stop_requested, MetricsLog(folder / "metrics.jsonl") as metrics:
        session = Spoken(
            checkpoints=Checkpoints(folder / "checkpoints"),
            every_steps=3,
            metrics=metrics,
            stop_requested=stop_requested,
        )
        key = rng.stream(jax.random.key(0), "order")
        with session:
            fitted = fit(params, rows, key=key, weights=weights, attached=session)
    whole = hosts.gather({"params": fitted.params, "losses": fitted.losses})
    seen = hosts.gather(fitted.observations)
    if hosts.is_first():
        np.savez(folder / "result.npz", **whole["params"], losses=whole["losses"], seen=seen)


options = cli.Options(
    out=Path(given["folder"]),
    cluster=hosts.Cluster(
        coordinator=given.get("coordinator"),
        process_id=given.get("id"),
        process_count=given.get("count"),
    ),
)
cli.guarded(run, None, options)
