"""How fast language models sample and train, against transformers and against the machine.

    pip install -e ".[bench]"
    python experiments/benchmarks/lm.py               # about ten minutes on two cores
    python experiments/benchmarks/lm.py --repeats 1   # half of that

SmolLM2-135M in float32. Ours and Hugging Face's transformers (with peft) on torch run in a process
each, which have the same weights and take turns, so that a change of the machine's load hits both;
best of the repeats, compilation not counted. The ceiling is XLA's float32 product of two matrices,
2048 and 4096 wide, measured between the turns. FLOPs are those of matrix products, counted from the
shapes: 2 for a multiply and an add, attention left out; those of rematerialisation are not counted.

Targets: sampling of many rows at 4 times the speed of transformers, training at 2.2 times;
training and prefill at 60 % of the ceiling, sampling of many rows at 45 %; full fine-tuning in 4
GiB; loading in 3 s; from the command to the first token 8 s, both from a warm cache.
"""

import dataclasses
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tyro

ROWS, PROMPT, NEW = 64, 92, 48
TRAIN_ROWS = 16
QUESTION = "What is the capital of France?"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    repeats: int = 3
    """Timed turns of each case after the first."""
    peer: bool = True
    """Whether to race transformers, where torch is installed."""
    model: str = "smollm2"
    """Any model that `lm.load` takes."""
    only: str = ""
    """Measure only cases in whose name this is found."""
    out: Path | None = None
    """JSON file for the numbers."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        name: of the case.
        tokens: that count for its speed.
        passes: of each token through the layers, and through the head, forward ones.
        target: speed in terms of transformers', and share of the ceiling.
    """

    name: str
    tokens: int
    passes: tuple[float, float]
    target: tuple[float | None, float | None]


_READ = ROWS * PROMPT
_SAMPLED = ROWS * NEW
_TRAINED = TRAIN_ROWS * PROMPT
CASES = (
    Case("prefill, 64 rows", _READ, (_READ, ROWS), (None, 0.6)),
    Case("sampling, 64 rows of one prompt", _SAMPLED, (PROMPT + _SAMPLED, _SAMPLED), (4, 0.45)),
    Case("sampling, 64 prompts", _SAMPLED, (_READ + _SAMPLED, _SAMPLED), (4, 0.45)),
    Case("sampling, one row", NEW, (PROMPT + NEW, NEW), (None, None)),
    Case("full fine-tuning, 16 rows", _TRAINED, (3 * _TRAINED, 3 * _TRAINED), (2.2, 0.6)),
    Case("LoRA rank 8, 16 rows", _TRAINED, (2 * _TRAINED, 2 * _TRAINED), (2.2, 0.6)),
    Case("KL to a teacher, LoRA", _TRAINED, (2 * _TRAINED, 3 * _TRAINED), (2.2, 0.6)),
)


def main(config: Config) -> None:
    """Measure and print."""
    peer = config.peer and importlib.util.find_spec("torch") is not None
    with tempfile.TemporaryDirectory() as folder:
        ours = Worker("ours", config.model, folder)
        print(ours.ask("about"), flush=True)
        theirs = Worker("peer", config.model, folder) if peer else None
        ceiling, seconds = [ours.ask("ceiling")], {}
        for case in (case for case in CASES if config.only in case.name):
            both = [("ours", ours)] + ([("peer", theirs)] if theirs else [])
            turns: dict[str, list[float]] = {name: [] for name, _ in both}
            for _ in range(config.repeats + 1):
                for name, worker in both:
                    turns[name].append(worker.ask(case.name))
                ceiling.append(ours.ask("ceiling"))
            seconds[case.name] = {name: min(times[1:]) for name, times in turns.items()}
            print(_line(case, seconds[case.name], ours.ask("weights"), max(ceiling)), flush=True)
        ours.end()
        if theirs:
            theirs.end()
    print(f"ceiling: {max(ceiling):.0f} GFLOP/s (lowest {min(ceiling):.0f})")
    alone = _alone(config.model)
    for name, value in alone.items():
        print(f"{name}: {value}")
    if config.out:
        found = {"seconds": seconds, "ceiling": ceiling, **alone}
        config.out.write_text(json.dumps(found, indent=1) + "\n")


def _line(case: Case, found: dict[str, float], weights: tuple[int, int], ceiling: float) -> str:
    flops = 2 * sum(passes * count for passes, count in zip(case.passes, weights, strict=True))
    share = flops / found["ours"] / 1e9 / ceiling
    text = f"{case.name:32}{case.tokens / found['ours']:8.0f} tokens/s{share:6.0%} of the ceiling"
    if "peer" in found:
        times = found["peer"] / found["ours"]
        text += f"; transformers {case.tokens / found['peer']:6.0f} tokens/s: {times:.1f} times"
    faster, high = case.target
    wanted = ([] if faster is None else [f"{faster} times"]) + (
        [] if high is None else [f"{high:.0%}"]
    )
    return text + (f"  (target {', '.join(wanted)})" if wanted else "")


def _alone(model: str) -> dict[str, str]:
    """Measure what needs a process of its own."""
    here = [sys.executable, "-c"]
    load = f"from sublim_jax import lm; import time; t = time.time(); lm.load({model!r}); "
    took = [float(_output([*here, load + "print(time.time() - t)"])) for _ in range(3)]
    command = [sys.executable, "-m", "sublim_jax.commands", "generate", "--model", model, QUESTION]
    answers = []
    for _ in range(3):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603
            assert child.stdout is not None  # noqa: S101
            child.stdout.read(1)
            answers.append(time.perf_counter() - start)
    memory = "import lm; lm.peak()"
    peak = int(_output([*here, memory], cwd=Path(__file__).parent))
    return {
        "loading": f"{min(took):.1f} s (target 3)",
        "command to first token": f"{min(answers):.1f} s, first {answers[0]:.1f} (target 8)",
        "peak memory of full fine-tuning": f"{peak / 2**30:.2f} GiB (target 4)",
    }


def _output(command: list[str], cwd: Path | None = None) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)  # noqa: S603
    return found.stdout.split()[-1]


def peak() -> None:
    """Fine-tune all parameters in this process, and print the most bytes it has held."""
    import resource

    from sublim_jax import lm

    config, params, _ = lm.load("smollm2")
    ours = Ours(config, params)
    ours.memory()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class Worker:
    """A process that measures when it is asked to."""

    def __init__(self, side: str, model: str, folder: str) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._own, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, side, model, folder))
        self._process.start()

    def ask(self, what: str) -> Any:
        """Have it measure, and wait for the result."""
        self._own.send(what)
        return self._own.recv()

    def end(self) -> None:
        """Have it end."""
        self._own.send(None)
        self._process.join()


def serve(connection: Connection, side: str, model: str, folder: str) -> None:
    """Measure what is asked for until nothing is."""
    if side == "ours":
        from sublim_jax import lm

        config, params, tokenizer = lm.load(model)
        lm.save(folder, config, params, tokenizer)
        cases: dict[str, Callable[[], Any]] = Ours(config, params).cases()
    else:
        from lm_peer import Peer

        peer = Peer(folder, rows=ROWS, prompt=PROMPT, new=NEW, train_rows=TRAIN_ROWS)
        cases = peer.cases()
    while (what := connection.recv()) is not None:
        connection.send(cases[what]())


class Ours:
    """Our side: every case as a function that gives its seconds."""

    def __init__(self, config: Any, params: Any) -> None:
        """Prepare tokens; what they are makes no difference to the time."""
        import jax
        import numpy as np

        from sublim_jax import lm

        self.config, self.params, self.key = config, params, jax.random.key(0)
        draw = np.random.default_rng(0).integers(100, config.vocabulary, (ROWS, PROMPT))
        self.tokens = draw.astype(np.int32)
        learned = np.arange(PROMPT) > 0
        self.rows = [lm.Row(tokens, learned) for tokens in self.tokens[:TRAIN_ROWS]]

    def cases(self) -> dict[str, Callable[[], Any]]:
        """Name what can be asked for."""
        import jax

        from sublim_jax import lm

        one = [self.tokens[0]]
        other = jax.tree.map(lambda a: 1.01 * a, self.params)
        full, thin, teacher = lm.Full(), lm.LoRA(), lm.Teacher(other)
        measured = (
            self._prefill,
            lambda: self._sample(one * ROWS),
            lambda: self._sample(list(self.tokens)),
            lambda: self._sample(one),
            lambda: self._step(full),
            lambda: self._step(thin),
            lambda: self._step(thin, teacher),
        )
        asked = {case.name: function for case, function in zip(CASES, measured, strict=True)}
        return asked | {"about": self._about, "ceiling": self._ceiling, "weights": self._weights}

    def memory(self) -> None:
        """Take a few steps of full fine-tuning in little memory."""
        from sublim_jax import lm

        self._step(lm.Full(), computing=lm.Computing(remat=True, chunk=256, unroll=False))

    def _about(self) -> str:
        import jax

        from sublim_jax import runs

        return f"{runs.processor_name()}, {os.cpu_count()} cores; jax {jax.__version__}"

    def _weights(self) -> tuple[int, int]:
        """Count the weights of products: of all layers, and of the head."""
        import jax

        leaves = jax.tree_util.tree_leaves_with_path(self.params["layers"])
        layers = sum(leaf.size for path, leaf in leaves if "kernel" in str(path[-1]))
        return layers, self.params["embedding"]["table"].size

    def _ceiling(self) -> float:
        import jax
        import jax.numpy as jnp

        best = 0.0
        for width in (2048, 4096):
            square = jnp.ones((width, width))
            product = jax.jit(jnp.matmul)
            product(square, square).block_until_ready()
            for _ in range(3):
                start = time.perf_counter()
                product(square, square).block_until_ready()
                best = max(best, 2 * width**3 / (time.perf_counter() - start) / 1e9)
        return best

    def _prefill(self) -> float:
        import jax

        from sublim_jax import lm

        if not hasattr(self, "_read"):
            self._unrolled = jax.jit(lm.unrolled)(self.params)
            self._read = jax.jit(lambda p, t: lm.hidden(self.config, p, t)[:, -1])
        start = time.perf_counter()
        self._read(self._unrolled, self.tokens).block_until_ready()
        return time.perf_counter() - start

    def _sample(self, prompts: list[Any]) -> float:
        from sublim_jax import lm

        start = time.perf_counter()
        limits = lm.Limits(tokens=NEW, rows=ROWS)
        lm.sample(self.config, self.params, prompts, limits=limits, key=self.key)
        return time.perf_counter() - start

    def _step(self, train: Any, teacher: Any = None, **options: Any) -> float:
        from sublim_jax import lm
        from sublim_jax.training import Recipe

        clock = Clock()
        lm.finetune(
            *(self.config, self.params, self.rows),
            train=train,
            teacher=teacher,
            recipe=Recipe(learning_rate=1e-5, epochs=3, batch_size=TRAIN_ROWS),
            length=PROMPT,
            attached=clock,
            key=self.key,
            **options,
        )
        return min(clock.steps())


class Clock:
    """Attached to a training, notes the time of every step."""

    def __init__(self) -> None:
        """Begin."""
        self._times: list[float] = []

    def resume(self, training: str, progress: Any) -> tuple[int, Any]:
        """Begin at the beginning."""
        del training
        return 0, progress

    def reached(self, training: str, step: int, steps: int, progress: Any) -> int:
        """Note the time after each step."""
        del training, steps
        progress.losses.block_until_ready()
        self._times.append(time.perf_counter())
        return step + 1

    def steps(self) -> list[float]:
        """Give the seconds of each step but the first, which may have compiled."""
        return [b - a for a, b in zip(self._times[1:], self._times[2:], strict=False)]


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
