import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.training import Recipe, init_state, make_step

OPTIMIZERS = {
    name: Recipe(optimizer=name, learning_rate=0.1).transformation() for name in ("adam", "sgd")
}
UNEVEN = np.array([1, 2, 0.5, 1, 0, 4, 0.25, 3], np.float32)
ROWS = len(UNEVEN)


@pytest.fixture
def problem():
    params, batch = toy.problem(jax.random.key(0), rows=ROWS)
    optimizer = optax.adam(0.1)
    return make_step(toy.loss, optimizer), init_state(params, optimizer), batch


def spread_steps(kind, optimizer, *, accumulate=1):
    """A function of state, batches ``[steps, rows, ...]`` and weights ``[steps, rows]``."""
    parallel = toy.ONE_TRAINING[kind]()
    step = make_step(toy.loss, optimizer, parallel=parallel, accumulate=accumulate)

    def run(state, batch, order, weights):
        losses = []
        for places, weight in zip(order, weights, strict=True):
            state, loss = step(state, trees.take(batch, places), weight)
            losses.append(loss)
        return state, jnp.stack(losses)

    roles = ("state", "own", "batches", "batches")
    program = parallel.compile(run, roles, ("state", "own"))

    def steps(state, batch, weights):
        order = np.tile(np.arange(weights.shape[1]), (len(weights), 1))
        return program(*map(parallel.place, (state, batch, order, weights), roles))

    return steps


def plain_steps(optimizer, state, batch, weights):
    step, losses = jax.jit(make_step(toy.loss, optimizer)), []
    for weight in weights:
        state, loss = step(state, batch, weight)
        losses.append(loss)
    return state, jnp.stack(losses)


def test_jit_equals_eager(problem):
    step, state, batch = problem
    weights = jnp.arange(1.0, 9.0)
    chex.assert_trees_all_close(
        jax.jit(step)(state, batch, weights), step(state, batch, weights), rtol=1e-5, atol=1e-6
    )


def test_the_loss_is_the_weighted_mean_before_the_step(problem):
    step, state, batch = problem
    _, loss = step(state, batch, UNEVEN)
    expected = np.average(toy.loss(state.params, batch), weights=UNEVEN)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_row_of_weight_zero_is_as_good_as_absent(problem, accumulate):
    _, state, (inputs, targets) = problem
    step = make_step(toy.loss, optax.adam(0.1), accumulate=accumulate)
    weights = jnp.asarray(UNEVEN).at[4:].set(0)
    garbage = inputs.at[4:].set(1e6)
    full = step(state, (garbage, targets), weights)
    short = step(state, (inputs[:4], targets[:4]), weights[:4])
    chex.assert_trees_all_close(full, short, rtol=1e-5, atol=1e-6)


def test_only_ratios_of_weights_matter(problem):
    step, state, batch = problem
    chex.assert_trees_all_close(
        step(state, batch, UNEVEN), step(state, batch, 8 * UNEVEN), rtol=1e-6, atol=1e-6
    )


def test_the_gradient_agrees_with_finite_differences(problem):
    _, state, batch = problem
    step = make_step(toy.loss, optax.sgd(1.0))
    moved, _ = step(init_state(state.params, optax.sgd(1.0)), batch, UNEVEN)
    gradient = jax.tree.map(jnp.subtract, state.params, moved.params)
    params = jax.tree.map(np.float64, state.params)
    inputs, targets = (np.float64(array) for array in batch)
    random = np.random.default_rng(0)
    direction = {name: random.standard_normal(array.shape) for name, array in params.items()}

    def mean_loss(size):
        w, v = (params[name] + size * direction[name] for name in ("w", "v"))
        losses = (np.tanh(inputs @ w) @ v - targets) ** 2
        return np.average(losses, weights=UNEVEN)

    slope = (mean_loss(1e-5) - mean_loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(optax.tree.vdot(gradient, direction), slope, rtol=1e-4)


@pytest.mark.parametrize(("optimizer", "accumulate"), [("adam", 1), ("sgd", 2)])
@pytest.mark.parametrize("kind", toy.ONE_TRAINING)
def test_spread_steps_equal_those_of_one_device(kind, optimizer, accumulate):
    rule = OPTIMIZERS[optimizer]
    params, (inputs, targets) = toy.problem(jax.random.key(1), rows=ROWS)
    # Of the second step a whole device has no row that counts; what counts for none is garbage.
    weights = np.stack([UNEVEN, np.float32([0, 0, 0, 0, 1, 0, 2, 0]), UNEVEN[::-1], UNEVEN])
    weights[:, 5] = 0
    batch = inputs.at[5].set(1e6), targets
    state = init_state(params, rule)
    found = spread_steps(kind, rule, accumulate=accumulate)(state, batch, weights)
    chex.assert_trees_all_close(
        found, plain_steps(rule, state, batch, weights), rtol=1e-5, atol=2e-6
    )


@pytest.mark.parametrize("kind", ["mesh of data and fsdp", "pmap"])
def test_spread_steps_equal_those_of_one_device_whatever_the_weights(kind):
    rule = OPTIMIZERS["sgd"]
    params, batch = toy.problem(jax.random.key(2), rows=ROWS)
    state = init_state(params, rule)
    steps, one = (spread_steps(name, rule) for name in (kind, "one device"))
    weight = st.just(0.0) | st.floats(2**-10, 2**10, width=32)

    @settings(deadline=None, max_examples=30)
    @given(st.lists(weight, min_size=ROWS, max_size=ROWS).filter(any))
    def equal(weights):
        weights = np.float32([weights])
        chex.assert_trees_all_close(
            steps(state, batch, weights), one(state, batch, weights), rtol=1e-5, atol=1e-5
        )

    equal()


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 4), st.lists(st.integers(0, 5), min_size=12, max_size=12).filter(any))
def test_accumulation_gives_the_gradient_of_the_whole_batch(quarter, weights):
    params, batch = toy.problem(jax.random.key(4), rows=12)
    rule, weights = OPTIMIZERS["sgd"], np.float32(weights)
    accumulate = {1: 1, 2: 3, 3: 4, 4: 12}[quarter]
    state = init_state(params, rule)
    chex.assert_trees_all_close(
        make_step(toy.loss, rule, accumulate=accumulate)(state, batch, weights),
        make_step(toy.loss, rule)(state, batch, weights),
        rtol=1e-5,
        atol=1e-5,
    )


def test_what_accumulates_holds_the_activations_of_one_part_only():
    """A wide hidden layer dominates; parts of it are as much smaller as there are more."""
    rule = OPTIMIZERS["sgd"]
    params, batch = toy.problem(rows=4096)

    def bytes_beside_the_state(accumulate):
        step = jax.jit(make_step(toy.loss, rule, accumulate=accumulate))
        compiled = step.lower(init_state(params, rule), batch, jnp.ones(4096)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # The batch is laid out anew, 5 numbers a row; of activations there are more than 16.
    assert bytes_beside_the_state(16) < 4096 * 4 * 10
    assert bytes_beside_the_state(1) > 4096 * 4 * 16


@pytest.mark.parametrize("accumulate", [0, -1])
def test_parts_of_a_batch_that_are_not_positive_are_refused(accumulate):
    with pytest.raises(InputError, match=f"accumulate is {accumulate}; expected at least 1"):
        make_step(toy.loss, optax.sgd(1.0), accumulate=accumulate)


def test_parts_that_do_not_divide_a_batch_are_refused(problem):
    _, state, batch = problem
    step = make_step(toy.loss, optax.adam(0.1), accumulate=3)
    with pytest.raises(InputError, match=f"accumulate is 3; expected a divisor of the {ROWS} rows"):
        step(state, batch, UNEVEN)
