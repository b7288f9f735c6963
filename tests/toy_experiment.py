"""An experiment that trains nothing, for tests of sweeps; it can be told to fail."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

sys.path.append(str(Path(__file__).parents[1] / "experiments"))

import cli

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.training.preemption import Preempted, listening


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """What the results depend on."""

    rate: float = 0.5
    widths: tuple[int, ...] = (4, 4)
    bias: bool = False
    kind: Literal["left", "right"] = "left"
    limit: int | None = None
    members: int = 2

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise InputError(f"rate is {self.rate}; expected a positive number")
        if self.kind == "right" and self.bias:
            raise InputError("bias is True with kind right; expected kind left")


PRESETS = {"default": ToyConfig(), "quick": ToyConfig(members=1)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How it is executed: which rates do not come to a result."""

    bad: tuple[float, ...] = ()
    refused: tuple[float, ...] = ()
    crashing: tuple[float, ...] = ()
    interrupted: tuple[float, ...] = ()
    waiting: tuple[float, ...] = ()
    calls: Path | None = None


@dataclasses.dataclass(frozen=True)
class Toy:
    """The experiment, as a sweep sees it."""

    options: Options = Options()

    def program_of(self, config: ToyConfig) -> Any:
        return config.widths, config.kind

    def identity(self, config: ToyConfig) -> dict[str, Any]:
        limit = 10 if config.limit is None else config.limit
        return dataclasses.asdict(config) | {"limit": limit}

    def finished(self, folder: Path) -> bool:
        return (folder / "results.json").exists()

    def run(self, configs, folders, scratch) -> None:
        if self.options.calls is not None:
            with self.options.calls.open("a") as file:
                file.write(" ".join(f"{config.rate:g}" for config in configs) + "\n")
        scratch.mkdir(parents=True, exist_ok=True)
        for config, folder in zip(configs, folders, strict=True):
            with runs.open_run(folder, self.identity(config)):
                self._train(config, scratch)
        for config, folder in zip(configs, folders, strict=True):
            with runs.open_run(folder, self.identity(config)) as run:
                results = [config.rate * (member + 1) / 3 for member in range(config.members)]
                run.write("results.json", {"accuracy": results})

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        results = runs.Run(folder).read("results.json")["accuracy"]
        rows = [{"member": i, "student.accuracy": value} for i, value in enumerate(results)]
        return rows[::-1]  # a sweep sorts them

    def _train(self, config: ToyConfig, scratch: Path) -> None:
        if config.rate in self.options.bad:
            raise ArithmeticError(f"rate {config.rate} diverged\nat step 3")
        if config.rate in self.options.refused:
            raise InputError(f"rate is {config.rate}; expected another one")
        if config.rate in self.options.crashing:
            os.kill(os.getpid(), signal.SIGKILL)
        if config.rate in self.options.interrupted:
            raise KeyboardInterrupt
        if config.rate in self.options.waiting:
            with listening() as stop_requested:
                (scratch / "waiting").touch()
                while not stop_requested():
                    time.sleep(0.05)
                (scratch / "saved").touch()
                raise Preempted("waiting", 1, saved=True)


SWEEP = Toy
