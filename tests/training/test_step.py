import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sublim_jax.training import init_state, make_step

KEY = jax.random.key(0)


def squared_error(params, batch):
    inputs, targets = batch
    return jnp.square(jnp.tanh(inputs @ params["w"]) @ params["v"] - targets)


@pytest.fixture
def problem():
    keys = jax.random.split(KEY, 4)
    params = {"w": jax.random.normal(keys[0], (5, 7)), "v": jax.random.normal(keys[1], (7,))}
    batch = jax.random.normal(keys[2], (6, 5)), jax.random.normal(keys[3], (6,))
    optimizer = optax.adam(0.1)
    return make_step(squared_error, optimizer), init_state(params, optimizer), batch


def test_jit_equals_eager(problem):
    step, state, batch = problem
    weights = jnp.arange(1.0, 7.0)
    chex.assert_trees_all_close(
        jax.jit(step)(state, batch, weights), step(state, batch, weights), rtol=1e-5, atol=1e-6
    )


def test_the_loss_is_the_weighted_mean_before_the_step(problem):
    step, state, batch = problem
    weights = jnp.array([1.0, 0.0, 2.0, 0.5, 0.0, 3.0])
    _, loss = step(state, batch, weights)
    expected = np.average(squared_error(state.params, batch), weights=weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_row_of_weight_zero_is_as_good_as_absent(problem):
    step, state, (inputs, targets) = problem
    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 0.0, 0.0])
    garbage = inputs.at[4:].set(1e6)
    full = step(state, (garbage, targets), weights)
    short = step(state, (inputs[:4], targets[:4]), weights[:4])
    chex.assert_trees_all_close(full, short, rtol=1e-5, atol=1e-6)


def test_only_ratios_of_weights_matter(problem):
    step, state, batch = problem
    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 0.0, 4.0])
    chex.assert_trees_all_close(
        step(state, batch, weights), step(state, batch, 8 * weights), rtol=1e-6, atol=1e-6
    )


def test_the_gradient_agrees_with_finite_differences(problem):
    _, state, batch = problem
    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 0.0, 4.0])
    step = make_step(squared_error, optax.sgd(1.0))
    moved, _ = step(init_state(state.params, optax.sgd(1.0)), batch, weights)
    gradient = jax.tree.map(jnp.subtract, state.params, moved.params)
    params = jax.tree.map(np.float64, state.params)
    inputs, targets = (np.float64(array) for array in batch)
    random = np.random.default_rng(0)
    direction = {"w": random.standard_normal((5, 7)), "v": random.standard_normal(7)}

    def mean_loss(size):
        w, v = (params[name] + size * direction[name] for name in ("w", "v"))
        losses = (np.tanh(inputs @ w) @ v - targets) ** 2
        return np.average(losses, weights=weights)

    slope = (mean_loss(1e-5) - mean_loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(optax.tree.vdot(gradient, direction), slope, rtol=1e-4)
