"""Alignment of hidden units: drift is meaningful only up to the order of the units.

A student whose hidden units are permuted computes the same function, and is pulled just as much,
but its naive cosine is that of chance. The permutation is found at the initialisation and undone in
every later set of parameters. Independent initialisations are not permutations of each other: for
the 784-256-256-13 perceptron the best order that is found raises their cosine from 0 to 0.13, and
no common direction of drift is to be expected.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import rng
from sublim_jax.errors import InputError

MOST_SWEEPS = 100


class Units(NamedTuple):
    """Hidden units that may be permuted together.

    Attributes:
        axes: where the units stand, as (layer, array, axis): every axis along which the arrays are
            to be permuted for the network to stay the same function. Each array at most once.
    """

    axes: tuple[tuple[str, str, int], ...]


Permutations = tuple[Int[Array | np.ndarray, " units"], ...]


def chain(layers: Sequence[str], heads: Sequence[str]) -> tuple[Units, ...]:
    """Give the hidden units of a chain of dense layers with one or more heads at its end.

    Each layer and head holds a ``kernel`` ``[fan_in, fan_out]``, and each layer a ``bias``
    ``[fan_out]``, as in `sublim_jax.nets.mlp`.

    >>> chain(["hidden_0"], ["head_classes"])[0].axes
    (('hidden_0', 'kernel', 1), ('hidden_0', 'bias', 0), ('head_classes', 'kernel', 0))

    Args:
        layers: hidden layers from the inputs on; all have an activation unit by unit.
        heads: layers that read the last hidden layer.

    Raises:
        InputError: there are no heads.
    """
    if not heads:
        raise InputError("heads is empty; expected at least one layer")
    readers = [*([name] for name in layers[1:]), heads]
    return tuple(
        Units(
            (
                (name, "kernel", 1),
                (name, "bias", 0),
                *((reader, "kernel", 0) for reader in reading),
            )
        )
        for name, reading in zip(layers, readers, strict=False)
    )


def permute(tree: PyTree, permutations: Permutations, spec: Sequence[Units]) -> PyTree:
    """Permute the hidden units: unit ``i`` of the result is unit ``permutation[i]`` of ``tree``.

    Parameters keep their function, and displacements their inner products, when both trees are
    permuted. Traceable.

    Args:
        tree: parameters or a displacement, a dict of layers that are dicts of arrays.
        permutations: one array of indices for each entry of ``spec``.
        spec: where the units stand, from `chain` or written down.

    Raises:
        InputError: a permutation is missing or too many, or an axis or the units do not fit.
    """
    if len(permutations) != len(spec):
        raise InputError(f"permutations has {len(permutations)} entries; expected {len(spec)}")
    result = {layer: dict(arrays) for layer, arrays in tree.items()}
    for permutation, units, count in zip(permutations, spec, _counts(tree, spec), strict=True):
        if len(permutation) != count:
            raise InputError(f"permutation has {len(permutation)} entries; expected {count}")
        for layer, name, axis in units.axes:
            result[layer][name] = jnp.take(result[layer][name], permutation, axis=axis)
    return result


def random_permutations(
    tree: PyTree, spec: Sequence[Units], *, key: Key[Array, ""]
) -> Permutations:
    """Draw a uniformly random order of the units for each entry of ``spec``.

    Raises:
        InputError: an axis is not in ``tree``, or its units differ in number.
    """
    return tuple(
        jax.random.permutation(rng.stream(key, "permutation", i), count)
        for i, count in enumerate(_counts(tree, spec))
    )


def find_permutations(reference: PyTree, tree: PyTree, spec: Sequence[Units]) -> Permutations:
    """Find the permutations that bring ``tree`` nearest to ``reference``.

    First layer by layer in the order of ``spec``: the assignment of units that maximises the inner
    product of their weights, over the arrays whose other units are already in order (in a chain the
    incoming weights and the bias). Then over all arrays of a layer given the others, again and
    again until no layer gains. Each assignment is optimal, together they are a local optimum; an
    exact permutation of an initialisation is recovered exactly. On the host, in float64.

    Args:
        reference: parameters whose order of units is kept, as a rule an initialisation.
        tree: parameters to bring into that order.
        spec: where the units stand, from `chain` or written down, from the inputs on.

    Returns:
        Index arrays for `permute`, with ``permute(tree, found, spec)`` near ``reference``.

    Raises:
        InputError: an axis is not in a tree, its units differ in number, or an array is given twice
            for the same units.

    References:
        Ainsworth, Hayase and Srinivasa 2022, arXiv 2209.04836 (Git Re-Basin), section 3.2.
    """
    counts, expected = _counts(tree, spec), _counts(reference, spec)
    if counts != expected:
        raise InputError(f"tree has {counts} hidden units; expected those of reference, {expected}")
    reference, tree = _host(reference), _host(tree)
    found = [np.arange(count) for count in counts]
    for i in range(len(spec)):
        found[i] = _assignment(_likeness(reference, tree, spec, i, found, readers=False))
    for _ in range(MOST_SWEEPS):
        gained = False
        for i in range(len(spec)):
            likeness = _likeness(reference, tree, spec, i, found)
            better = _assignment(likeness)
            gain = np.sum(np.diag(likeness[:, better]) - np.diag(likeness[:, found[i]]))
            # Rounding must not make it go round in circles between equals.
            if gain > 1e-12 * np.abs(likeness).max() * len(better):
                found[i], gained = better, True
        if not gained:
            break
    return tuple(found)


def _likeness(
    reference: PyTree,
    tree: PyTree,
    spec: Sequence[Units],
    index: int,
    found: Sequence[np.ndarray],
    *,
    readers: bool = True,
) -> Float[np.ndarray, "units units"]:
    """Inner products of the weights of the reference's units with those of the tree's.

    Without ``readers`` arrays in which units that come later in the spec stand too are left out.
    """
    count = len(found[index])
    likeness = np.zeros((count, count))
    for layer, name, axis in spec[index].axes:
        array = tree[layer][name]
        others = [
            (i, other_axis)
            for i, units in enumerate(spec)
            for other_layer, other_name, other_axis in units.axes
            if (other_layer, other_name) == (layer, name) and i != index
        ]
        if not readers and any(i > index for i, _ in others):
            continue
        for i, other_axis in others:
            array = np.take(array, found[i], axis=other_axis)
        mine, theirs = (
            np.moveaxis(x, axis, 0).reshape(count, -1) for x in (reference[layer][name], array)
        )
        likeness += mine @ theirs.T
    return likeness


def _assignment(likeness: Float[np.ndarray, "units units"]) -> Int[np.ndarray, " units"]:
    from scipy import optimize  # half a second, for whoever measures drift without alignment

    return optimize.linear_sum_assignment(likeness, maximize=True)[1]


def _counts(tree: PyTree, spec: Sequence[Units]) -> tuple[int, ...]:
    """Number of units of each entry of the spec, after checking that it fits the tree."""
    return tuple(_count(tree, units) for units in spec)


def _count(tree: PyTree, units: Units) -> int:
    if len({axis[:2] for axis in units.axes}) != len(units.axes) or not units.axes:
        raise InputError(f"axes is {units.axes}; expected one or more, and each array only once")
    sizes = set()
    for layer, name, axis in units.axes:
        shape = jnp.shape(tree[layer][name]) if name in tree.get(layer, {}) else None
        if shape is None or not -len(shape) <= axis < len(shape):
            raise InputError(
                f"axis {axis} of {layer}/{name} is not among the parameters; "
                "expected a layer, an array in it and one of its axes"
            )
        sizes.add(shape[axis])
    if len(sizes) != 1:
        raise InputError(f"axes {units.axes} have sizes {sorted(sizes)}; expected a single one")
    return sizes.pop()


def _host(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
