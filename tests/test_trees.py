import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from sublim_jax import trees

SHAPES = {
    "hidden_0": {"kernel": (7, 5), "bias": (5,)},
    "hidden_1": {"kernel": (5, 4), "bias": (4,)},
    "head": {"scale": ()},
}


def draw(seed, dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: np.asarray(rng.normal(size=shape)).astype(dtype),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize("seed", range(5))
def test_reductions_are_those_of_the_flattened_vectors(seed):
    a, b = draw(seed), draw(seed + 100)
    x, y = flat(a), flat(b)
    np.testing.assert_allclose(trees.dot(a, b), x @ y, atol=1e-5)
    np.testing.assert_allclose(trees.norm(a), np.linalg.norm(x), rtol=1e-6)
    np.testing.assert_allclose(
        trees.cosine(a, b), x @ y / np.linalg.norm(x) / np.linalg.norm(y), atol=1e-6
    )
    np.testing.assert_array_equal(flat(trees.sub(a, b)), (x - y).astype(np.float32))


def test_float64_stays_float64():
    with jax.enable_x64(True):
        a, b = draw(0, np.float64), draw(1, np.float64)
        product = trees.dot(a, b)
        assert product.dtype == jnp.float64
        np.testing.assert_allclose(product, flat(a) @ flat(b), rtol=1e-13)


def test_the_layers_add_up_to_the_whole():
    with jax.enable_x64(True):
        a, b = draw(0, np.float64), draw(1, np.float64)
        by_layer = trees.dot_by_layer(a, b)
        np.testing.assert_allclose(by_layer.sum(), trees.dot(a, b), rtol=1e-13)


def test_layers_are_reported_in_the_order_of_their_names():
    a, b = draw(0), draw(1)
    assert trees.layers(a) == ("head", "hidden_0", "hidden_1")
    reordered = dict(reversed(a.items()))
    assert trees.layers(reordered) == trees.layers(a)
    np.testing.assert_array_equal(trees.dot_by_layer(reordered, b), trees.dot_by_layer(a, b))
    for name, product in zip(trees.layers(a), trees.dot_by_layer(a, b), strict=True):
        np.testing.assert_allclose(product, flat(a[name]) @ flat(b[name]), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_half_precision_is_summed_in_float32(dtype):
    a = draw(0, dtype, {"layer": {"kernel": (200, 200)}})
    product, exact = trees.dot(a, a), flat(a) @ flat(a)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, exact, rtol=1e-5)
    # The test can tell: a result of that precision is further away.
    assert abs(float(np.asarray(exact).astype(dtype)) / exact - 1) > 1e-5


def test_mixed_precisions_are_multiplied_in_the_wider():
    a, b = draw(0, jnp.bfloat16), draw(1, np.float32)
    np.testing.assert_allclose(trees.dot(a, b), flat(a) @ flat(b), rtol=1e-5)


def test_the_cosine_with_a_zero_tree_is_undefined():
    a = draw(0)
    zero = jax.tree.map(np.zeros_like, a)
    assert np.isnan([trees.cosine(a, zero), trees.cosine(zero, a), trees.cosine(zero, zero)]).all()


def test_trees_of_other_layers_are_not_multiplied():
    a = draw(0)
    less = {name: layer for name, layer in a.items() if name != "head"}
    with pytest.raises(ValueError, match="head"):
        trees.dot(a, less)
    with pytest.raises(ValueError, match="head"):
        trees.dot_by_layer(a, less)


def test_every_function_of_trees_can_be_compiled_and_batched():
    a, b = draw(0), draw(1)
    stacked = jax.tree.map(lambda x, y: np.stack([x, y]), a, b)
    for function in (trees.dot, trees.cosine, trees.dot_by_layer, trees.sub):
        eager = [function(a, b), function(b, b)]
        compiled = jax.jit(jax.vmap(function, in_axes=(0, None)))(stacked, b)
        jax.tree.map(
            lambda c, *e: np.testing.assert_allclose(c, np.stack(e), rtol=1e-5, atol=1e-5),
            compiled,
            *eager,
        )


def test_take_indexes_every_leaf():
    a, b = draw(0), draw(1)
    stacked = jax.tree.map(lambda x, y: np.stack([x, y]), a, b)
    assert trees.fingerprint(trees.take(stacked, 1)) == trees.fingerprint(b)
    assert trees.fingerprint(trees.take(stacked, np.array([0, 1]))) == trees.fingerprint(stacked)


def nest(array):
    return {"layer": {"kernel": array, "bias": np.zeros(2, np.float32)}}


arrays = hnp.arrays(
    st.sampled_from([np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int32)]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=2),
    elements=st.integers(0, 1),
)


@settings(deadline=None)
@given(arrays, arrays)
def test_fingerprints_are_equal_exactly_when_arrays_are(one, other):
    same = one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
    assert (trees.fingerprint(nest(one)) == trees.fingerprint(nest(other))) == same


@settings(deadline=None)
@given(st.data(), hnp.arrays(np.float32, (3, 2), elements=st.floats(-1, 1, width=32)))
def test_one_bit_changes_the_fingerprint(data, array):
    bit = data.draw(st.integers(0, array.nbytes * 8 - 1))
    flipped = array.copy()
    flipped.reshape(-1).view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert trees.fingerprint(nest(array)) != trees.fingerprint(nest(flipped))


def test_the_fingerprint_sees_names_shapes_and_types():
    array = np.arange(6, dtype=np.float32)
    variants = [
        {"a": array},
        {"b": array},
        {"a": {"a": array}},
        {"a": array.reshape(2, 3)},
        {"a": array.reshape(3, 2)},
        {"a": array.reshape(1, 6)},
        {"a": array.view(np.int32)},
        {"a": array[:3], "b": array[3:]},
        {"a": array[0]},
        {"a": array[:1]},
        {"a": array[:0]},
    ]
    assert len({trees.fingerprint(tree) for tree in variants}) == len(variants)


def test_the_fingerprint_sees_only_the_arrays():
    a = draw(0)
    on_device = jax.tree.map(jnp.asarray, a)
    reordered = {name: dict(reversed(layer.items())) for name, layer in reversed(a.items())}
    columns = jax.tree.map(np.asfortranarray, a)
    columns["head"]["scale"] = a["head"]["scale"]  # numpy gives a scalar an axis
    for same in (on_device, reordered, columns):
        assert trees.fingerprint(same) == trees.fingerprint(a)
