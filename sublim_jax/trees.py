"""Algebra on parameter pytrees, and their layers.

A parameter tree is a dict whose top level names the layers. Every reduction asks for the highest
matmul precision and casts to float32 at least: accelerators otherwise multiply float32 in TF32 or
bfloat16, which is not enough to compare two displacements.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax import hosts


def sub(a: PyTree, b: PyTree) -> PyTree:
    """Subtract ``b`` from ``a`` leaf by leaf."""
    return jax.tree.map(jnp.subtract, a, b)


def take(tree: PyTree, index: Any) -> PyTree:
    """Index the leading axes of every leaf, for instance to pick members of a stacked tree."""
    return jax.tree.map(lambda array: array[index], tree)


def wide(tree: PyTree) -> PyTree:
    """Give every array in float32 or, where it is wider already, as it is."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32)), tree
    )


def dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """Take the Euclidean inner product of two trees of the same structure, in float32 or wider."""

    def leaf_dot(x: Array, y: Array) -> Array:
        wide = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
        # Not jnp.vdot: it ravels, which gathers an array that is split along a later axis.
        every_axis = tuple(range(jnp.ndim(x)))
        return jax.lax.dot_general(
            jnp.asarray(x, wide),
            jnp.asarray(y, wide),
            ((every_axis, every_axis), ((), ())),
            precision=jax.lax.Precision.HIGHEST,
        )

    return sum(jax.tree.leaves(jax.tree.map(leaf_dot, a, b)), start=jnp.zeros(()))


def norm(tree: PyTree) -> Float[Array, ""]:
    """Take the Euclidean norm of a tree."""
    return jnp.sqrt(dot(tree, tree))


def cosine(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """Take the cosine of the angle between two trees; NaN where either is zero."""
    lengths = norm(a) * norm(b)
    return jnp.where(lengths > 0, dot(a, b) / lengths, jnp.nan)


def held(tree: Mapping[str, PyTree], frozen: Sequence[str]) -> dict[str, PyTree]:
    """Give the tree with no gradient flowing into some of its layers."""
    return {
        name: jax.lax.stop_gradient(layer) if name in frozen else layer
        for name, layer in tree.items()
    }


def layers(tree: Mapping[str, PyTree]) -> tuple[str, ...]:
    """Name the layers of a parameter tree, in the order in which `dot_by_layer` reports them."""
    return tuple(sorted(tree))


def dot_by_layer(a: Mapping[str, PyTree], b: Mapping[str, PyTree]) -> Float[Array, " layers"]:
    """Take the inner product of each layer of ``a`` with the same layer of ``b``.

    The sum over layers is ``dot(a, b)``: an exact decomposition.

    Raises:
        ValueError: the layers are not the same.
    """
    if layers(a) != layers(b):
        raise ValueError(f"layers {layers(a)} and {layers(b)} differ; expected the same")
    return jnp.stack([dot(a[name], b[name]) for name in layers(a)])


def fingerprint(tree: PyTree) -> str:
    """Hash names, shapes, types and bytes of a tree: equal exactly when two trees are.

    Args:
        tree: concrete arrays; they are brought to the host, or to all of several.

    Returns:
        A SHA-256 digest in hexadecimal.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = np.asarray(hosts.gather(leaf))
        digest.update(f"{jax.tree_util.keystr(path)}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
