import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sublim_jax import trees
from sublim_jax.training import (
    Recipe,
    Watch,
    fit,
    init_state,
    make_step,
    steps_per_epoch,
    watch_steps,
)
from sublim_jax.training.fit import epoch_order

KEY = jax.random.key(3)
RECIPE = Recipe(learning_rate=0.05, epochs=3, batch_size=4)  # 10 rows: batches of 4, 4 and 2


def loss(params, batch):
    inputs, targets = batch
    return jnp.square(jnp.tanh(inputs @ params["w"]) @ params["v"] - targets)


def problem(key=KEY):
    keys = jax.random.split(key, 4)
    params = {"w": jax.random.normal(keys[0], (5, 7)), "v": jax.random.normal(keys[1], (7,))}
    return params, (jax.random.normal(keys[2], (10, 5)), jax.random.normal(keys[3], (10,)))


def by_hand(params, rows):
    """The states before each step and after the last, and the losses, by a loop over steps."""
    order, weights = epoch_order(KEY, rows=10, epochs=3, batch_size=4)
    optimizer = RECIPE.transformation()
    step, state = make_step(loss, optimizer), init_state(params, optimizer)
    states, losses = [state], []
    for indices, weight in zip(order, weights, strict=True):
        state, value = step(state, trees.take(rows, indices), weight)
        states.append(state)
        losses.append(value)
    return states, losses


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 40),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 45),
    seed=st.integers(0, 9),
)
def test_every_epoch_weighs_every_row_once(rows, epochs, batch_size, seed):
    order, weights = epoch_order(
        jax.random.key(seed), rows=rows, epochs=epochs, batch_size=batch_size
    )
    assert order.shape == (epochs * steps_per_epoch(rows, batch_size), batch_size)
    for indices, weight in zip(np.split(order, epochs), np.split(weights, epochs), strict=True):
        assert set(np.unique(weight)) <= {0.0, 1.0}
        np.testing.assert_array_equal(np.sort(indices[weight == 1]), np.arange(rows))


def test_epochs_and_keys_have_orders_of_their_own():
    order, _ = epoch_order(KEY, rows=64, epochs=2, batch_size=64)
    again, _ = epoch_order(KEY, rows=64, epochs=2, batch_size=64)
    other, _ = epoch_order(jax.random.key(4), rows=64, epochs=2, batch_size=64)
    assert (order == again).all()
    assert (order[0] != order[1]).any()
    assert (order != other).any()


def test_every_place_of_an_epoch_is_equally_likely():
    keys = jax.random.split(KEY, 4000)
    first, _ = jax.vmap(lambda key: epoch_order(key, rows=8, epochs=1, batch_size=8))(keys)
    counts = np.stack([np.bincount(first[:, 0, place], minlength=8) for place in range(8)])
    # Each count is binomial with mean 500 and standard deviation 21.
    assert abs(counts - 500).max() < 5 * 21


def test_fit_is_a_loop_over_steps():
    params, rows = problem()
    states, losses = by_hand(params, rows)
    fitted = jax.jit(lambda p, r: fit(loss, RECIPE, p, r, key=KEY))(params, rows)
    chex.assert_trees_all_close(fitted.params, states[-1].params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-5)


def test_observations_are_those_of_the_parameters_after_so_many_steps():
    params, rows = problem()
    states, _ = by_hand(params, rows)
    watch = Watch((0, 1, 4, 9), lambda p: {"v": p["v"], "norm": jnp.linalg.norm(p["w"])})
    seen = fit(loss, RECIPE, params, rows, watch=watch, key=KEY).observations
    for row, steps in enumerate(watch.steps):
        expected = watch.observe(states[steps].params)
        chex.assert_trees_all_close(trees.take(seen, row), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [(), (0,), (9,), (2, 7), tuple(range(10))])
def test_watching_does_not_change_the_training(steps):
    params, rows = problem()
    watch = Watch(steps, lambda p: p["v"].sum())
    plain = jax.jit(lambda: fit(loss, RECIPE, params, rows, key=KEY))()
    watched = jax.jit(lambda: fit(loss, RECIPE, params, rows, watch=watch, key=KEY))()
    assert watched.observations.shape == (len(steps),)
    chex.assert_trees_all_equal(watched.params, plain.params)
    chex.assert_trees_all_equal(watched.losses, plain.losses)


def test_vmap_is_a_loop_over_members():
    keys = jax.random.split(KEY, 3)
    params, rows = jax.vmap(problem)(keys)
    watch = Watch((0, 5, 9), lambda p: p["v"])

    def member(params, rows, key):
        return fit(loss, RECIPE, params, rows, watch=watch, key=key)

    together = jax.jit(jax.vmap(member))(params, rows, keys)
    for i in range(3):
        one = jax.jit(member)(*trees.take((params, rows, keys), i))
        chex.assert_trees_all_close(trees.take(together, i), one, rtol=1e-4, atol=1e-6)


def test_a_training_is_traced_once_for_each_shape():
    traced = []

    def counted(params, batch):
        traced.append(1)
        return loss(params, batch)

    train = jax.jit(lambda p, r, k: fit(counted, RECIPE, p, r, key=k))
    train(*problem(), KEY)
    first = len(traced)
    for seed in range(3):
        train(*problem(jax.random.key(seed)), jax.random.key(seed))
    assert len(traced) == first


@given(steps=st.integers(1, 500), count=st.integers(2, 40))
def test_watched_steps_ascend_from_the_first_to_the_last(steps, count):
    watched = watch_steps(steps, count)
    assert watched[0] == 0
    assert watched[-1] == steps
    assert all(a < b for a, b in itertools.pairwise(watched))
    assert len(watched) <= count
