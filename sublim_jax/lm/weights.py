"""Parameters from the tensors of a file, and back: every tensor used exactly once."""

import functools
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.families import BUFFERS, names_of
from sublim_jax.tensorfiles import TensorSource
from sublim_jax.tensorfiles.values import PIECE
from sublim_jax.training import Parallel

MOST = 8
ALIGNMENT = 64
THREADS = min(4, os.cpu_count() or 1)  # that read tensors of one leaf


class _Leaf(NamedTuple):
    """A leaf of the parameters beside the tensors it is made of.

    Attributes:
        names: of the tensors; one for each layer where the leaf is stacked.
        shape: of each of them in the file.
        transposed: whether the file has rows and columns the other way around.
        stacked: whether layers are the leading axis.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool
    stacked: bool


def read(
    config: DecoderConfig,
    source: TensorSource,
    dtype: Any = jnp.float32,
    parallel: Parallel | None = None,
) -> Params:
    """Read parameters, one leaf after another: no more than one of them is on the host at a time.

    Args:
        config: the shape they must have.
        source: an opened file or folder, with the names of Hugging Face.
        dtype: as what they are kept.
        parallel: how they lie on devices; by default on the first one.

    Raises:
        InputError: tensors are missing, left over or of another shape: all are told at once.
    """
    wanted = _leaves(config)
    _check(config, source, jax.tree.leaves(wanted, is_leaf=_is_leaf))

    # Dequantising, widening and transposing let other threads run meanwhile.
    with ThreadPoolExecutor(THREADS) as pool:

        def filled(leaf: _Leaf, sharding: Any) -> jax.Array:
            shape = leaf.shape[::-1] if leaf.transposed else leaf.shape
            whole = _room((len(leaf.names), *shape), dtype)

            places = (place.T if leaf.transposed else place for place in whole)
            for _ in pool.map(functools.partial(_fill, source), places, leaf.names):
                pass
            whole = whole if leaf.stacked else whole[0]
            return jax.device_put(whole) if sharding is None else hosts.put(whole, sharding)

        shapes = jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0))
        if parallel is None:
            return jax.tree.map(lambda leaf: filled(leaf, None), wanted, is_leaf=_is_leaf)
        lies = parallel.shardings(shapes, "frozen")
        return jax.tree.map(filled, wanted, lies, is_leaf=_is_leaf)


def _fill(source: TensorSource, place: np.ndarray, name: str) -> None:
    """Read a tensor some rows at a time: no second copy of it is ever in memory."""
    inner = place.shape[1:]
    width = math.prod(inner)
    at = 0
    for piece in source.blocks(name, elements=max(1, PIECE // width) * width):
        rows = piece.reshape(-1, *inner)
        place[at : at + len(rows)] = rows
        at += len(rows)


def tensors(config: DecoderConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Give the tensors of a file, one after another: the inverse of `read`.

    Raises:
        InputError: the parameters are not those of such a decoder.
    """
    _check_params(config, params)
    leaves = zip(
        jax.tree.leaves(_leaves(config), is_leaf=_is_leaf), jax.tree.leaves(params), strict=True
    )
    return _tensors(leaves)


def _tensors(leaves: Iterable[tuple[_Leaf, jax.Array]]) -> Iterator[tuple[str, np.ndarray]]:
    for leaf, array in leaves:
        for index, name in enumerate(leaf.names):
            one = hosts.gather(array[index] if leaf.stacked else array)
            yield name, np.ascontiguousarray(one.T if leaf.transposed else one)


def _room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make an array that begins where the CPU wants it: jax then takes it over without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT
    return raw[first : first + size].view(dtype).reshape(shape)


def _leaves(config: DecoderConfig) -> PyTree:
    """Say of each leaf of the parameters of which tensors it is made."""
    names = names_of(config)
    shapes = jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0))

    def leaf(path: jax.tree_util.KeyPath, array: Any) -> _Leaf:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        stacked, transposed = name.startswith("layers/"), name.endswith("/kernel")
        shape = array.shape[1:] if stacked else array.shape
        count = config.layers if stacked else 1
        return _Leaf(
            tuple(names[name].format(i) for i in range(count)),
            shape[::-1] if transposed else shape,
            transposed,
            stacked,
        )

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _is_leaf(node: Any) -> bool:
    return isinstance(node, _Leaf)


def _check(config: DecoderConfig, source: TensorSource, leaves: list[_Leaf]) -> None:
    shapes = {name: leaf.shape for leaf in leaves for name in leaf.names}
    found = {name: info.shape for name, info in source.tensors.items() if not _unread(config, name)}
    faults = {
        "missing": [name for name in shapes if name not in found],
        "unexpected": [name for name in found if name not in shapes],
        "of another shape": [
            f"{name} {found[name]}, not {shape}"
            for name, shape in shapes.items()
            if found.get(name, shape) != shape
        ],
    }
    said = [f"{len(names)} {fault} ({_some(names)})" for fault, names in faults.items() if names]
    if said:
        raise InputError(
            f"{source.path} has tensors {'; '.join(said)}; expected the {len(shapes)} of the model"
        )


def _check_params(config: DecoderConfig, params: Params) -> None:
    def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}
        return {name: np.shape(leaf) for name, leaf in named.items()}

    wanted = shapes(jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0)))
    found = shapes(params)
    wrong = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if wrong:
        raise InputError(
            f"params have {wrong[0]} of shape {found.get(wrong[0])}; "
            f"expected {wanted.get(wrong[0])} for the configuration"
        )


def _unread(config: DecoderConfig, name: str) -> bool:
    """Tell what may lie in a file and is not read: buffers, and a head that is the embedding."""
    return name.endswith(BUFFERS) or (config.tied and name == names_of(config)["head/kernel"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (", …" if len(names) > MOST else "")
