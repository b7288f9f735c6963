"""The folder of a sweep: a run folder for each configuration, and what is finished in it."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import traceback
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError
from sublim_jax.sweep.grid import groups
from sublim_jax.sweep.table import sorting_key
from sublim_jax.training.preemption import Preempted

RECORD = "sweep.json"
C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class Sweepable(Protocol[C_contra]):
    """An experiment, as a sweep sees it; for `on_ray` one that can be pickled."""

    def program_of(self, config: C_contra) -> Hashable:
        """Say what the compiled program of a configuration depends on; equal results, one program.

        Configurations with equal results are run together.
        """
        ...

    def identity(self, config: C_contra) -> Mapping[str, Any]:
        """Say in plain values everything that the results depend on, as for `runs.open_run`.

        Its digest names the run folder.
        """
        ...

    def finished(self, folder: Path) -> bool:
        """Tell whether a run folder has its results."""
        ...

    def run(self, configs: Sequence[C_contra], folders: Sequence[Path], scratch: Path) -> None:
        """Fill the run folders of configurations of one program; resumable.

        Args:
            configs: the configurations.
            folders: a run folder for each, to be opened with its identity.
            scratch: a folder for checkpoints, the same for the same configurations.
        """
        ...

    def rows(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Lay out the results of a finished run: for each member its number and its results."""
        ...


@dataclasses.dataclass(frozen=True)
class Point(Generic[C]):
    """A configuration and its run folder."""

    config: C
    folder: Path


Unit = tuple[Point[C], ...]
"""What is run at one go: points of one compiled program."""


@dataclasses.dataclass(frozen=True)
class Sweep(Generic[C]):
    """Configurations of an experiment in one folder, which may grow and be worked on by many.

    Attributes:
        experiment: the experiment.
        folder: the folder of the sweep; each run folder in it is named by the digest of what its
            results depend on.
    """

    experiment: Sweepable[C]
    folder: Path

    def units(self, configs: Iterable[C]) -> list[Unit[C]]:
        """Give each configuration its run folder, and put those of one program together.

        The same for the same configurations, whatever is finished: tasks of an array job rely on
        it. Of configurations with the same results the first counts.
        """
        points: dict[str, Point[C]] = {}
        for config in configs:
            identity, point = self._identified(config)
            points.setdefault(json.dumps(identity, sort_keys=True), point)
        together = groups(points.values(), lambda point: self.experiment.program_of(point.config))
        return [tuple(unit) for unit in together]

    def point(self, config: C) -> Point[C]:
        """Give a configuration its run folder."""
        return self._identified(config)[1]

    def pending(self, units: Iterable[Unit[C]]) -> tuple[list[Point[C]], list[Unit[C]]]:
        """Part what is finished from what is to be run, on all hosts alike.

        Returns:
            Finished points, and units of those that are not.
        """
        units = list(units)
        points = [point for unit in units for point in unit]
        there = [self.experiment.finished(point.folder) for point in points]
        agreed = iter(hosts.agree(np.array(there, bool))[0])
        marked = [[(point, next(agreed)) for point in unit] for unit in units]
        finished = [point for unit in marked for point, there in unit if there]
        rest = [tuple(point for point, there in unit if not there) for unit in marked]
        return finished, [unit for unit in rest if unit]

    def run(self, unit: Unit[C]) -> None:
        """Run a unit to its end.

        What an experiment raises is raised again; the traceback of a fault that is not the user's
        is kept in the sweep's folder, below ``failures``.
        """
        scratch = self._scratch(unit)
        record = self.folder / "failures" / f"{unit[0].folder.name}.txt"
        try:
            self.experiment.run(
                [point.config for point in unit], [point.folder for point in unit], scratch
            )
            self._check(unit)
        except (InputError, Preempted):
            raise
        except Exception:
            # Of a unit of several each is tried alone, and then tells its own fault.
            if len(unit) == 1 and hosts.is_first():
                with contextlib.suppress(InputError):
                    runs.write_whole(record, traceback.format_exc().encode())
            raise
        if hosts.is_first():
            shutil.rmtree(scratch, ignore_errors=True)
            for point in unit:
                (record.parent / f"{point.folder.name}.txt").unlink(missing_ok=True)
            for folder in (scratch.parent, record.parent):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def claim(self, experiment: str, base: Any, vary: Mapping[str, Sequence[Any]]) -> None:
        """Note in the folder what is swept over, beside what was before.

        The note is for readers; what is finished is told by the run folders alone.

        Args:
            experiment: name of the experiment.
            base: configuration with the values of all fields that do not vary.
            vary: values by the field's name.

        Raises:
            InputError: the folder is another experiment's or no sweep's, or cannot be written.
        """
        if not hosts.is_first():
            return
        grids, entry = self.grids(experiment), runs.plain({"base": base, "vary": vary})
        if entry not in grids:
            text = json.dumps({"experiment": experiment, "grids": [*grids, entry]}, indent=2)
            runs.write_whole(self.folder / RECORD, f"{text}\n".encode())

    def grids(self, experiment: str) -> list[dict[str, Any]]:
        """Read what has been swept over: the base and the values of each grid.

        Args:
            experiment: name of the experiment.

        Raises:
            InputError: the folder is another experiment's or no sweep's, or cannot be read.
        """
        record = runs.Run(self.folder)
        if record.has(RECORD):
            found = record.read(RECORD)
            if not isinstance(found, dict) or found.get("experiment") != experiment:
                raise InputError(
                    f"{self.folder / RECORD} is of another experiment; expected a sweep of "
                    f"{experiment}, or a new folder"
                )
            return found["grids"]
        if self._visible():
            raise InputError(
                f"sweep folder {self.folder} holds files but no {RECORD}; expected a new folder or "
                "one that an earlier sweep has made"
            )
        return []

    def table(self) -> list[dict[str, Any]]:
        """Gather the results of all finished run folders, a row for each member.

        Returns:
            Rows with the name of the run folder, what its results depend on, the member and its
            results; in the order of the configurations' values, not of their execution.
        """
        found = []
        for folder in self._visible():
            if (folder / runs.CONFIG).is_file() and self.experiment.finished(folder):
                config = runs.Run(folder).read(runs.CONFIG)
                if runs.config_digest(config) == folder.name:
                    found.append((sorting_key(list(config.values())), folder, config))
        return [
            {"run": folder.name, **config, **row}
            for _, folder, config in sorted(found, key=lambda entry: entry[:2])
            for row in sorted(self.experiment.rows(folder), key=lambda row: row["member"])
        ]

    def _identified(self, config: C) -> tuple[dict[str, Any], Point[C]]:
        identity = runs.plain(self.experiment.identity(config))
        return identity, Point(config, self.folder / runs.config_digest(identity))

    def _scratch(self, unit: Unit[C]) -> Path:
        # Of exactly these, in this order: trainings under way are named by their places.
        names = " ".join(point.folder.name for point in unit)
        return self.folder / ".scratch" / hashlib.sha256(names.encode()).hexdigest()[:8]

    def _check(self, unit: Unit[C]) -> None:
        for point in unit:
            if hosts.is_first() and not self.experiment.finished(point.folder):
                raise RuntimeError(f"{point.folder} has no results though its run has ended")

    def _visible(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise InputError(
                f"sweep folder {self.folder} cannot be read ({fault.strerror}); expected a folder"
            ) from fault
