import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import drift, trees
from sublim_jax.aux_logits import AuxLogitsConfig, initialise, member_keys
from sublim_jax.aux_logits.starts import aligned, realign, starts
from sublim_jax.nets import HEADS, mlp

BASE = AuxLogitsConfig(members=3, widths=(24, 16))
INITS = initialise(BASE)
OTHERS = trees.take(INITS, np.array([1, 2, 0]))
INPUTS = jax.random.normal(jax.random.key(0), (5, 784))


def begun(start, scale=1.0):
    config = dataclasses.replace(BASE, start=start, start_scale=scale)
    return config, starts(config, member_keys(config), INITS, OTHERS)


def outputs(params):
    return jax.vmap(lambda p: mlp(BASE.net).apply(p, INPUTS))(params)


def test_the_same_start_is_the_same_arrays():
    assert begun("same")[1] is INITS


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_noise_is_measured_in_the_size_of_each_array(scale):
    added = trees.sub(begun("noise", scale)[1], INITS)
    for layer, arrays in added.items():
        assert not np.any(arrays["bias"])  # an array of zeros has no size
        for member in range(3):
            size = np.sqrt(np.mean(INITS[layer]["kernel"][member] ** 2))
            entries = arrays["kernel"][member]
            assert np.std(entries) == pytest.approx(scale * size, rel=6 / np.sqrt(entries.size))
    first, second = (np.ravel(added["hidden_0"]["kernel"][member]) for member in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)


def test_interpolation_ends_at_the_other_start():
    chex.assert_trees_all_close(begun("interpolated", 1.0)[1], OTHERS, atol=1e-6)
    middle = jax.tree.map(lambda a, b: (a + b) / 2, INITS, OTHERS)
    chex.assert_trees_all_close(begun("interpolated", 0.5)[1], middle, atol=1e-6)


@pytest.mark.parametrize(("start", "exchanged"), [("other_heads", True), ("other_hidden", False)])
def test_heads_and_hidden_layers_are_exchanged_whole(start, exchanged):
    begins = begun(start)[1]
    for layer in begins:
        source = OTHERS if (layer in HEADS) == exchanged else INITS
        chex.assert_trees_all_equal(begins[layer], source[layer])


def test_permuted_units_make_the_same_function_and_are_found_again():
    config, begins = begun("permuted")
    np.testing.assert_allclose(outputs(begins), outputs(INITS), atol=1e-5)
    naive = drift.inner_products(trees.take(begins, 0), trees.take(INITS, 0), INITS)
    assert abs(drift.cosine(drift.total(naive))) < 0.9
    units = tuple(jnp.asarray(layer) for layer in aligned(config, begins, INITS))
    back = jax.vmap(lambda tree, units: realign(config, tree, units))(INITS, units)
    chex.assert_trees_all_equal(back, begins)


def test_members_are_permuted_each_in_its_own_way():
    units = aligned(BASE, begun("permuted")[1], INITS)
    assert [layer.shape for layer in units] == [(3, 24), (3, 16)]
    for layer in units:
        assert len({tuple(order) for order in layer}) == 3
