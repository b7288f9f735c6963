"""A run folder: one configuration, its manifest, its parts as they finish, its results.

A run is a function from a configuration to a folder, idempotent and resumable: what is already in
the folder is not computed again, and no folder ever holds two configurations or is written by two
processes at a time. Files are written whole, under a temporary name and then renamed, so a run that
is killed leaves none half-written.

Several hosts share one folder on a common file system, where the first process alone writes.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout

from sublim_jax import __version__, hosts
from sublim_jax.errors import InputError

CONFIG = "config.json"
LOCK = ".lock"
HOLDER = ".holder"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder: open for writing inside `open_run`, for reading anywhere.

    On several hosts only the first process writes; on the others a write does nothing, and does
    not wait for the first one's either.

    Attributes:
        folder: where it is.
    """

    folder: Path

    def write(self, name: str, value: Any) -> None:
        """Write ``value`` as JSON (one line for each item where ``name`` ends in ``.jsonl``).

        Raises:
            InputError: the disk is full or the folder cannot be written or is gone.
        """
        value = plain(value)
        if name.endswith(".jsonl"):
            text = "".join(f"{json.dumps(item)}\n" for item in value)
        else:
            text = json.dumps(value, indent=2) + "\n"
        self.save_whole(name, text.encode())

    def save_whole(self, name: str, content: bytes) -> None:
        """Write a file of bytes so that it is there whole or not at all.

        Raises:
            InputError: the disk is full or the folder cannot be written or is gone.
        """
        if not hosts.is_first():
            return
        # Made again, it would be a folder without a configuration, in which nothing can go on.
        if not os.path.isdir(self.folder):  # also where Path.is_dir would fail
            raise InputError(
                f"run folder {self.folder} is gone; expected it to stay while the run is open"
            )
        write_whole(self.folder / name, content)

    def read(self, name: str) -> Any:
        """Read a JSON or JSON-lines file of the run.

        Raises:
            InputError: the file is missing or is not what it should be.
        """
        path = self.folder / name
        try:
            text = path.read_text()
            if name.endswith(".jsonl"):
                return [json.loads(line) for line in text.splitlines()]
            return json.loads(text)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; expected a run that has written it") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as fault:
            raise InputError(f"{path} is damaged ({fault}); expected JSON") from fault
        except OSError as fault:
            raise InputError(
                f"{path} cannot be read ({fault.strerror}); expected a file"
            ) from fault

    def has(self, name: str) -> bool:
        """Tell whether the run has written ``name``."""
        return (self.folder / name).exists()


@contextlib.contextmanager
def open_run(folder: Path, config: Mapping[str, Any]) -> Iterator[Run]:
    """Hold the folder of a configuration, new or to be continued, against other processes.

    The folder is free again when the context is left or the process ends, however it ends. On
    several hosts all enter with the same folder, which has to lie on a file system that they
    share: the first process locks, checks and writes it, the others wait for its answer.

    Args:
        folder: a folder that is new, empty, or of this very configuration.
        config: everything that the results depend on, as plain values.

    Yields:
        The open run.

    Raises:
        InputError: the folder cannot be written, is in use, holds something else, or holds a run of
            another configuration; the message names the fields that differ.
    """
    with contextlib.ExitStack() as held:

        def open_it() -> None:
            _make(folder)
            held.enter_context(_locked(folder))
            _claim(Run(folder), plain(config))

        hosts.first_alone(open_it)
        yield Run(folder)


def _make(folder: Path) -> None:
    """Make the folder unless it is there; refuse, before anything is put there, what is no run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without the lock this is sound in this order, because the configuration is a run's first
        # file. Hidden files do not count: locks, and first writes that were killed.
        something = any(not path.name.startswith(".") for path in folder.iterdir())
        foreign = something and not (folder / CONFIG).exists()
    except OSError as fault:
        raise _unwritable(folder, fault) from fault
    if foreign:
        raise InputError(
            f"run folder {folder} holds files but no {CONFIG}; expected a new folder or one "
            "that an earlier run has made"
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder; the system takes the lock from a process that ends."""
    lock, holder = FileLock(folder / LOCK, thread_local=False), folder / HOLDER
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"run folder {folder} is in use by {_note(holder)}; expected one process at a time"
        ) from None
    except (OSError, NotImplementedError) as fault:
        raise _unwritable(folder, fault) from fault
    try:
        # Not in the lock file itself, which others that try the lock may truncate.
        write_whole(holder, f"process {os.getpid()} on host {platform.node()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def _note(holder: Path) -> str:
    try:
        return holder.read_text()
    except (OSError, UnicodeDecodeError):  # not written yet
        return "another process"


def _unwritable(folder: Path, fault: OSError | NotImplementedError) -> InputError:
    reason = getattr(fault, "strerror", None) or fault
    return InputError(
        f"run folder {folder} cannot be written ({reason}); expected a writable folder"
    )


def _claim(run: Run, config: Mapping[str, Any]) -> None:
    """Write the configuration into a new folder, or compare it with the one that is there."""
    if not run.has(CONFIG):
        run.write(CONFIG, config)
        return
    found = run.read(CONFIG)
    if not isinstance(found, dict):
        raise InputError(f"{run.folder / CONFIG} holds {found!r}; expected a configuration by name")
    names = different(found, config)
    if names:
        said = (f"{n} is {found.get(n)!r} there and {config.get(n)!r} here" for n in names)
        raise InputError(
            f"run folder {run.folder} belongs to another configuration ({'; '.join(said)}); "
            "expected the same one or another folder"
        )


def different(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Name what two mappings of plain values do not have in common.

    >>> different({"rows": 3, "seed": 0}, {"rows": 4, "seed": 0})
    ['rows']
    """
    return sorted(
        name
        for name in {*there, *here}
        if name not in there or name not in here or there[name] != here[name]
    )


def settings_before(file: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write down, once, what something depends on that a killed process goes on with.

    Args:
        file: for the settings; whole or not there.
        settings: plain values.

    Returns:
        The settings that are there: with these it was begun.

    Raises:
        InputError: the file cannot be written, or holds something else.
    """
    if not file.exists():
        write_whole(file, (json.dumps(settings, indent=2) + "\n").encode())
        return settings
    try:
        found = json.loads(file.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{file} is damaged; expected settings")
    return found


def config_digest(config: Mapping[str, Any]) -> str:
    """Hash a configuration of plain values to eight hexadecimal digits, to name a folder by."""
    text = json.dumps(plain(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def environment() -> dict[str, Any]:
    """Describe what a run runs on: versions of Python and packages, devices, processor, time."""
    devices = jax.devices()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {"sublim_jax": __version__}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processor": processor_name(),
        "cores": os.cpu_count(),
    }


def processor_name() -> str:
    """Name the processor of the host."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # A machine that is preempted loses what has not reached the disk.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as fault:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path} cannot be written ({fault.strerror}); expected a writable folder with room"
        ) from fault


def plain(value: Any) -> Any:
    """Turn dataclasses, named tuples, paths and arrays into JSON values; NaN becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)
