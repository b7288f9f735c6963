"""A kernel with a low-rank part: what it is, what its gradients are, and what they cost."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import TOKENS, golden

from sublim_jax.lm import decoder, lora
from sublim_jax.lm.lora import Adapted, product
from sublim_jax.lm.trained import LoRA

ROWS, TOKENS_OF_ROW, INNER, OUTER, RANK, SCALE = 2, 5, 6, 7, 3, 0.7
NAMES = ("x", "weight", "a", "b")


def drawn(*, rank=RANK, inner=INNER, outer=OUTER):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (ROWS, TOKENS_OF_ROW, inner), (inner, outer), (inner, rank), (rank, outer)
    return {
        name: jax.random.normal(key, shape)
        for name, key, shape in zip(NAMES, keys, shapes, strict=True)
    }


def waves(shape):
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


def by_rule(x, weight, a, b):
    return product(x, Adapted(weight, a, b, scale=SCALE))


def plain(x, weight, a, b):
    return x @ weight + SCALE * (x @ a) @ b


def scalar(function, fixed):
    """A curved function of a few of the arguments, the others fixed."""
    return lambda moved: jnp.sum(jnp.sin(function(**fixed, **moved)))


def cut(arguments, names):
    """The arguments that are named, and the others."""
    moved = {name: arguments[name] for name in names}
    return moved, {name: value for name, value in arguments.items() if name not in names}


def test_a_product_is_what_it_says():
    with jax.enable_x64(True):
        arguments = {name: np.float64(array) for name, array in drawn().items()}
        np.testing.assert_allclose(by_rule(**arguments), plain(**arguments), rtol=1e-12)
        x, weight = arguments["x"], arguments["weight"]
        np.testing.assert_array_equal(product(x, weight), x @ weight)
        np.testing.assert_allclose(by_rule(**arguments | {"x": x[0, 0]}), plain(**arguments)[0, 0])


def test_with_b_at_zero_it_is_the_product_with_the_weight_to_the_bit():
    x, weight, a, b = drawn().values()
    zero = jnp.zeros_like(b)
    rows = x.reshape(-1, INNER)
    np.testing.assert_array_equal(by_rule(rows, weight, a, zero), rows @ weight)
    np.testing.assert_array_equal(lora.merged(weight, a, zero, SCALE), weight)


@pytest.mark.parametrize(
    "names", [("x",), ("weight",), ("a",), ("b",), ("a", "b"), ("x", "b"), NAMES]
)
def test_first_derivatives_are_those_of_the_plain_product(names):
    with jax.enable_x64(True):
        arguments = {name: np.float64(array) for name, array in drawn().items()}
        moved, fixed = cut(arguments, names)
        along = jax.tree.map(lambda array: waves(array.shape), moved)
        rule, auto = (scalar(function, fixed) for function in (by_rule, plain))
        chex.assert_trees_all_close(jax.grad(rule)(moved), jax.grad(auto)(moved), rtol=1e-10)
        chex.assert_trees_all_close(
            jax.jvp(rule, (moved,), (along,)), jax.jvp(auto, (moved,), (along,)), rtol=1e-10
        )


@pytest.mark.parametrize("names", [("a", "b"), NAMES])
def test_second_derivatives_are_those_of_the_plain_product(names):
    with jax.enable_x64(True):
        arguments = {name: np.float64(array) for name, array in drawn().items()}
        moved, fixed = cut(arguments, names)
        found, expected = (
            jax.jit(jax.hessian(scalar(function, fixed)))(moved) for function in (by_rule, plain)
        )
        chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-10)


def test_derivatives_go_through_loops_and_stacks_and_what_is_computed_again():
    """What a decoder does to it, and an ensemble: scan, checkpoint and vmap."""

    def gradients(function):
        def through(thin, stacked):
            def layer(x, of_layer):
                return jnp.tanh(jax.checkpoint(function)(x, **of_layer)), None

            return jnp.sum(jax.lax.scan(layer, x, stacked | thin)[0] ** 2)

        of_one = jax.jacfwd(jax.grad(through), argnums=1)  # second derivatives, too
        return jax.jit(jax.vmap(lambda thin: of_one(thin, {"weight": weight})))(thin)

    with jax.enable_x64(True):
        x = np.float64(drawn()["x"])
        keys = jax.random.split(jax.random.key(1), 3)
        weight = jax.random.normal(keys[0], (2, INNER, INNER))
        thin = {
            "a": jax.random.normal(keys[1], (3, 2, INNER, 1)),
            "b": jax.random.normal(keys[2], (3, 2, 1, INNER)),
        }
        chex.assert_trees_all_close(gradients(by_rule), gradients(plain), rtol=1e-8, atol=1e-9)


def equations(jaxpr):
    """All equations of a program, those inside loops and calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def matrices_made_of(jaxpr, rows):
    """The shapes of two-dimensional products that sum over so many rows."""
    shapes = set()
    for equation in equations(jaxpr):
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = [equation.invars[0].aval.shape[axis] for axis in contracted]
            if np.prod(sizes) == rows:
                shapes.add(tuple(sorted(equation.outvars[0].aval.shape)))
    return shapes


def test_no_gradient_of_the_weight_is_computed_on_the_way():
    arguments = drawn()
    rows = ROWS * TOKENS_OF_ROW
    full = {(INNER, OUTER)}
    for names, expected in ((("a", "b"), set()), (("x", "a", "b"), set()), (NAMES, full)):
        moved, fixed = cut(arguments, names)
        made = matrices_made_of(jax.make_jaxpr(jax.grad(scalar(by_rule, fixed)))(moved).jaxpr, rows)
        assert made & full == expected
        assert made - full  # those of the thin ones


@pytest.mark.parametrize(("name", "stacked"), [("gemma3", True), ("neox", False)])
def test_nor_in_a_decoder(name, stacked):
    config, params = golden()[name].config, golden()[name].params
    adapter = LoRA(rank=3).start(config, params, jax.random.key(0))
    tokens = TOKENS[:, :11]

    def loss(adapter, params):
        joint = LoRA(rank=3).join(params, adapter)
        joint = joint if stacked else decoder.unrolled(joint)
        return jnp.sum(decoder.hidden(config, joint, tokens, remat=stacked) ** 2)

    def made(argument):
        program = jax.make_jaxpr(jax.grad(loss, argnums=argument))(adapter, params)
        return matrices_made_of(program.jaxpr, tokens.size)

    kernels = {
        tuple(sorted(leaf.shape[1:]))
        for leaf in jax.tree.leaves(params["layers"])
        if leaf.ndim == 3
    }
    assert made(1) >= kernels  # so that what is looked for would be found
    assert not made(0) & kernels


def test_a_step_costs_one_product_with_the_weight_each_way():
    x, weight, a, b = drawn(inner=256, outer=256, rank=2).values()
    x = jnp.tile(x, (1, 100, 1))

    def cost(function, *arguments):
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    def loss(x, a, b):
        return jnp.sum(by_rule(x, weight, a, b) ** 2)

    one = cost(lambda x: x @ weight, x)
    assert cost(jax.grad(loss, argnums=(0, 1, 2)), x, a, b) < 2.2 * one


def small_change():
    """A weight in bfloat16, and a low-rank part that is lost where the two are added in it."""
    x, weight, a, b = drawn().values()
    weight = weight.astype(jnp.bfloat16)
    a, b = 1e-3 * a, 1e-2 * b
    np.testing.assert_array_equal(lora.merged(weight, a, b, SCALE), weight)
    return x, weight, a, b


def test_a_change_below_the_resolution_of_a_short_weight_is_not_lost():
    x, weight, a, b = small_change()
    found = by_rule(x, weight, a, b) - x @ weight
    np.testing.assert_allclose(found, SCALE * (x @ a) @ b, rtol=0.05, atol=1e-6)
    back = jax.grad(lambda x: jnp.sum(by_rule(x, weight, a, b) - x @ weight))(x)
    expected = jax.grad(lambda x: jnp.sum(SCALE * (x @ a) @ b))(x)
    np.testing.assert_allclose(back, expected, rtol=0.05, atol=1e-6)


def test_nor_where_all_is_short():
    """The outputs are rounded, but each by itself: on average over many the change is there."""
    x, weight, a, b = (part.astype(jnp.bfloat16) for part in small_change())
    x = jax.random.normal(jax.random.key(1), (1, 20_000, INNER), jnp.bfloat16)
    found = np.float32(by_rule(x, weight, a, b)) - np.float32(x @ weight)
    expected = np.float32(SCALE * (np.float32(x) @ np.float32(a)) @ np.float32(b))
    assert np.sum(found * expected) / np.sum(expected**2) == pytest.approx(1, abs=0.1)
    assert by_rule(x, weight, a, b).dtype == jnp.bfloat16


def test_a_merged_kernel_is_rounded_once():
    _, weight, a, b = drawn().values()
    weight = weight.astype(jnp.bfloat16)
    expected = (np.float32(weight) + SCALE * (a @ b)).astype(jnp.bfloat16)
    found = lora.merged(weight, a, b, SCALE)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected)


def with_a_low_rank_part(name, train=None):
    """A decoder with a low-rank part that is not zero."""
    config, params = golden()[name].config, golden()[name].params
    train = train or LoRA(rank=3)
    adapter = train.start(config, params, jax.random.key(0))
    adapter = jax.tree.map(lambda leaf: leaf + 0.1 * waves(leaf.shape), adapter)
    return config, train.join(params, adapter)


@pytest.mark.parametrize("name", ["gemma3", "neox"])
def test_merged_is_unmerged(name):
    config, joint = with_a_low_rank_part(name)
    merged = lora.merge(joint)
    assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, golden()[name].params)
    apply = functools.partial(jax.jit(decoder.apply, static_argnums=0), config)
    found = apply(merged, TOKENS)
    np.testing.assert_allclose(found, apply(joint, TOKENS), rtol=1e-4, atol=1e-5)
    assert np.abs(found - golden()[name].logits).max() > 0.1


def test_merging_what_is_plain_changes_nothing():
    params = golden()["llama"].params
    chex.assert_trees_all_equal(lora.merge(params), params)


def dropped(keys, *, dropout=0.25, tokens=50):
    """What is left of inputs of 1 as a thin part sees them, which alone is dropped out."""
    x = jnp.ones((len(keys), tokens, INNER))
    weight, a, b = jnp.zeros((INNER, INNER)), jnp.eye(INNER), jnp.eye(INNER)
    return np.asarray(product(x, Adapted(weight, a, b, keys, 1.0, dropout)))


def test_dropout_leaves_out_its_share_and_scales_up_the_others():
    found = dropped(jax.random.split(jax.random.key(0), 20))
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.75], rtol=1e-6)
    assert found.mean() == pytest.approx(1, abs=0.03)
    assert np.ptp(found.mean(axis=(0, 1))) < 0.15  # no input more than others
    assert found.std(axis=1).min() > 0.3  # each token has a mask of its own


def test_every_row_has_a_mask_of_its_own_that_its_key_alone_decides():
    keys = jax.random.split(jax.random.key(0), 3)
    found = dropped(keys)
    np.testing.assert_array_equal(dropped(keys), found)
    np.testing.assert_array_equal(dropped(keys[::-1])[::-1], found)
    np.testing.assert_array_equal(dropped(keys[1:2]), found[1:2])
    agree = [np.mean(found[i] == found[j]) for i, j in ((0, 1), (1, 2))]
    np.testing.assert_allclose(agree, 0.75**2 + 0.25**2, atol=0.15)


def test_layers_and_matrices_have_masks_of_their_own():
    config, params = golden()["gemma3"].config, golden()["gemma3"].params
    train = LoRA(rank=2, dropout=0.5)
    adapter = train.start(config, params, jax.random.key(0))
    rows = jax.random.split(jax.random.key(1), 2)
    joint = train.join(params, adapter, rows)
    found = jax.tree.leaves(joint["layers"], is_leaf=lambda leaf: isinstance(leaf, Adapted))
    keys = [leaf.keys for leaf in found if isinstance(leaf, Adapted)]
    assert {key.shape for key in keys} == {(config.layers, 2)}
    data = np.concatenate([jax.random.key_data(key).reshape(-1, 2) for key in keys])
    assert len(np.unique(data, axis=0)) == len(data) == 7 * config.layers * 2
    again = train.join(params, adapter, rows)
    chex.assert_trees_all_equal(*(jax.random.key_data(j["layers"]["mlp"]["up"]["kernel"].keys)
                                  for j in (joint, again)))  # fmt: skip


def test_without_keys_nothing_is_dropped_and_the_weight_never_is():
    train = LoRA(rank=3, dropout=0.5)
    config, joint = with_a_low_rank_part("llama", train)
    _, sure = with_a_low_rank_part("llama", dataclasses.replace(train, dropout=0.0))
    np.testing.assert_array_equal(
        decoder.apply(config, joint, TOKENS), decoder.apply(config, sure, TOKENS)
    )
    x, weight, a, b = drawn().values()
    keys = jax.random.split(jax.random.key(0), ROWS)
    kernel = Adapted(weight, a, jnp.zeros_like(b), keys, SCALE, 0.5)
    np.testing.assert_allclose(product(x, kernel), x @ weight, rtol=1e-6)


def test_dropout_is_differentiated_through_its_mask():
    x, weight, a, b = drawn().values()
    keys = jax.random.split(jax.random.key(0), ROWS)

    def loss(a, b, x):
        return jnp.sum(product(x, Adapted(weight, a, b, keys, SCALE, 0.5)) ** 2)

    def by_hand(a, b, x):
        mask = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, x.shape[1:]))(keys)
        return jnp.sum((x @ weight + SCALE * ((2 * mask * x) @ a) @ b) ** 2)

    found, expected = (jax.grad(f, argnums=(0, 1, 2))(a, b, x) for f in (loss, by_hand))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)
