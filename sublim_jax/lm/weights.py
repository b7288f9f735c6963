"""Parameters from the tensors of a file, and back: every tensor used exactly once."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.families import BUFFERS, names_of
from sublim_jax.tensorfiles import TensorSource, read_tensor

MOST = 8


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


def load(config: DecoderConfig, source: TensorSource, dtype: Any = jnp.float32) -> Params:
    """Read parameters.

    Args:
        config: the shape they must have.
        source: an opened file or folder.
        dtype: as what they are kept.

    Raises:
        InputError: tensors are missing, left over or of another shape: all are told at once.
    """
    wanted = _leaves(config)
    _check(config, source, jax.tree.leaves(wanted, is_leaf=_is_leaf))

    def read(leaf: _Leaf) -> jax.Array:
        shape = leaf.shape[::-1] if leaf.transposed else leaf.shape
        whole = np.empty((len(leaf.names), *shape), dtype)
        for place, name in zip(whole, leaf.names, strict=True):
            tensor = read_tensor(source, name)
            place[...] = tensor.T if leaf.transposed else tensor
        return jnp.asarray(whole if leaf.stacked else whole[0])

    return jax.tree.map(read, wanted, is_leaf=_is_leaf)


def tensors(config: DecoderConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Give the tensors of a file, one after another: the inverse of `load`."""
    leaves = zip(
        jax.tree.leaves(_leaves(config), is_leaf=_is_leaf), jax.tree.leaves(params), strict=True
    )
    for leaf, array in leaves:
        for index, name in enumerate(leaf.names):
            one = np.asarray(array[index] if leaf.stacked else array)
            yield name, np.ascontiguousarray(one.T if leaf.transposed else one)


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


def _unread(config: DecoderConfig, name: str) -> bool:
    """Tell what may lie in a file and is not read: buffers, and a head that is the embedding."""
    return name.endswith(BUFFERS) or (config.tied and name == names_of(config)["head/kernel"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (", …" if len(names) > MOST else "")
