"""Checkpoints of trainings, written by orbax beside the training and restored on any devices."""

import contextlib
import gc
import json
import logging
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError, first_line

Tree = TypeVar("Tree", bound=PyTree)

LOG = logging.getLogger(__name__)
DAMAGED = ".damaged"
SEAL = "seal.json"


class Checkpoints:
    """The checkpoints of some trainings, in a folder ``<training>/<step>`` each.

    A checkpoint appears under its name only when it is whole. On several hosts all of them call the
    same methods in the same order, and the folder is on a file system that they share.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Use a folder, which need not exist.

        Args:
            folder: where the checkpoints are.
            keep: how many of a training are kept, the newest.
        """
        self._folder = folder.absolute()
        self._keep = keep
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._writing: tuple[str, Path, Future[None]] | None = None

    def steps(self, training: str) -> list[int]:
        """List the steps of which a training has whole checkpoints, ascending."""
        folder = self._folder / training
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def names(self) -> list[str]:
        """Name the trainings, or groups of them, that have a folder here."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def save(self, training: str, step: int, tree: PyTree) -> None:
        """Begin to write a checkpoint.

        Returns as soon as the values have been copied: they may be given away after that. An
        earlier one that is still being written is waited for.

        Args:
            training: whose it is.
            step: how many steps it has made.
            tree: global arrays.

        Raises:
            InputError: this one or the earlier one cannot be written.
        """
        self.wait()
        path = self._path(training, step)
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            response = _orbax().save_async(path, _flat(tree), overwrite=True)
        self._writing = (
            training,
            path,
            self._background.submit(_finish, path, response, _names(tree), _shapes(tree)),
        )

    def wait(self) -> None:
        """Wait until everything is written; then delete what is not kept.

        Raises:
            InputError: the checkpoint could not be written.
        """
        if self._writing is None:
            return
        (training, path, finished), self._writing = self._writing, None
        with _writing(path):
            finished.result()
        if hosts.is_first():
            for step in self.steps(training)[: -self._keep]:
                shutil.rmtree(self._path(training, step), ignore_errors=True)

    def restore(self, training: str, like: Tree) -> tuple[int, Tree] | None:
        """Read the newest checkpoint of a training that is sound.

        One that is damaged is named in a warning and set aside, and the one before it is tried.

        Args:
            training: whose it is.
            like: arrays of the same shapes, which say where on the devices the values go.

        Returns:
            The step and the values, or None if there is no sound checkpoint.
        """
        self.wait()
        for step in reversed(self.steps(training)):
            path, found, fault = self._path(training, step), None, None
            try:
                found = _read(path, like)
            except Exception as error:
                fault = first_line(error)
            failed = hosts.agree(np.array(fault is not None)).any()  # a host may fail alone
            if found is not None and not failed:
                return step, found
            LOG.warning(
                "checkpoint %s is damaged (%s); set aside, and the one before it is used",
                path,
                fault or "on another host",
            )
            if hosts.is_first():
                aside = path.with_name(path.name + DAMAGED)
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        return None

    def delete(self, training: str) -> None:
        """Delete the checkpoints of a training, or of a group, partial ones included."""
        self.wait()
        if hosts.is_first():
            shutil.rmtree(self._folder / training, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are there, or none ever was
                self._folder.rmdir()

    def _path(self, training: str, step: int) -> Path:
        return self._folder / training / f"{step:09}"


def _orbax() -> Any:
    from orbax.checkpoint import v1 as orbax  # .7 s, and only long trainings need it

    # What goes wrong is told in a sentence of ours, not in tracebacks of its threads.
    logging.getLogger("absl").addFilter(_is_not_orbaxs)
    return orbax


def _is_not_orbaxs(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _flat(tree: PyTree) -> dict[str, Any]:
    """Number the leaves: a checkpoint then does not depend on how optax nests its states."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _finish(path: Path, response: Any, names: list[str], shapes: list[list[int]]) -> None:
    """Wait for a checkpoint to be whole; then write down what it holds, with checksums.

    Orbax has checksums of its own for what describes the arrays, not for their values. The names
    are those by which `sublim_jax.tensorfiles` lists the numbered leaves.
    """
    response.result()
    if hosts.is_first():
        seal = {"names": names, "shapes": shapes, "files": _checksums(path)}
        runs.write_whole(path / SEAL, json.dumps(seal).encode())


def _names(tree: PyTree) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(tree)
    ]


def _shapes(tree: PyTree) -> list[list[int]]:
    return [list(leaf.shape) for leaf in jax.tree.leaves(tree)]


def _checksums(path: Path) -> dict[str, int]:
    return {
        file.relative_to(path).as_posix(): zlib.crc32(file.read_bytes())
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != SEAL
    }


def _read(path: Path, like: Tree) -> Tree:
    """Read a checkpoint.

    Raises:
        Exception: of whatever kind a damaged file leads to.
    """
    flat = _flat(like)
    # A kill between the two leaves a checkpoint without a seal: orbax's own checks have to do.
    if (path / SEAL).exists():
        seal = json.loads((path / SEAL).read_bytes())
        found = _checksums(path)
        for name in sorted(seal["files"].keys() | found.keys()):
            if seal["files"].get(name) != found.get(name):
                raise ValueError(f"{name} is not as it was written")
        if seal["shapes"] != _shapes(like):
            raise ValueError(f"it has arrays {seal['shapes']}, not {_shapes(like)}")
    abstract = hosts.describe(flat, {name: array.sharding for name, array in flat.items()})
    with _silenced(), jax.transfer_guard("allow"):
        values = _orbax().load(path, abstract)
    return jax.tree.unflatten(jax.tree.structure(like), [values[name] for name in flat])


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep quiet what asyncio says of a file that orbax cannot read."""
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        gc.collect()  # tasks that failed are reported when they are collected
        logger.setLevel(level)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in a sentence what goes wrong with writing a checkpoint."""
    try:
        with jax.transfer_guard("allow"):  # orbax compares notes between hosts
            yield
    except Exception as fault:
        if hosts.lost_another(fault):
            raise
        raise InputError(
            f"checkpoint {path} cannot be written ({first_line(fault)}); expected a writable "
            "folder with room"
        ) from fault
