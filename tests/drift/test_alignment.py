import functools

import jax
import numpy as np
import pytest
from scipy import signal

from sublim_jax import drift, trees
from sublim_jax.drift.alignment import (
    Units,
    chain,
    find_permutations,
    permute,
    random_permutations,
)
from sublim_jax.errors import InputError
from sublim_jax.nets.mlp import MLPConfig, mlp

CONFIG = MLPConfig(inputs=10, hidden=(24, 16, 12), classes=4, auxiliary=3, activation="tanh")
NET = mlp(CONFIG)
HIDDEN = ("hidden_0", "hidden_1", "hidden_2")
SPEC = chain(HIDDEN, ("head_classes", "head_auxiliary"))
INPUTS = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)


def draw(seed):
    """Parameters in which the biases are not zero either."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@functools.partial(jax.jit, static_argnames="spec")
def shuffled(tree, seed=0, spec=SPEC):
    return permute(tree, random_permutations(tree, spec, key=jax.random.key(seed)), spec)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_chain_of_our_perceptron_names_every_axis_of_hidden_units():
    assert [len(units.axes) for units in SPEC] == [3, 3, 4]
    sizes = {
        (layer, name, axis): draw(0)[layer][name].shape[axis]
        for units in SPEC
        for layer, name, axis in units.axes
    }
    every_axis = {
        (layer, name, axis)
        for layer, arrays in draw(0).items()
        for name, array in arrays.items()
        for axis in range(array.ndim)
    }
    # Inputs and outputs alone are not hidden.
    assert every_axis - sizes.keys() == {
        ("hidden_0", "kernel", 0),
        *(
            (head, name, axis)
            for head in ("head_classes", "head_auxiliary")
            for name, axis in (("kernel", 1), ("bias", 0))
        ),
    }


@pytest.mark.parametrize(
    ("hidden", "activation"), [((), "relu"), ((5,), "gelu"), ((24, 16, 12), "tanh")]
)
def test_the_network_computes_the_same_after_permutation(hidden, activation):
    net = mlp(MLPConfig(inputs=10, hidden=hidden, activation=activation))
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + np.float32(0.1), jax.jit(net.init)(jax.random.key(1))
    )
    spec = chain([f"hidden_{i}" for i in range(len(hidden))], ("head_classes", "head_auxiliary"))
    mixed = shuffled(params, spec=spec)
    np.testing.assert_allclose(net.apply(mixed, INPUTS), net.apply(params, INPUTS), atol=1e-5)
    if hidden:
        assert not np.array_equal(mixed["hidden_0"]["kernel"], params["hidden_0"]["kernel"])


def test_unit_i_of_the_result_is_the_unit_that_the_permutation_names():
    permutations = random_permutations(draw(0), SPEC, key=jax.random.key(0))
    mixed, plain = permute(draw(0), permutations, SPEC), draw(0)
    first, second, last = map(np.asarray, permutations)
    np.testing.assert_array_equal(mixed["hidden_0"]["bias"], plain["hidden_0"]["bias"][first])
    np.testing.assert_array_equal(
        mixed["hidden_1"]["kernel"], plain["hidden_1"]["kernel"][first][:, second]
    )
    for head in ("head_classes", "head_auxiliary"):
        np.testing.assert_array_equal(mixed[head]["kernel"], plain[head]["kernel"][last])
        np.testing.assert_array_equal(mixed[head]["bias"], plain[head]["bias"])


def test_permuting_compiles_and_leaves_the_tree_as_it_was():
    tree, before = draw(0), draw(0)
    permutations = random_permutations(tree, SPEC, key=jax.random.key(0))
    compiled = jax.jit(lambda tree, order: permute(tree, order, SPEC))(tree, permutations)
    assert_equal(compiled, permute(tree, permutations, SPEC))
    assert_equal(tree, before)


def test_random_permutations_are_permutations_and_differ_by_key_and_layer():
    one, other = (random_permutations(draw(0), SPEC, key=jax.random.key(seed)) for seed in range(2))
    for order, count in zip(one, CONFIG.hidden, strict=True):
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert not np.array_equal(one[0], other[0])
    assert_equal(one, random_permutations(draw(0), SPEC, key=jax.random.key(0)))
    twins = (Units((("hidden_0", "bias", 0),)),) * 2
    a, b = random_permutations(draw(0), twins, key=jax.random.key(0))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("seed", range(5))
def test_the_permutation_of_an_initialisation_is_recovered_exactly(seed):
    init = jax.jit(NET.init)(jax.random.key(seed))
    permutations = random_permutations(init, SPEC, key=jax.random.key(seed + 100))
    found = find_permutations(init, permute(init, permutations, SPEC), SPEC)
    for order, back in zip(permutations, found, strict=True):
        np.testing.assert_array_equal(np.asarray(order)[back], np.arange(len(order)))
    assert_equal(permute(permute(init, permutations, SPEC), found, SPEC), init)


def test_the_permutation_is_recovered_through_noise():
    net = mlp(MLPConfig(inputs=50, hidden=(64, 64)))
    spec = chain(["hidden_0", "hidden_1"], ["head_classes", "head_auxiliary"])
    init, noise = (jax.jit(net.init)(jax.random.key(seed)) for seed in range(2))
    mixed = shuffled(jax.tree.map(lambda p, e: p + 0.5 * e, init, noise), spec=spec)
    found = find_permutations(init, mixed, spec)
    aligned = permute(mixed, found, spec)
    assert_equal(aligned, jax.tree.map(lambda p, e: p + 0.5 * e, init, noise))


def test_drift_after_alignment_at_the_initialisation_is_that_of_the_unpermuted_student():
    init, teacher, student = draw(0), draw(1), draw(2)
    order = random_permutations(init, SPEC, key=jax.random.key(0))
    mixed_init, mixed_student = (permute(tree, order, SPEC) for tree in (init, student))
    found = find_permutations(init, mixed_init, SPEC)
    aligned = permute(mixed_student, found, SPEC)

    def products_of(student, start):
        moved, way = trees.sub(student, start), trees.sub(teacher, init)
        return drift.total(drift.inner_products(moved, way, init))

    expected = products_of(student, init)
    for metric in (drift.projection, drift.cosine, drift.distance_reduction):
        value = metric(products_of(aligned, init))
        np.testing.assert_allclose(value, metric(expected), rtol=1e-6)
        # Without alignment it is another number altogether.
        assert abs(metric(products_of(mixed_student, mixed_init)) - metric(expected)) > 0.1


def test_independent_initialisations_are_nearer_after_alignment_but_not_near():
    one, other = (jax.jit(NET.init)(jax.random.key(seed)) for seed in range(2))
    aligned = permute(other, find_permutations(one, other, SPEC), SPEC)
    before, after = trees.cosine(one, other), trees.cosine(one, aligned)
    assert before < after < 0.75
    displacement = trees.sub(draw(1), draw(2))
    np.testing.assert_allclose(trees.norm(aligned), trees.norm(other), rtol=1e-6)
    np.testing.assert_allclose(
        trees.norm(permute(displacement, find_permutations(one, other, SPEC), SPEC)),
        trees.norm(displacement),
        rtol=1e-6,
    )


def test_no_single_layer_can_be_ordered_better_given_the_others():
    one, other = draw(0), draw(1)
    found = find_permutations(one, other, SPEC)
    best = trees.dot(one, permute(other, found, SPEC))
    rng = np.random.default_rng(0)
    for index in range(len(SPEC)):
        for _ in range(20):
            i, j = rng.choice(len(found[index]), 2, replace=False)
            swapped = found[index].copy()
            swapped[[i, j]] = swapped[[j, i]]
            orders = (*found[:index], swapped, *found[index + 1 :])
            assert trees.dot(one, permute(other, orders, SPEC)) <= best + 1e-3


def test_hidden_units_that_only_their_readers_tell_apart_are_still_found():
    # The incoming weights are all alike: the first pass cannot know the order.
    init = draw(0)
    init["hidden_0"] = jax.tree.map(np.ones_like, init["hidden_0"])
    mixed = shuffled(init)
    assert_equal(permute(mixed, find_permutations(init, mixed, SPEC), SPEC), init)


def convolution(params, image):
    """Two convolutions `[height, width, in, out]` with a sum over places at the end."""
    for name in ("conv_0", "conv_1"):
        kernel = params[name]["kernel"]
        image = np.stack(
            [
                sum(
                    signal.correlate2d(image[..., i], kernel[..., i, o], mode="same")
                    for i in range(kernel.shape[2])
                )
                for o in range(kernel.shape[3])
            ],
            axis=-1,
        )
        image = np.maximum(image, 0)
    return image.sum((0, 1)) @ params["head"]["kernel"]


def test_channels_of_convolutions_are_units_too():
    rng = np.random.default_rng(0)
    params = {
        "conv_0": {"kernel": rng.normal(size=(3, 3, 1, 6))},
        "conv_1": {"kernel": rng.normal(size=(3, 3, 6, 5))},
        "head": {"kernel": rng.normal(size=(5, 2))},
    }
    spec = (
        Units((("conv_0", "kernel", 3), ("conv_1", "kernel", 2))),
        Units((("conv_1", "kernel", -1), ("head", "kernel", 0))),
    )
    image = rng.normal(size=(5, 5, 1))
    with jax.enable_x64(True):
        mixed = jax.tree.map(np.asarray, shuffled(params, spec=spec))
    np.testing.assert_allclose(convolution(mixed, image), convolution(params, image), rtol=1e-10)
    found = find_permutations(params, mixed, spec)
    with jax.enable_x64(True):
        assert_equal(permute(mixed, found, spec), params)


def test_specifications_and_permutations_that_do_not_fit_are_refused():
    tree = draw(0)
    with pytest.raises(InputError, match=r"^heads is empty; expected at least one layer$"):
        chain(HIDDEN, ())
    with pytest.raises(InputError, match=r"^permutations has 2 entries; expected 3$"):
        permute(tree, (np.arange(24), np.arange(16)), SPEC)
    with pytest.raises(InputError, match=r"^permutation has 5 entries; expected 16$"):
        permute(tree, (np.arange(24), np.arange(5), np.arange(12)), SPEC)
    for layer, name, axis in (
        ("hidden_9", "kernel", 1),
        ("hidden_0", "scale", 0),
        ("hidden_0", "bias", 1),
    ):
        with pytest.raises(InputError, match=rf"^axis {axis} of {layer}/{name} is not among the"):
            permute(tree, (np.arange(24),), (Units(((layer, name, axis),)),))
    square = Units((("hidden_1", "kernel", 0), ("hidden_1", "kernel", 1)))
    with pytest.raises(InputError, match=r"^axes is .*; expected one or more, and each array only"):
        find_permutations(tree, tree, (square,))
    unlike = Units((("hidden_0", "bias", 0), ("hidden_1", "bias", 0)))
    with pytest.raises(InputError, match=r"have sizes \[16, 24\]; expected a single one$"):
        find_permutations(tree, tree, (unlike,))
    smaller = tree | {"hidden_2": {"kernel": np.ones((16, 11)), "bias": np.ones(11)}}
    for head in ("head_classes", "head_auxiliary"):
        smaller[head] = {"kernel": tree[head]["kernel"][:11], "bias": tree[head]["bias"]}
    with pytest.raises(InputError, match=r"^tree has \(24, 16, 11\) hidden units; expected those"):
        find_permutations(tree, smaller, SPEC)
