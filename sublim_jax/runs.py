"""A run folder: one configuration, its manifest, its parts as they finish, its results.

A run is a function from a configuration to a folder, idempotent and resumable: what is already in
the folder is not computed again, and no folder ever holds two configurations. Files are written
whole, under a temporary name and then renamed, so a run that is killed leaves none half-written.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sublim_jax import __version__
from sublim_jax.errors import InputError

CONFIG = "config.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Run:
    """An open run folder.

    Attributes:
        folder: where it is.
    """

    folder: Path

    def write(self, name: str, value: Any) -> None:
        """Write ``value`` as JSON (one line for each item where ``name`` ends in ``.jsonl``)."""
        plain = _plain(value)
        if name.endswith(".jsonl"):
            text = "".join(f"{json.dumps(item)}\n" for item in plain)
        else:
            text = json.dumps(plain, indent=2) + "\n"
        write_whole(self.folder / name, text.encode())

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


def open_run(folder: Path, config: Mapping[str, Any]) -> Run:
    """Open the folder of a configuration, new or to be continued.

    Args:
        folder: a folder that is new, empty, or of this very configuration.
        config: everything that the results depend on, as plain values.

    Raises:
        InputError: the folder cannot be written, holds something else, or holds a run of another
            configuration; the message names the fields that differ.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise InputError(
            f"run folder {folder} cannot be written ({fault.strerror}); expected a writable folder"
        ) from fault
    run, config = Run(folder), _plain(config)
    if not run.has(CONFIG):
        # A first write that was killed leaves a hidden file, which is no reason to refuse.
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            raise InputError(
                f"run folder {folder} holds files but no {CONFIG}; expected a new folder or one "
                "that an earlier run has made"
            )
        run.write(CONFIG, config)
        return run
    found = run.read(CONFIG)
    if not isinstance(found, dict):
        raise InputError(f"{folder / CONFIG} holds {found!r}; expected a configuration, by name")
    different = [
        f"{name} is {found.get(name)!r} there and {config.get(name)!r} here"
        for name in sorted({*found, *config})
        if name not in found or name not in config or found[name] != config[name]
    ]
    if different:
        raise InputError(
            f"run folder {folder} belongs to another configuration ({'; '.join(different)}); "
            "expected the same one or another folder"
        )
    return run


def config_digest(config: Mapping[str, Any]) -> str:
    """Hash a configuration of plain values to eight hexadecimal digits, to name a folder by."""
    text = json.dumps(_plain(config), sort_keys=True)
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
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as fault:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path} cannot be written ({fault.strerror}); expected a writable folder with room"
        ) from fault


def _plain(value: Any) -> Any:
    """Turn dataclasses, paths and arrays into JSON values; NaN becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    return str(value)
