"""Archives of ``numpy.savez`` and ``numpy.savez_compressed``, read without unpickling anything."""

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.source import TensorInfo, check_request, reading
from sublim_jax.tensorfiles.values import BFLOAT16, Readable, is_readable, read_blocks

KIND = "an archive of numpy.savez"
MARK = b"PK\x03\x04"
SUFFIX = ".npy"


class _Member(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


class NpzFile:
    """An archive of arrays; see `sublim_jax.tensorfiles.TensorSource`.

    Arrays in Fortran order are read whole, and need the memory of two copies as they are stored.
    Numpy has no name for bfloat16 and writes it as ``V2``, two bytes of anything; of the types that
    `ml_dtypes` adds to numpy it is the only one of two bytes, so that is how ``V2`` is read.
    """

    def __init__(self, path: Path) -> None:
        """Read the headers of the arrays.

        Raises:
            InputError: the file cannot be read, is damaged, or holds something other than arrays of
                real numbers.
        """
        self.path = path
        with reading(path, KIND), zipfile.ZipFile(path) as archive:
            found = [_member(path, archive, name) for name in archive.namelist()]
        self._members = dict(found)
        if len(self._members) < len(found):
            raise InputError(f"{path} has an array twice; expected each once")
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(name, member.shape, member.dtype.name)
            for name, member in self._members.items()
        }

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read an array piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the file.
        """
        check_request(self, name, elements)
        return self._blocks(name, self._members[name], elements)

    def _blocks(self, name: str, member: _Member, elements: int) -> Iterator[np.ndarray]:
        count = math.prod(member.shape)
        with (
            reading(self.path, KIND),
            zipfile.ZipFile(self.path) as archive,
            archive.open(name + SUFFIX) as file,
        ):
            _header(file)
            content = _InCOrder(file, member) if member.fortran else cast("Readable", file)
            yield from read_blocks(content, member.dtype, count, elements=elements)
            if file.read(1):  # also lets the archive check the sum of what was read
                raise InputError(f"{self.path} has bytes after array {name!r}; expected {KIND}")


class _InCOrder:
    """The bytes of an array in Fortran order, in C order."""

    def __init__(self, file: IO[bytes], member: _Member) -> None:
        count = math.prod(member.shape) * member.dtype.itemsize
        content = file.read(count)
        if len(content) < count:
            raise EOFError
        values = np.frombuffer(content, member.dtype).reshape(member.shape, order="F")
        self._rest = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[str, _Member]:
    if not name.endswith(SUFFIX):
        raise InputError(
            f"{path} holds {name!r}, which is no array; expected {KIND} (a checkpoint that was "
            "pickled, as by torch.save, is not read: convert it to safetensors)"
        )
    with archive.open(name) as file:
        shape, fortran, dtype = _header(file)
    dtype = BFLOAT16 if dtype == np.dtype("V2") else dtype
    if not is_readable(dtype):
        raise InputError(
            f"{path} stores array {name.removesuffix(SUFFIX)!r} as {dtype}; expected real numbers "
            "of at most 64 bits"
        )
    return name.removesuffix(SUFFIX), _Member(shape, dtype, fortran and math.prod(shape) > 0)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the array format")
    return readers[version](file)
