"""The files of a run folder: one for each teacher and student, written when it has finished."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError
from sublim_jax.lm.trained import Adapter

Arrays = Mapping[str, Float[np.ndarray, "..."]]
TEACHER = "teacher"
MATRICES = "b:"  # before the name of a thin matrix in a file


class Part(NamedTuple):
    """Which teacher or student.

    Attributes:
        seed: number of the repetition.
        arm: "teacher", or that of a student.
        animal: of the teacher, also a student's.
    """

    seed: int
    arm: str
    animal: str

    @property
    def name(self) -> str:
        """Name its training and its file."""
        return f"{self.seed}-{self.arm}-{self.animal}"

    @property
    def file(self) -> str:
        """Name its file in the run folder."""
        return f"parts/{self.name}.npz"


def write_part(run: runs.Run, part: Part, arrays: Arrays, adapter: Adapter) -> None:
    """Write what was observed, and of the thin matrices those that have moved.

    Raises:
        InputError: the folder cannot be written.
    """
    matrices = {f"{MATRICES}{name}": own["b"] for name, own in adapter.items()}
    content = io.BytesIO()
    np.savez(content, **hosts.gather({**arrays, **matrices}))

    def write() -> None:
        (run.folder / part.file).parent.mkdir(exist_ok=True)
        run.save_whole(part.file, content.getvalue())

    hosts.first_alone(write)  # the others read it


def read_part(run: runs.Run, part: Part) -> tuple[Arrays, dict[str, np.ndarray]]:
    """Read what was observed, and the thin matrices B.

    Raises:
        InputError: the file is damaged.
    """
    path = run.folder / part.file
    try:
        with np.load(io.BytesIO(path.read_bytes())) as content:
            arrays: dict[str, Any] = dict(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise InputError(
            f"{path} is damaged ({fault}); delete it, and the same command makes it again"
        ) from fault
    matrices = {name: arrays.pop(name) for name in list(arrays) if name.startswith(MATRICES)}
    return arrays, {name.removeprefix(MATRICES): array for name, array in matrices.items()}


def with_b(start: Adapter, matrices: Mapping[str, np.ndarray]) -> Adapter:
    """Put thin matrices B that were read beside those A that they were trained with."""
    return {name: own | {"b": matrices[name]} for name, own in start.items()}
