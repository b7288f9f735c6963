"""What drift costs: of checkpoints on disk beside plain reading, in a training beside its steps.

    python experiments/benchmarks/drift.py                  # 12 GB of disk, about four minutes
    python experiments/benchmarks/drift.py --gigabytes 0.5  # a minute and a half

Makes three checkpoints of one model (initialisation, teacher, student) as sharded safetensors, then
measures in turn and repeatedly, so that a change of the machine's load hits all alike: reading all
bytes of the three into a buffer; reading and widening them to float32, as the comparison gets them;
the comparison in this process; and the command ``sublim-jax drift`` in a process of its own, whose
peak memory is compared with the limit of twice the largest tensor (in float32) and 300 MB.

What fits into the system's cache is read from there, a rate that no disk has: the comparison then
shows what it can do at most. With ``--cold`` the cache is emptied of the files before every round.

Then trains a student of the official set-up, with a tracker as often as the front door has it, and
without: the tracker's share is what its calls take, timed by themselves, of all the steps. (The
difference of two trainings tells the same with the noise of both.)
"""

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import engine
import jax
import ml_dtypes
import numpy as np
import tyro
from safetensors.numpy import save_file

from sublim_jax import drift, runs
from sublim_jax.drift import files
from sublim_jax.errors import InputError
from sublim_jax.training import Watch, steps_per_epoch, watch_steps

ROLES = ("init", "teacher", "student")
WIDTH, VOCABULARY, LAYERS_A_SHARD = 2048, 32_768, 4
BUFFER = 1 << 20
SPARE = 300e6
OBSERVED, STEPS = 16, 295  # of the front door by default
CALLS = 100
# Starts the command and prints the most memory that its process has held, in kilobytes. Linux's
# ru_maxrss would count what the parent held when it started the process.
MEASURED = """
import pathlib, resource, sys
from sublim_jax.commands import main
main(sys.argv[1:])
try:
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
except OSError:
    bytes_each = 1024 if sys.platform == "darwin" else 1
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // bytes_each)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    gigabytes: float = 4.0
    """Size of each of the three checkpoints."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """As what the weights are stored."""
    repeats: int = 3
    """Rounds."""
    width: int = WIDTH
    """Width of the model."""
    vocabulary: int = VOCABULARY
    """Rows of its largest tensor."""
    folder: Path | None = None
    """Where to make the files, by default the system's temporary folder."""
    cold: bool = False
    """Empty the system's cache of the files before every round, to read from the disk."""
    only: Literal["files", "training"] | None = None
    """Which of the two parts is measured; by default both."""


def main(config: Config) -> None:
    """Measure and print."""
    print(f"{runs.processor_name()}, {os.cpu_count()} cores; numpy {np.__version__}")
    if config.only != "training":
        with tempfile.TemporaryDirectory(dir=config.folder) as folder:
            comparison(config, Path(folder))
    if config.only != "files":
        tracking(config)


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """List the tensors of a decoder of about the size that is asked for."""
    width, size = config.width, np.dtype(getattr(ml_dtypes, config.dtype, config.dtype)).itemsize
    layer = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.k_proj.weight": (width // 4, width),
        "self_attn.v_proj.weight": (width // 4, width),
        "self_attn.o_proj.weight": (width, width),
        "mlp.gate_proj.weight": (4 * width, width),
        "mlp.up_proj.weight": (4 * width, width),
        "mlp.down_proj.weight": (width, 4 * width),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    embedding = {"model.embed_tokens.weight": (config.vocabulary, width)}
    entries = sum(int(np.prod(shape)) for shape in layer.values())
    rest = config.gigabytes * 1e9 / size - config.vocabulary * width
    layers = max(1, -(-int(rest) // entries))
    return embedding | {
        f"model.layers.{i}.{kind}": shape for i in range(layers) for kind, shape in layer.items()
    }


def make(folder: Path, config: Config) -> dict[str, Path]:
    """Write the three checkpoints, a shard at a time.

    Raises:
        InputError: the disk has no room.
    """
    wanted, room = 3e9 * config.gigabytes, shutil.disk_usage(folder).free
    if room < 1.2 * wanted:
        raise InputError(
            f"{folder} has {room / 1e9:.1f} GB free; expected {1.2 * wanted / 1e9:.1f} GB"
        )
    dtype = np.dtype(getattr(ml_dtypes, config.dtype, config.dtype))
    random = np.random.default_rng(0)
    noise = random.standard_normal(1 << 22, np.float32)
    for role in ROLES:
        (folder / role).mkdir()
        index: dict[str, str] = {}
        for number, names in enumerate(shards(shapes(config))):
            file = f"model-{number:05}.safetensors"
            tensors = {
                name: weights(name, shape, role, noise).astype(dtype)
                for name, shape in names.items()
            }
            save_file(tensors, folder / role / file)
            index |= dict.fromkeys(names, file)
        content = json.dumps({"weight_map": index})
        (folder / role / "model.safetensors.index.json").write_text(content)
    return {role: folder / role for role in ROLES}


def shards(tensors: dict[str, tuple[int, ...]]) -> Iterator[dict[str, tuple[int, ...]]]:
    """Split the tensors into shards of a few layers each."""
    held: dict[str, tuple[int, ...]] = {}
    for name, shape in tensors.items():
        if len(held) == 9 * LAYERS_A_SHARD:
            yield held
            held = {}
        held[name] = shape
    yield held


def weights(name: str, shape: tuple[int, ...], role: str, noise: np.ndarray) -> np.ndarray:
    """Make weights from a pool of normal numbers: the same start for all roles, and moves."""
    count = int(np.prod(shape))
    shift = sum(map(ord, name))

    def some(by: int) -> np.ndarray:
        return np.resize(np.roll(noise, shift + by), count)

    start = some(0) * np.float32(0.02)
    if role != "init":
        start += some(1) * np.float32(0.002 if role == "teacher" else 0.001)
    if role == "student":
        start += some(2) * np.float32(0.001)
    return start.reshape(shape)


def comparison(config: Config, folder: Path) -> None:
    """Compare reading with comparing."""
    paths = make(folder, config)
    every = sorted(file for path in paths.values() for file in path.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in every)
    largest = 4 * max(int(np.prod(shape)) for shape in shapes(config).values())
    print(f"three checkpoints of {size / 3e9:.2f} GB in {config.dtype}, {len(every)} shards")
    peaks: list[float] = []

    def command() -> None:
        peaks.append(in_a_process(paths, folder / "out"))

    rates = rounds(
        {
            "plain reading": lambda: read(every),
            "reading as float32": lambda: widen(paths),
            "comparison": lambda: compare(paths),
            "sublim-jax drift": command,
        },
        size,
        config,
        every,
    )
    print(f"{'':22}{'GB/s':>8}{'of plain':>10}")
    for name, rate in rates.items():
        print(f"{name:22}{rate:8.2f}{rate / rates['plain reading']:10.2f}")
    limit, peak = 2 * largest + SPARE, max(peaks)
    print(
        f"peak memory of sublim-jax drift: {peak / 1e6:.0f} MB, largest tensor "
        f"{largest / 1e6:.0f} MB in float32; limit {limit / 1e6:.0f} MB: "
        + ("kept" if peak < limit else "BROKEN")
    )


def rounds(
    variants: dict[str, Callable[[], None]], size: int, config: Config, every: list[Path]
) -> dict[str, float]:
    """Run all variants in turn; median GB/s of each."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(config.repeats + (not config.cold)):
        for name, function in variants.items():
            if config.cold:
                forget(every)
            began = time.perf_counter()
            function()
            if turn or config.cold:  # the first round fills the cache
                spent[name].append(time.perf_counter() - began)
    return {name: size / statistics.median(values) / 1e9 for name, values in spent.items()}


def forget(every: list[Path]) -> None:
    """Ask the system to drop files from its cache."""
    for file in every:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read(every: list[Path]) -> None:
    """Read all bytes into a buffer."""
    buffer = bytearray(BUFFER)
    for file in every:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def widen(paths: dict[str, Path]) -> None:
    """Read all tensors as float32, one file after another."""
    for path in paths.values():
        source = files.open_weights(path)
        for name in source.tensors:
            for _ in source.blocks(name, elements=1 << 16):
                pass


def compare(paths: dict[str, Path]) -> None:
    """Compare, as a library."""
    init, teacher, student = (files.open_weights(paths[role]) for role in ROLES)
    files.compare(init, teacher, student)


def in_a_process(paths: dict[str, Path], out: Path) -> float:
    """Run the command; returns the most memory that its process has held, in bytes."""
    options = [word for role in ROLES for word in (f"--{role}", str(paths[role]))]
    finished = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-c", MEASURED, "drift", *options, "--out", str(out), "--quiet"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    return 1024.0 * int(finished.stdout)


def tracking(config: Config) -> None:
    """Compare a student's training with and without a tracker."""
    init, teacher, rows = engine.problem(60_000)
    steps = engine.RECIPE.epochs * steps_per_epoch(60_000, engine.RECIPE.batch_size)
    at = watch_steps(steps, steps * OBSERVED // STEPS)

    def track(student: Any, before: Any = None) -> drift.Drift:
        return drift.tracker(init=init, teacher=teacher, teacher_init=init, before=before)(student)

    variants = {
        "no drift": None,
        "drift": Watch(at, track),
        "drift and pull": Watch(at, track, remember=lambda student: student),
    }
    calls = {"drift": (teacher,), "drift and pull": (teacher, init)}
    observe = jax.jit(track)
    took = engine.rounds(
        {name: engine.fitted(init, rows, watch, engine.nothing) for name, watch in variants.items()}
        | {
            f"calls: {name}": lambda given=given: [observe(*given) for _ in range(CALLS)]
            for name, given in calls.items()
        },
        config.repeats,
    )
    bare = took["no drift"]
    print(f"\n{f'a student, {steps} steps, {len(at)} observed':40}{'seconds':>9}{'tracker':>9}")
    for name in variants:
        share = f"{took[f'calls: {name}'] / CALLS * len(at) / bare:9.1%}" if name in calls else ""
        print(f"{name:40}{took[name]:9.3f}{share}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))
