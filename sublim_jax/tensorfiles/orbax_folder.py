"""Checkpoint folders of orbax, read array by array through tensorstore.

Only what orbax writes beside the arrays (``_METADATA``: the tree, and in which of tensorstore's
formats its leaves are) is read by ourselves; orbax itself is not needed, nor JAX.
"""

import functools
import itertools
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.source import TensorInfo, check_request, reading, regrouped, some_of
from sublim_jax.tensorfiles.values import is_readable, read_blocks, widened

KIND = "an orbax checkpoint"
TREE = "_METADATA"
CHECKPOINT = "_CHECKPOINT_METADATA"
DATABASE = "manifest.ocdbt"
SEAL = "seal.json"  # of `sublim_jax.training.Checkpoints`
BOX = 1 << 20  # elements read at a time, unless a chunk or a piece that is asked for is larger


class _Leaf(NamedTuple):
    info: TensorInfo
    dtype: np.dtype
    chunk: tuple[int, ...]
    spec: Mapping[str, Any]  # tensorstore's


class OrbaxFolder:
    """A checkpoint of orbax; see `sublim_jax.tensorfiles.TensorSource`.

    Names are paths in the tree, joined by ``/``: ``params/hidden_0/kernel``. Where the checkpoint
    has several items (``save_checkpointables``), the item comes first. Leaves that are no arrays
    (strings, None) are not listed; Python numbers are arrays without axes. What
    `sublim_jax.training.Checkpoints` numbers the leaves; it writes their names beside them, such as
    ``state/params/hidden_0/kernel``.

    Memory: the chunk is the least that can be decoded, so reading needs room for one, encoded and
    decoded; a large one then goes through a temporary file, piece by piece. A checkpoint of sharded
    arrays has a chunk for each shard. Where shards split other axes than the first, chunks are
    decoded several times instead of all being held.
    """

    def __init__(self, path: Path) -> None:
        """Read the tree and the shapes of its arrays.

        Raises:
            InputError: the folder is none of orbax, is damaged, or has an array of a type that is
                not read.
        """
        self.path = path
        self._leaves: dict[str, _Leaf] = {}
        with reading(path, KIND):
            items = _items(path)
            self._context = _context()
            for item in items:
                prefix = (item.name,) if len(items) > 1 else ()
                for name, leaf in _leaves(item, prefix, self._context):
                    if name in self._leaves:
                        raise InputError(f"{path} has two arrays {name!r}; expected distinct names")
                    self._leaves[name] = leaf
            self._leaves = _named(path, self._leaves)
        _check_types(path, self._leaves)
        self.tensors: Mapping[str, TensorInfo] = {
            name: leaf.info for name, leaf in self._leaves.items()
        }

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read an array piece by piece; see `TensorSource.blocks`.

        Raises:
            InputError: of the request, or while reading, of the files.
        """
        check_request(self, name, elements)
        return regrouped(self._boxes(self._leaves[name], elements), elements)

    def _boxes(self, leaf: _Leaf, elements: int) -> Iterator[np.ndarray]:
        with reading(self.path, KIND):
            array = _open(leaf.spec, self._context).result()
            limit = max(elements, math.prod(leaf.chunk), BOX)
            for box in _boxes(leaf.info.shape, leaf.chunk, limit):
                part = array[box]
                if part.size <= max(elements, BOX):
                    yield _read(part, leaf.chunk).astype(widened(leaf.dtype), copy=False)
                    continue
                # Of several checkpoints that are read side by side, one such chunk is in memory.
                with tempfile.TemporaryFile() as file:
                    _read(part, leaf.chunk).tofile(file)
                    file.seek(0)
                    yield from read_blocks(file, leaf.dtype, part.size, elements=elements)


def is_orbax(path: Path) -> bool:
    """Tell whether a folder, or one directly in it, looks like a checkpoint of orbax."""
    marks = (TREE, CHECKPOINT, DATABASE)
    return any(any(path.glob(f"{place}{mark}")) for mark in marks for place in ("", "*/"))


def _items(path: Path) -> list[Path]:
    """Find the folders of the checkpoint that hold a tree: itself, or those of its items."""
    if (path / TREE).exists():
        return [path]
    steps = sorted(found.parent.name for found in path.glob(f"*/{CHECKPOINT}"))
    if steps:
        raise InputError(
            f"{path} holds the checkpoints {', '.join(steps)}; expected the folder of one"
        )
    items = sorted(found.parent for found in path.glob(f"*/{TREE}"))
    if not items:
        raise InputError(
            f"{path} holds no {TREE} of orbax, nor does a folder in it; expected a whole "
            "checkpoint of a version of orbax that writes one"
        )
    return items


def _leaves(item: Path, prefix: tuple[str, ...], context: Any) -> Iterator[tuple[str, _Leaf]]:
    content = json.loads((item / TREE).read_bytes())
    try:
        entries = [
            (tuple(str(key["key"]) for key in entry["key_metadata"]), entry["value_metadata"])
            for entry in content["tree_metadata"].values()
        ]
        arrays = [
            keys
            for keys, value in entries
            if not value.get("skip_deserialize") and value.get("value_type") != "string"
        ]
        specs = [_spec(item, ".".join(keys), content) for keys in arrays]
    except (KeyError, TypeError, AttributeError) as fault:
        raise InputError(
            f"{item / TREE} is not as orbax writes it ({fault!r}); expected {KIND}"
        ) from fault
    opened = [_open(spec, context) for spec in specs]  # all at once: each waits for the disk
    for keys, spec, future in zip(arrays, specs, opened, strict=True):
        array, name = future.result(), "/".join((*prefix, *keys))
        dtype, shape = np.dtype(array.dtype.numpy_dtype), tuple(array.shape)
        chunk = tuple(array.chunk_layout.read_chunk.shape or shape)
        yield name, _Leaf(TensorInfo(name, shape, dtype.name), dtype, chunk, spec)


def _named(path: Path, leaves: dict[str, _Leaf]) -> dict[str, _Leaf]:
    """Give numbered leaves the names that are written beside them, if there are any."""
    seal = json.loads((path / SEAL).read_bytes()) if (path / SEAL).exists() else {}
    names = seal.get("names") if isinstance(seal, dict) else None
    if not isinstance(names, list):
        return leaves
    if set(leaves) != set(map(str, range(len(names)))) or len(set(names)) < len(names):
        raise InputError(
            f"{path / SEAL} names {len(names)} leaves where there are {len(leaves)}; expected a "
            "name of its own for each, by number"
        )
    return {
        name: leaves[str(i)]._replace(info=leaves[str(i)].info._replace(name=name))
        for i, name in enumerate(names)
    }


def _spec(item: Path, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    folder = f"{item.absolute()}/"
    files = {"driver": "file", "path": folder}
    if content.get("use_ocdbt", (item / DATABASE).exists()):
        store: dict[str, Any] = {"driver": "ocdbt", "base": files, "path": f"{name}/"}
    else:
        store = {"driver": "file", "path": f"{folder}{name}/"}
    return {
        "driver": "zarr3" if content.get("use_zarr3") else "zarr",
        "kvstore": store,
        # A chunk that is missing would be read as zeros.
        "fill_missing_data_reads": not content.get("store_array_data_equal_to_fill_value", False),
    }


def _open(spec: Mapping[str, Any], context: Any) -> Any:
    import tensorstore

    return tensorstore.open(dict(spec), open=True, read=True, context=context)


@functools.cache
def _context() -> Any:
    """Make a context of our own: without a cache, and with one chunk in memory at once.

    One for all checkpoints: each would have threads of its own, which keep the memory they had.
    """
    import tensorstore

    return tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": 1},
            "file_io_concurrency": {"limit": 1},
        }
    )


def _read(box: Any, chunk: tuple[int, ...]) -> np.ndarray:
    """Read a box, flat; few chunks at a time, for tensorstore decodes all that it needs at once."""
    chunk = chunk[len(chunk) - box.ndim :]
    many = max(1, BOX // max(1, math.prod(chunk)))
    ranges = [[slice(None)]] * min(1, box.ndim)  # boxes are cut along their first axis already
    for size, step in reversed(list(zip(box.shape[1:], chunk[1:], strict=True))):
        taken = min(many, -(-size // step))
        many //= taken
        ranges.insert(
            1, [slice(i, min(i + taken * step, size)) for i in range(0, size, taken * step)]
        )
    parts = list(itertools.product(*ranges))
    if len(parts) == 1:
        return np.asarray(box.read().result()).reshape(-1)
    values = np.empty(box.shape, box.dtype.numpy_dtype)
    for part in parts:
        values[part] = box[part].read().result()
    return values.reshape(-1)


def _check_types(path: Path, leaves: Mapping[str, _Leaf]) -> None:
    unread = [name for name, leaf in leaves.items() if not is_readable(leaf.dtype)]
    if unread:
        raise InputError(
            f"{path} stores array {some_of(unread)} as {leaves[unread[0]].dtype.name}; "
            "expected real numbers of 16, 32 or 64 bits, or integers of at least 8"
        )


def _boxes(
    shape: tuple[int, ...], chunk: tuple[int, ...], limit: int
) -> Iterator[tuple[int | slice, ...]]:
    """Cut an array into boxes that are consecutive in C order, of at most ``limit`` elements.

    Along the axis that is cut, boxes are whole chunks where they can be.
    """
    if not shape:
        yield ()
        return
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) > limit:
        axis += 1
    step = max(1, limit // max(1, math.prod(shape[axis + 1 :])))
    if step >= chunk[axis] > 0:
        step -= step % chunk[axis]
    for leading in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*leading, slice(start, min(start + step, shape[axis])))
