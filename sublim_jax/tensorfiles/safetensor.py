"""Safetensors files, and folders of one or of shards with an index.

References:
    Hugging Face, safetensors documentation, section "Format".
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.source import TensorInfo, check_request, reading, some_of
from sublim_jax.tensorfiles.values import NUMBERS, read_blocks

KIND = "a safetensors file"
INDEX = ".safetensors.index.json"
LONGEST_HEADER = 100_000_000  # bytes, as the format's own library has it
DTYPES = NUMBERS | {
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype(np.bool_),
}


class _Place(NamedTuple):
    dtype: np.dtype
    offset: int  # from the beginning of the file


class SafetensorsFile:
    """A safetensors file; see `sublim_jax.tensorfiles.TensorSource`."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            InputError: the file cannot be read, is damaged, or has a tensor of a type that is not
                read, such as one of eight-bit floats.
        """
        self.path = path
        with reading(path, KIND), path.open("rb") as file:
            entries, start, length = _header(path, file)
            _check_layout(path, entries, length)
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(name, tuple(entry["shape"]), DTYPES[entry["dtype"]].name)
            for name, entry in entries.items()
        }
        self._places = {
            name: _Place(DTYPES[entry["dtype"]], start + entry["data_offsets"][0])
            for name, entry in entries.items()
        }

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the file.
        """
        check_request(self, name, elements)
        return self._blocks(self._places[name], self.tensors[name].size, elements)

    def _blocks(self, place: _Place, count: int, elements: int) -> Iterator[np.ndarray]:
        with reading(self.path, KIND), self.path.open("rb", buffering=0) as file:
            file.seek(place.offset)
            yield from read_blocks(file, place.dtype, count, elements=elements)


class SafetensorsFolder:
    """A folder of safetensors files as one; see `sublim_jax.tensorfiles.TensorSource`.

    With an index ``*.safetensors.index.json`` its shards are read, and every tensor that they have;
    without one all ``*.safetensors``.
    """

    def __init__(self, path: Path) -> None:
        """Read the index and the headers.

        Raises:
            InputError: a shard or a tensor of the index is missing, a tensor occurs twice, or a
                file is damaged.
        """
        self.path = path
        with reading(path, "a folder of safetensors files"):
            indices = sorted(file for file in path.iterdir() if file.name.endswith(INDEX))
            files = sorted(file for file in path.iterdir() if file.name.endswith(".safetensors"))
        if len(indices) > 1:
            names = ", ".join(index.name for index in indices)
            raise InputError(f"{path} has the indices {names}; expected one, or one file by name")
        wanted = _read_index(indices[0]) if indices else {}
        if indices:
            files = _shards(path, indices[0], wanted)
        self._files: dict[str, SafetensorsFile] = {}
        self.tensors: Mapping[str, TensorInfo] = {}
        twice = []
        for file in map(SafetensorsFile, files):
            twice += [name for name in file.tensors if name in self.tensors]
            self.tensors |= file.tensors
            self._files |= dict.fromkeys(file.tensors, file)
        if twice:
            raise InputError(
                f"{path} has tensor {some_of(twice)} in more than one of its files; "
                "expected each once"
            )
        missing = [
            name
            for name, shard in wanted.items()
            if name not in self._files or self._files[name].path.name != shard
        ]
        if missing:
            raise InputError(
                f"{path} does not have tensor {some_of(missing)} in the file that "
                f"{indices[0].name} says; expected each where the index says"
            )

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the file.
        """
        check_request(self, name, elements)
        return self._files[name].blocks(name, elements=elements)


def _header(path: Path, file: BinaryIO) -> tuple[dict[str, dict[str, Any]], int, int]:
    """Read the header; returns its tensors, where their data begins, and how long that is."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(LONGEST_HEADER, size - 8):
        raise InputError(
            f"{path} has {size} bytes and announces a header of {length}; expected a safetensors "
            f"file, whose header lies inside it and has at most {LONGEST_HEADER}"
        )
    entries = json.loads(file.read(length), object_pairs_hook=_without_repetition)
    if not isinstance(entries, dict):
        raise InputError(f"{path} has a header that is no JSON object; expected {KIND}")
    entries.pop("__metadata__", None)
    malformed = [name for name, entry in entries.items() if not _is_entry(entry)]
    if malformed:
        raise InputError(
            f"{path} does not describe tensor {some_of(malformed)} rightly; expected dtype, shape "
            "and data_offsets"
        )
    return entries, 8 + length, size - 8 - length


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return mapping


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    return all(type(number) is int and number >= 0 for number in shape + offsets)


def _check_layout(path: Path, entries: dict[str, dict[str, Any]], length: int) -> None:
    """Check types, sizes, and that the tensors fill the data without gap or overlap."""
    unread = [name for name, entry in entries.items() if entry["dtype"] not in DTYPES]
    if unread:
        raise InputError(
            f"{path} stores tensor {some_of(unread)} as {entries[unread[0]]['dtype']}; "
            f"expected one of {', '.join(DTYPES)}"
        )
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        size = math.prod(entry["shape"]) * DTYPES[entry["dtype"]].itemsize
        if first != end or last - first != size or last > length:
            raise InputError(
                f"{path} puts tensor {name!r} at bytes {first} to {last} of {length}; expected "
                f"{size} bytes from {end}: the file is damaged or cut short"
            )
        end = last
    if end != length:
        raise InputError(
            f"{path} has {length} bytes of data where its header announces {end}; "
            f"expected {KIND}, whole"
        )


def _read_index(index: Path) -> dict[str, str]:
    with reading(index, "the index of a folder of safetensors files"):
        content = json.loads(index.read_bytes())
    wanted = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(wanted, dict) or not all(isinstance(file, str) for file in wanted.values()):
        raise InputError(f"{index} has no weight_map of names to files; expected one")
    return wanted


def _shards(path: Path, index: Path, wanted: dict[str, str]) -> list[Path]:
    names = sorted(set(wanted.values()))
    missing = [name for name in names if Path(name).name != name or not (path / name).is_file()]
    if missing:
        raise InputError(
            f"{path} lacks {', '.join(missing)}; expected every file that {index.name} names"
        )
    return [path / name for name in names]
