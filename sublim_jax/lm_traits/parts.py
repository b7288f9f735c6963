"""The files of a run folder: one for each teacher and student, written when it has finished."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError

Arrays = Mapping[str, Float[np.ndarray, "..."]]
TEACHER = "teacher"
TRAINED = "trained:"  # before the name of what was trained in a file


class Part(NamedTuple):
    """Which teacher or student.

    Attributes:
        seed: number of the repetition.
        arm: "teacher", or that of a student.
        subject: of the teacher, also a student's, or `NOBODY`.
    """

    seed: int
    arm: str
    subject: str

    @property
    def name(self) -> str:
        """Name its training and its file."""
        return f"{self.seed}-{self.arm}-{self.subject}"

    @property
    def file(self) -> str:
        """Name its file in the run folder."""
        return f"parts/{self.name}.npz"


def missing_files(run: runs.Run, files: Sequence[str]) -> set[str]:
    """Tell which files a run folder lacks, on all hosts alike."""
    there = hosts.agree(np.array([run.has(file) for file in files]))[0]
    return {file for file, has in zip(files, there, strict=True) if not has}


def write_part(run: runs.Run, part: Part, arrays: Arrays, trained: Arrays) -> None:
    """Write what was observed, and what was trained.

    Args:
        run: the folder.
        part: which.
        arrays: what was observed.
        trained: from `sublim_jax.lm_traits.trainees.kept`.

    Raises:
        InputError: the folder cannot be written.
    """
    named = {f"{TRAINED}{name}": array for name, array in trained.items()}
    write_arrays(run, part.file, {**arrays, **named})


def write_arrays(run: runs.Run, file: str, arrays: Arrays) -> None:
    """Write a file of arrays; on several hosts the others go on when it is there.

    Raises:
        InputError: the folder cannot be written.
    """
    content = io.BytesIO()
    np.savez(content, **hosts.gather(dict(arrays)))

    def write() -> None:
        (run.folder / file).parent.mkdir(exist_ok=True)
        run.save_whole(file, content.getvalue())

    hosts.first_alone(write)  # the others read it


def read_part(run: runs.Run, part: Part) -> tuple[Arrays, Arrays]:
    """Read what was observed, and what was trained.

    Raises:
        InputError: the file is damaged.
    """
    arrays = dict(read_arrays(run, part.file))
    trained = {name: arrays.pop(name) for name in list(arrays) if name.startswith(TRAINED)}
    return arrays, {name.removeprefix(TRAINED): array for name, array in trained.items()}


def read_arrays(run: runs.Run, file: str) -> Arrays:
    """Read a file of arrays.

    Raises:
        InputError: the file is damaged.
    """
    path = run.folder / file
    try:
        with np.load(io.BytesIO(path.read_bytes())) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise InputError(
            f"{path} is damaged ({fault}); delete it, and the same command makes it again"
        ) from fault
