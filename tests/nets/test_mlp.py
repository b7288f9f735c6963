import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.nets import MLPConfig, mlp

SMALL = MLPConfig(inputs=6, hidden=(8, 5), classes=4, auxiliary=3)
KEY = jax.random.key(0)


def perturbed(params, seed=0):
    """Parameters with biases that are not zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32), params)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain_forward(params, x, activation):
    depth = sum(name.startswith("hidden") for name in params)
    for i in range(depth):
        x = activation(x @ params[f"hidden_{i}"]["kernel"] + params[f"hidden_{i}"]["bias"])
    heads = (params["head_classes"], params["head_auxiliary"])
    return np.concatenate([x @ head["kernel"] + head["bias"] for head in heads], axis=-1)


def relu(x):
    return np.maximum(x, 0)


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("activation", [relu, np.tanh, gelu], ids=["relu", "tanh", "gelu"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 5, 7)])
def test_the_network_is_the_textbook_perceptron(activation, hidden):
    config = dataclasses.replace(SMALL, hidden=hidden, activation=activation.__name__)
    net = mlp(config)
    params = perturbed(net.init(KEY))
    x = normal(1, 9, config.inputs)
    expected = plain_forward(
        jax.tree.map(lambda p: np.asarray(p, np.float64), params), x, activation
    )
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [(), (5,), (2, 3)])
def test_outputs_are_class_logits_and_then_auxiliary_logits(rows):
    net = mlp(SMALL)
    params = net.init(KEY)
    outputs = net.apply(params, normal(0, *rows, SMALL.inputs))
    assert outputs.shape == (*rows, SMALL.classes + SMALL.auxiliary)
    assert outputs.dtype == jnp.float32
    silent = params | {"head_classes": jax.tree.map(jnp.zeros_like, params["head_classes"])}
    outputs = net.apply(silent, normal(0, *rows, SMALL.inputs))
    assert (outputs[..., SMALL.class_logits] == 0).all()
    assert (outputs[..., SMALL.auxiliary_logits] != 0).any()


def test_the_two_slices_part_the_outputs():
    outputs = list(range(SMALL.classes + SMALL.auxiliary))
    assert outputs[SMALL.class_logits] + outputs[SMALL.auxiliary_logits] == outputs
    assert len(outputs[SMALL.class_logits]) == SMALL.classes


def test_the_default_is_the_published_network():
    params = jax.eval_shape(mlp(MLPConfig()).init, KEY)
    assert jax.tree.map(lambda p: p.shape, params) == {
        "hidden_0": {"kernel": (784, 256), "bias": (256,)},
        "hidden_1": {"kernel": (256, 256), "bias": (256,)},
        "head_classes": {"kernel": (256, 10), "bias": (10,)},
        "head_auxiliary": {"kernel": (256, 3), "bias": (3,)},
    }


def test_initial_weights_are_normal_with_variance_one_over_fan_in():
    params = mlp(MLPConfig(inputs=500, hidden=(400, 300), classes=200, auxiliary=100)).init(KEY)
    for layer in params.values():
        assert (layer["bias"] == 0).all()
        fan_in, n = layer["kernel"].shape[0], layer["kernel"].size
        unit = np.asarray(layer["kernel"], np.float64).ravel() * math.sqrt(fan_in)
        assert abs(unit.mean()) < 4.5 / math.sqrt(n)
        assert abs(unit.std() - 1) < 4.5 / math.sqrt(2 * n)
        # A truncated normal, many a framework's default, has no tails.
        assert abs((unit**4).mean() - 3) < 4.5 * math.sqrt(96 / n)


def test_layers_start_independent_of_each_other():
    params = mlp(MLPConfig(inputs=50, hidden=(50, 50), classes=50, auxiliary=50)).init(KEY)
    kernels = np.stack([layer["kernel"].ravel() for layer in params.values()])
    correlations = np.corrcoef(kernels)[~np.eye(len(kernels), dtype=bool)]
    assert np.abs(correlations).max() < 4.5 / 50


def test_a_key_decides_the_initialisation():
    net = mlp(SMALL)
    assert trees.fingerprint(net.init(KEY)) == trees.fingerprint(net.init(KEY))
    prints = {trees.fingerprint(net.init(jax.random.key(seed))) for seed in range(5)}
    assert len(prints) == 5


def test_members_start_and_compute_stacked_as_one_by_one():
    net = mlp(SMALL)
    keys = jax.random.split(KEY, 3)
    stacked = jax.jit(jax.vmap(net.init))(keys)
    loop = [net.init(key) for key in keys]
    inputs = normal(0, 3, 4, SMALL.inputs)
    own, shared = (
        jax.vmap(net.apply)(stacked, inputs),
        jax.vmap(net.apply, in_axes=(0, None))(stacked, inputs[0]),
    )
    for member, params in enumerate(loop):
        jax.tree.map(
            lambda s, p, m=member: np.testing.assert_allclose(s[m], p, rtol=1e-6), stacked, params
        )
        for outputs, x in ((own, inputs[member]), (shared, inputs[0])):
            np.testing.assert_allclose(outputs[member], net.apply(params, x), atol=1e-5)


def test_the_network_compiles_to_the_same_function():
    net = mlp(SMALL)
    params, x = perturbed(net.init(KEY)), normal(0, 4, SMALL.inputs)
    np.testing.assert_allclose(jax.jit(net.apply)(params, x), net.apply(params, x), atol=1e-5)


def test_a_network_first_built_inside_a_compiled_function_works_outside():
    config = dataclasses.replace(SMALL, inputs=11)

    @jax.jit
    def inside(key, x):
        net = mlp(config)
        return net.apply(net.init(key), x)

    x = normal(0, 4, config.inputs)
    net = mlp(config)
    np.testing.assert_allclose(inside(KEY, x), net.apply(net.init(KEY), x), atol=1e-5)


def test_equal_configurations_share_one_network():
    # So that a compiled function of the network is found again.
    assert mlp(MLPConfig()) is mlp(MLPConfig())
    assert mlp(MLPConfig(classes=9)) is not mlp(MLPConfig())


def test_applying_changes_no_parameter():
    net = mlp(SMALL)
    params = net.init(KEY)
    before = trees.fingerprint(params)
    net.apply(params, normal(0, 4, SMALL.inputs))
    assert trees.fingerprint(params) == before


def test_without_hidden_layers_the_network_is_affine():
    net = mlp(dataclasses.replace(SMALL, hidden=()))
    params = perturbed(net.init(KEY))
    x, y = normal(0, 2, 4, SMALL.inputs)
    np.testing.assert_allclose(
        net.apply(params, x + y) + net.apply(params, 0 * x),
        net.apply(params, x) + net.apply(params, y),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("logits", "trained", "still"),
    [
        (SMALL.auxiliary_logits, "head_auxiliary", "head_classes"),
        (SMALL.class_logits, "head_classes", "head_auxiliary"),
    ],
    ids=["auxiliary", "classes"],
)
def test_imitating_some_logits_leaves_the_other_head_alone(logits, trained, still):
    net = mlp(SMALL)
    params, x = perturbed(net.init(KEY)), normal(0, 16, SMALL.inputs)
    gradient = jax.grad(lambda p: jnp.mean(net.apply(p, x)[..., logits] ** 2))(params)
    assert all((g == 0).all() for g in gradient[still].values())
    for name in (trained, "hidden_0", "hidden_1"):
        assert all((g != 0).any() for g in gradient[name].values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs", 0),
        ("classes", 0),
        ("auxiliary", 0),
        ("auxiliary", -1),
        ("hidden", (0,)),
        ("hidden", (8, -2)),
        ("activation", "swish"),
    ],
)
def test_an_impossible_shape_is_refused_by_field_and_value(name, value):
    with pytest.raises(InputError) as caught:
        MLPConfig(**{name: value})
    assert f"{name} is {value!r}; expected" in str(caught.value)


def test_a_configuration_is_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.classes = 3
    assert hash(SMALL) == hash(dataclasses.replace(SMALL))
