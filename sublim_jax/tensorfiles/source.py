"""A checkpoint as a source of named tensors that are read piece by piece."""

import contextlib
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from sublim_jax.errors import InputError, first_line


class TensorInfo(NamedTuple):
    """What a file says about one of its tensors.

    Attributes:
        name: as the file has it.
        shape: in numpy's order, the last axis varying fastest.
        stored: how the values are stored: a numpy type such as ``"float32"``, ``"bfloat16"`` or
            ``"int32"``, or the name of a quantisation such as ``"Q4_1"``.
    """

    name: str
    shape: tuple[int, ...]
    stored: str

    @property
    def size(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)


class TensorSource(Protocol):
    """A checkpoint of which only names, shapes and types are in memory."""

    @property
    def path(self) -> Path:
        """The file or folder, for messages."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What can be read, by name, in the order of the file or files."""
        ...

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor in consecutive pieces, in C order.

        Args:
            name: of the tensor.
            elements: of each piece; the last may be shorter.

        Returns:
            One-dimensional arrays of their own memory, float64 where the tensor is stored so and
            float32 otherwise, which is exact for every type of at most 16 bits and rounds wider
            integers. A tensor without elements has no pieces. Several can be read at the same
            time.

        Raises:
            InputError: there is no such tensor, ``elements`` is not positive, or (while reading)
                the file is damaged.
        """
        ...


def read_tensor(source: TensorSource, name: str) -> np.ndarray:
    """Read a whole tensor, in its shape, as float32 or float64: only where memory has room for it.

    Raises:
        InputError: there is no such tensor, or the file is damaged.
    """
    info = source.tensors.get(name)
    pieces = list(source.blocks(name, elements=max(1, info.size if info else 1)))
    shape = source.tensors[name].shape
    return pieces[0].reshape(shape) if pieces else np.zeros(shape, np.float32)


class Renamed:
    """Some tensors of a source under other names.

    Attributes:
        path: what messages call it.
        tensors: by their new names.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]

    def __init__(self, source: TensorSource, names: Mapping[str, str], *, path: Path) -> None:
        """Choose tensors.

        Args:
            source: where they are.
            names: the source's names by the new ones.
            path: what messages call it.
        """
        self.path = path
        self._source, self._names = source, names
        self.tensors = {
            name: source.tensors[key]._replace(name=name) for name, key in names.items()
        }

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the source.
        """
        check_request(self, name, elements)
        return self._source.blocks(self._names[name], elements=elements)


def check_request(source: TensorSource, name: str, elements: int) -> None:
    """Check what is asked of a source.

    Raises:
        InputError: there is no such tensor, or ``elements`` is not positive.
    """
    if name not in source.tensors:
        raise InputError(f"{source.path} has no tensor {name!r}; expected a name that it lists")
    if elements < 1:
        raise InputError(f"elements is {elements}; expected a positive number")


def regrouped(pieces: Iterable[np.ndarray], elements: int) -> Iterator[np.ndarray]:
    """Cut and join one-dimensional pieces so that all but the last have ``elements`` elements."""
    held: list[np.ndarray] = []
    missing = elements
    for piece in pieces:
        rest = piece
        while rest.size >= missing:
            held.append(rest[:missing])
            rest = rest[missing:]
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held, missing = [], elements
        if rest.size:
            held.append(rest)
            missing -= rest.size
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)


def some_of(names: list[str]) -> str:
    """Name the first, and count the others: models have hundreds of tensors of one kind."""
    others = len(names) - 1
    return repr(names[0]) + (f" (and {others} other{'s'[: others > 1]})" if others else "")


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Say in a sentence what goes wrong with reading a file.

    Raises:
        InputError: the file is not there, cannot be read, or is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected {kind}") from None
    except OSError as fault:
        raise InputError(
            f"{path} cannot be read ({fault.strerror or first_line(fault)}); expected {kind}"
        ) from fault
    except EOFError as fault:
        raise InputError(
            f"{path} ends too early or has become shorter; expected {kind}, whole"
        ) from fault
    except (
        ValueError,  # of JSON, Unicode and tensorstore too
        NotImplementedError,
        RuntimeError,  # a zip file with a password
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as fault:
        raise InputError(f"{path} is damaged ({first_line(fault)}); expected {kind}") from fault
