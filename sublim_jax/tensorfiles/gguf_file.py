"""GGUF files: fields, and tensors dequantised block by block.

The header is read here and not by ``gguf.GGUFReader``, which keeps several arrays for every token
of the vocabulary (160 MB and 2.7 s for 49,152 tokens, where skipping them takes .1 s) and maps the
file into memory. Names of types, sizes of blocks and dequantisation are the package's.

References:
    ggml, docs/gguf.md: the specification of the format.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.source import TensorInfo, check_request, reading, regrouped, some_of
from sublim_jax.tensorfiles.values import NUMBERS, PIECE, Readable, fill, read_blocks

KIND = "a GGUF file"
MARK = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # where the file does not say another one
MOST_DIMENSIONS = 8
ROW = 4096  # elements that are dequantised side by side; gguf takes 16 such rows at a time
FORMS = {
    "UINT8": "B",
    "INT8": "b",
    "UINT16": "H",
    "INT16": "h",
    "UINT32": "I",
    "INT32": "i",
    "UINT64": "Q",
    "INT64": "q",
    "FLOAT32": "f",
    "FLOAT64": "d",
    "BOOL": "?",
}


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the fields of a GGUF file: what it says of the model, and its vocabulary.

    Args:
        path: of the file; its tensors are not looked at.

    Returns:
        Fields by name, in the file's order: texts as str, numbers as int, float or bool, arrays of
        texts as lists, arrays of numbers as numpy arrays.

    Raises:
        InputError: the file cannot be read, is damaged or cut short within the fields.
    """
    with reading(path, KIND), path.open("rb", buffering=1 << 20) as file:
        return _beginning(path, _Cursor(path, file), keep=True)[1]


class _Stored(NamedTuple):
    shape: tuple[int, ...]
    kind: Any  # gguf.GGMLQuantizationType
    offset: int  # from the beginning of the file


class GgufFile:
    """A GGUF file; see `sublim_jax.tensorfiles.TensorSource`.

    Shapes are in numpy's order, the reverse of the file's. Names and the order of the rows of
    attention are those of llama.cpp.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            InputError: the file cannot be read, is damaged or cut short, or has a tensor of a type
                that the package ``gguf`` cannot dequantise.
        """
        self.path = path
        with reading(path, KIND), path.open("rb", buffering=1 << 20) as file:
            self._stored = _header(path, _Cursor(path, file))
        _check_types(path, self._stored)
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(name, stored.shape, _name_of(stored.kind))
            for name, stored in self._stored.items()
        }

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the file.
        """
        check_request(self, name, elements)
        return self._blocks(self._stored[name], elements)

    def _blocks(self, stored: _Stored, elements: int) -> Iterator[np.ndarray]:
        count, plain = math.prod(stored.shape), NUMBERS.get(stored.kind.name)
        with reading(self.path, KIND), self.path.open("rb", buffering=0) as file:
            file.seek(stored.offset)
            if plain is not None:
                yield from read_blocks(file, plain, count, elements=elements)
            else:
                yield from regrouped(_dequantised(file, stored.kind, count), elements)


class _Cursor:
    """The header, read from front to back; lengths are checked before anything is allocated."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._file = file
        self.size = path.stat().st_size
        self.at = 0

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > self.size:
            raise EOFError
        return self._file.read(count)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.size:
            raise EOFError
        self._file.seek(self.at)

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]

    def raw_text(self) -> bytes:
        return self.take(self.number("Q"))

    def text(self) -> str:
        return self.raw_text().decode()


def _header(path: Path, cursor: _Cursor) -> dict[str, _Stored]:
    tensors, fields = _beginning(path, cursor, keep=False)
    alignment = fields.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise InputError(f"{path} has general.alignment {alignment}; expected a power of two")
    found = [_tensor(cursor) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment
    return _placed(path, found, start, cursor.size)


def _beginning(path: Path, cursor: _Cursor, *, keep: bool) -> tuple[int, dict[str, Any]]:
    """Read the number of tensors, and the fields: see `_field`."""
    mark = cursor.take(4) if cursor.size >= 4 else b""
    if mark != MARK:
        raise InputError(f"{path} begins with {mark!r}; expected {MARK!r}")
    version = cursor.number("I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        raise InputError(
            f"{path} has version {version}{' and big-endian numbers' * swapped}; expected a "
            f"little-endian GGUF file of version {' or '.join(map(str, VERSIONS))}"
        )
    tensors, count = cursor.number("Q"), cursor.number("Q")
    fields: dict[str, Any] = {}
    for _ in range(count):
        name = cursor.text()
        if name in fields:
            raise InputError(f"{path} has field {name!r} twice; expected each name once")
        fields[name] = _field(cursor, keep)
    return tensors, fields


def _field(cursor: _Cursor, keep: bool) -> Any:
    """Read a number; texts and arrays, too, or pass over them where they are not to be kept."""
    from gguf import GGUFValueType

    kind = GGUFValueType(cursor.number("I")).name
    if kind == "STRING":
        return cursor.text() if keep else cursor.skip(cursor.number("Q"))
    if kind != "ARRAY":
        return cursor.number(FORMS[kind])
    kind, count = GGUFValueType(cursor.number("I")).name, cursor.number("Q")
    if kind == "ARRAY":
        raise ValueError("arrays of arrays")
    if kind != "STRING":
        form = np.dtype(FORMS[kind]).newbyteorder("<")
        length = count * form.itemsize
        return np.frombuffer(cursor.take(length), form) if keep else cursor.skip(length)
    if keep:
        return [cursor.text() for _ in range(count)]
    for _ in range(count):
        cursor.raw_text()
    return None


def _tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], Any, int]:
    from gguf import GGMLQuantizationType

    name, dimensions = cursor.text(), cursor.number("I")
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    return name, shape, GGMLQuantizationType(cursor.number("I")), cursor.number("Q")


def _placed(path: Path, found: list[Any], start: int, size: int) -> dict[str, _Stored]:
    """Check that every tensor lies inside the file and none occurs twice."""
    from gguf import GGML_QUANT_SIZES

    placed = {}
    for name, shape, kind, offset in found:
        block, width = GGML_QUANT_SIZES[kind]
        count = math.prod(shape)
        length = count // block * width
        last = shape[-1] if shape else 1
        if last % block or start + offset + length > size or name in placed:
            raise InputError(
                f"{path} puts tensor {name!r} of shape {shape} and type {kind.name} at bytes "
                f"{start + offset} to {start + offset + length} of {size}; expected each name "
                f"once, inside the file, with rows of whole blocks of {block}"
            )
        placed[name] = _Stored(shape, kind, start + offset)
    return placed


def _check_types(path: Path, stored: Mapping[str, _Stored]) -> None:
    """Refuse what cannot be dequantised before anything is read; a block of zeros tells."""
    from gguf import GGML_QUANT_SIZES, quants

    kinds = {entry.kind for entry in stored.values()}
    for kind in sorted(kind for kind in kinds if kind.name not in NUMBERS):
        try:
            quants.dequantize(np.zeros(GGML_QUANT_SIZES[kind][1], np.uint8), kind)
        except NotImplementedError:
            names = [name for name, entry in stored.items() if entry.kind == kind]
            raise InputError(
                f"{path} stores tensor {some_of(names)} as {kind.name}; expected a type that the "
                "package gguf can dequantise"
            ) from None


def _name_of(kind: Any) -> str:
    return NUMBERS[kind.name].name if kind.name in NUMBERS else kind.name


def _dequantised(file: Readable, kind: Any, count: int) -> Iterator[np.ndarray]:
    from gguf import GGML_QUANT_SIZES, quants

    block, width = GGML_QUANT_SIZES[kind]
    buffer = np.empty(PIECE // block * width, np.uint8)
    for start in range(0, count, PIECE):
        size = min(PIECE, count - start)
        raw = buffer[: size // block * width]
        fill(file, raw)
        whole = size // ROW * ROW  # long rows are slow; what is left over makes a short one
        rows = raw[: whole // block * width].reshape(-1, ROW // block * width)
        parts = [quants.dequantize(part, kind) for part in (rows, raw[rows.size :]) if part.size]
        yield np.concatenate([part.reshape(-1) for part in parts])
