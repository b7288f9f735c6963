"""What is trained is taken out of the parameters, and put back where it was."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, TOKENS, golden

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, lora
from sublim_jax.lm.trained import Full, LoRA

KEY = jax.random.key(0)
FULL = [
    Full(),
    Full(matching="attention"),
    Full(matching=r"norm|embedding"),
    Full(layers=(1, 2)),
    Full(layers=(0, 2), matching=r"(up|down)/kernel"),
]
LOW_RANK = [
    LoRA(rank=2),
    LoRA(rank=3, layers=(1, 2)),
    LoRA(targets=("up", "down"), layers=(0, 2)),
    LoRA(rank=2, train_a=False),
]


def of(name="gemma3"):
    case = golden()[name]
    return case.config, case.params


def leaves(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("train", FULL)
@pytest.mark.parametrize("name", ["gemma3", "neox"])
def test_parameters_taken_apart_and_put_together_are_the_same(name, train):
    config, params = of(name)
    trained = train.start(config, params, KEY)
    chex.assert_trees_all_equal(train.join(train.rest(params, trained), trained), params)


@pytest.mark.parametrize("train", LOW_RANK)
@pytest.mark.parametrize("name", ["gemma3", "neox"])
def test_a_low_rank_part_changes_nothing_at_the_start(name, train):
    config, params = of(name)
    trained = train.start(config, params, KEY)
    joint = train.join(train.rest(params, trained), trained)
    chex.assert_trees_all_equal(lora.merge(joint), params)


def test_what_is_taken_out_is_what_matches():
    config, params = of()
    paths = leaves(params)
    assert set(Full().start(config, params, KEY)) == set(paths)
    for train in FULL:
        trained = train.start(config, params, KEY)
        inside = "layers/" if train.layers else ""
        assert set(trained) == {
            path for path in paths if path.startswith(inside) and re.search(train.matching, path)
        }
        first, last = train.layers or (0, None)
        for path, leaf in trained.items():
            part = paths[path][first:last] if path.startswith("layers/") else paths[path]
            np.testing.assert_array_equal(leaf, part)


@pytest.mark.parametrize("train", FULL)
def test_what_changes_is_what_is_trained_and_nothing_else(train):
    config, params = of()
    trained = train.start(config, params, KEY)
    moved = jax.tree.map(lambda leaf: leaf + 1, trained)
    found = leaves(train.join(train.rest(params, trained), moved))
    first, last = train.layers or (0, config.layers)
    for path, leaf in leaves(params).items():
        change = np.zeros(leaf.shape)
        if path in trained:
            change[slice(first, last) if path.startswith("layers/") else ...] = 1
        np.testing.assert_allclose(found[path] - leaf, change, atol=1e-6)


def loss(params):
    return jnp.mean(decoder.apply(of()[0], params, TOKENS) ** 2)


gradients_of_all = jax.jit(jax.grad(loss))


def test_gradients_are_those_with_all_parameters_at_what_is_trained():
    config, params = of()
    train = Full(layers=(1, 2))
    trained = train.start(config, params, KEY)
    rest = train.rest(params, trained)
    found = jax.jit(jax.grad(lambda trained: loss(train.join(rest, trained))))(trained)
    expected = train.start(config, gradients_of_all(params), KEY)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_what_is_trained_is_kept_in_float32_and_computed_in_the_type_of_the_rest():
    config, params = of()
    short = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    for train in (Full(layers=(1, 2)), Full(matching="mlp"), LoRA(rank=2)):
        trained = train.start(config, short, KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(trained)} == {np.dtype("float32")}
        joint = train.join(train.rest(short, trained), trained)
        hidden = jax.eval_shape(lambda joint: decoder.hidden(config, joint, TOKENS), joint)
        assert hidden.dtype == jnp.bfloat16
        if isinstance(train, Full):
            chex.assert_trees_all_equal(joint, short)


def test_only_matrices_that_are_named_get_a_low_rank_part():
    config, params = of()
    expected = {
        (): 7 * ["attention/key", "mlp/up"],
        ("query",): ["attention/query"],
        ("mlp/up", "value"): ["mlp/up", "attention/value"],
        ("up", "mlp/up"): ["mlp/up"],
    }
    for targets, paths in expected.items():
        trained = LoRA(rank=2, targets=targets).start(config, params, KEY)
        assert len(trained) == (len(paths) if targets else 7)
        assert set(trained) >= set(paths)
        for path, thin in trained.items():
            part, name = path.split("/")
            layers, inner, outer = params["layers"][part][name]["kernel"].shape
            assert (thin["a"].shape, thin["b"].shape) == (
                (layers, inner, 2),
                (layers, 2, outer),
            )
    assert set(LoRA(targets=("up",)).start(*of("neox"), KEY)) == {"up"}


def test_only_layers_that_are_named_get_a_low_rank_part():
    config, params = of()
    train = LoRA(rank=2, alpha=3.0, layers=(1, 2), targets=("up",))
    trained = train.start(config, params, KEY)
    moved = jax.tree.map(lambda leaf: leaf + 1, trained)
    merged = lora.merge(train.join(params, moved))
    change = jax.tree.map(jnp.subtract, merged, params)["layers"]["mlp"]["up"]["kernel"]
    assert not change[0].any()
    assert not change[2].any()
    thin = moved["mlp/up"]
    expected = 1.5 * thin["a"][0] @ thin["b"][0]
    np.testing.assert_allclose(change[1], expected, rtol=1e-4, atol=1e-5)
    others = jax.tree.map(jnp.subtract, merged, params)["layers"]["mlp"]["down"]["kernel"]
    assert not others.any()


@pytest.mark.parametrize("train_a", [True, False])
def test_gradients_of_a_low_rank_part_are_those_of_the_merged_kernel(train_a):
    config, params = of()
    train = LoRA(rank=2, layers=(1, 3), targets=("query", "down"), train_a=train_a)
    trained = train.start(config, params, KEY)
    trained = jax.tree.map(lambda leaf: leaf + 0.1, trained)

    found = jax.jit(jax.grad(lambda trained: loss(train.join(params, trained))))(trained)
    every = gradients_of_all(lora.merge(train.join(params, trained)))["layers"]
    kernels = {
        "attention/query": every["attention"]["query"]["kernel"],
        "mlp/down": every["mlp"]["down"]["kernel"],
    }
    assert set(found) == set(kernels)
    for path, full in kernels.items():
        a, b = trained[path]["a"], trained[path]["b"]
        full = full[1:3] * train.alpha / train.rank
        of_a, of_b = full @ b.swapaxes(1, 2), a.swapaxes(1, 2) @ full
        np.testing.assert_allclose(found[path]["b"], of_b, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found[path]["a"], train_a * of_a, rtol=1e-3, atol=1e-5)


def test_a_key_says_what_a_is():
    config, params = of()
    train = LoRA(rank=4)
    one, again, other = (
        train.start(config, params, jax.random.key(seed))["mlp/up"]["a"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    matrices = [thin["a"].ravel()[:20] for thin in train.start(config, params, KEY).values()]
    assert len(np.unique(np.stack(matrices), axis=0)) == len(matrices)
    assert np.abs(one).max() <= config.width**-0.5
    assert np.abs(one).max() > 0.9 * config.width**-0.5
    assert one.mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [Full, functools.partial(LoRA, rank=2)])
def test_layers_count_from_another_one_when_lower_ones_are_left_out(name, kind):
    config, params = of(name)
    train = kind(layers=(1, config.layers))
    assert train.first(config) == 1
    assert train.shifted(1) == kind(layers=(0, config.layers - 1))
    assert kind().shifted(0) == kind()
    assert kind().first(config) == 0
    trained = train.start(config, params, KEY)
    _, above = decoder.upper(config, params, 1)
    inside = train.shifted(1)
    found = lora.merge(inside.join(inside.rest(above, trained), trained))
    chex.assert_trees_all_equal(found, above)


@pytest.mark.parametrize("kind", [Full, LoRA])
@pytest.mark.parametrize("layers", [(0, 4), (3, 5)])
def test_layers_that_there_are_none_of_are_refused(kind, layers):
    config, params = of()
    message = re.escape(f"layers is {layers}; expected") + ".* from 0 and at most 3"
    with pytest.raises(InputError, match=message):
        kind(layers=layers).start(config, params, KEY)
    with pytest.raises(InputError, match=message):
        kind(layers=layers).first(config)


@pytest.mark.parametrize("kind", [Full, LoRA])
@pytest.mark.parametrize("layers", [(1, 1), (2, 1), (-1, 2)])
def test_layers_that_make_no_range_are_refused(kind, layers):
    with pytest.raises(InputError, match=re.escape(f"layers is {layers}; expected the first")):
        kind(layers=layers)


def test_what_names_no_parameter_is_refused():
    config, params = of()
    with pytest.raises(InputError, match="matching is 'atention'; expected part of"):
        Full(matching="atention").start(config, params, KEY)
    with pytest.raises(InputError, match="matching is 'embedding'; expected part of"):
        Full(matching="embedding", layers=(0, 1)).start(config, params, KEY)
    with pytest.raises(InputError, match=r"target is 'querry'; expected one of .*attention/query"):
        LoRA(targets=("up", "querry")).start(config, params, KEY)
    with pytest.raises(InputError, match="target is 'p'; expected one of"):
        LoRA(targets=("p",)).start(config, params, KEY)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Full, "matching", "("),
        (LoRA, "rank", 0),
        (LoRA, "alpha", 0.0),
        (LoRA, "alpha", float("nan")),
        (LoRA, "alpha", float("inf")),
        (LoRA, "dropout", 1.0),
        (LoRA, "dropout", -0.1),
        (LoRA, "dropout", float("nan")),
    ],
)
def test_a_bad_value_is_named_with_its_field(kind, field, value):
    with pytest.raises(InputError, match=re.escape(f"{field} is {value!r}; expected")):
        kind(**{field: value})


def test_a_layer_begins_alike_whichever_others_are_trained():
    config, params = golden()["llama"].config, golden()["llama"].params
    key = jax.random.key(3)
    whole = LoRA(rank=2).start(config, params, key)
    upper = LoRA(rank=2, layers=(1, config.layers)).start(config, params, key)
    for path, parts in upper.items():
        np.testing.assert_array_equal(parts["a"], whole[path]["a"][1:])
        assert not np.array_equal(whole[path]["a"][0], whole[path]["a"][1])
