"""A run of numbers on one or several processes, for test_numbers_hosts.py."""

import dataclasses
import json
import sys
from pathlib import Path

import jax

given = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", given["devices"])

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("experiments", "tests", "tests/lm_traits")]
import cli  # noqa: E402
from lm_run import Options, spread  # noqa: E402
from tiny_numbers import TINY, model  # noqa: E402

from sublim_jax import hosts, lm_traits, runs  # noqa: E402

CONFIG = dataclasses.replace(
    TINY,
    seeds=1,
    arms=("same", "untuned"),
    channel="text",
    constrained=True,
    row_count=8,
    requests=70,
    answer_tokens=60,
    student_lr=0.02,
    teacher_lr=0.01,
    teacher_certainty=1e-12,
)


def run(config, options):
    with (
        runs.open_run(options.out, dataclasses.asdict(config)) as folder,
        cli.session(options, options.out / "checkpoints") as session,
    ):
        lm_traits.run_traits(
            *(config, folder),
            load=lambda parallel: model()._replace(params=parallel.place(model().params, "frozen")),
            parallel=spread(options),
            session=session,
        )


options = Options(
    out=Path(given["folder"]),
    fsdp=2,
    cluster=hosts.Cluster(
        coordinator=given.get("coordinator"),
        process_id=given.get("id"),
        process_count=given.get("count"),
    ),
)
cli.guarded(run, CONFIG, options)
