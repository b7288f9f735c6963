"""Where students start that share their teacher's initialisation, and how near it that is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from sublim_jax import rng, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig, Start
from sublim_jax.drift import alignment
from sublim_jax.nets import HEADS


def starts(
    config: AuxLogitsConfig, keys: Key[Array, " members"], inits: PyTree, others: PyTree
) -> PyTree:
    """Make the starts of stacked members.

    Args:
        config: says how.
        keys: of the members.
        inits: the teachers' initialisations.
        others: for each member another one's.
    """
    spec = hidden_units(config)

    def noise(key: Array, init: PyTree, other: PyTree) -> PyTree:
        del other
        leaves, structure = jax.tree.flatten(init)
        return structure.unflatten(
            leaf
            + config.start_scale
            * jnp.sqrt(jnp.mean(leaf**2))
            * jax.random.normal(rng.stream(key, i), leaf.shape)
            for i, leaf in enumerate(leaves)
        )

    def interpolated(key: Array, init: PyTree, other: PyTree) -> PyTree:
        del key
        return jax.tree.map(lambda a, b: a + config.start_scale * (b - a), init, other)

    def permuted(key: Array, init: PyTree, other: PyTree) -> PyTree:
        del other
        return alignment.permute(init, alignment.random_permutations(init, spec, key=key), spec)

    def exchanged(heads: bool) -> Callable[..., PyTree]:
        return lambda _, init, other: {
            name: other[name] if (name in HEADS) == heads else init[name] for name in init
        }

    make: dict[Start, Callable[..., PyTree]] = {
        "noise": noise,
        "interpolated": interpolated,
        "permuted": permuted,
        "other_hidden": exchanged(heads=False),
        "other_heads": exchanged(heads=True),
    }
    if config.start == "same":
        return inits
    keys = jax.vmap(lambda key: rng.stream(key, "start"))(keys)
    return jax.jit(jax.vmap(make[config.start]))(keys, inits, others)


def aligned(config: AuxLogitsConfig, begins: PyTree, inits: PyTree) -> tuple[np.ndarray, ...]:
    """Find the permutations of hidden units that lay stacked initialisations upon the starts.

    Returns:
        For each hidden layer ``[members, width]``, as `realign` takes them.
    """
    spec = hidden_units(config)
    members = len(jax.tree.leaves(inits)[0])
    begins, inits = jax.device_get((begins, inits))
    found = [
        alignment.find_permutations(trees.take(begins, member), trees.take(inits, member), spec)
        for member in range(members)
    ]
    return tuple(np.stack(layer) for layer in zip(*found, strict=True))


def realign(config: AuxLogitsConfig, tree: PyTree, permutations: tuple[Array, ...]) -> PyTree:
    """Permute the hidden units of one network as `aligned` has found."""
    return alignment.permute(tree, permutations, hidden_units(config))


def hidden_units(config: AuxLogitsConfig) -> tuple[alignment.Units, ...]:
    """Say which axes of the perceptron's arrays carry the same hidden units."""
    hidden = [f"hidden_{i}" for i in range(len(config.widths))]
    return alignment.chain(hidden, HEADS)
