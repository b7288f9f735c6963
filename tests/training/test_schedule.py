"""The learning rate rises and falls as a table says, in every kind of training."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from sublim_jax.errors import InputError
from sublim_jax.training import Preempted, Recipe, init_state, make_fit, make_step
from sublim_jax.training.recipe import TRANSFORMATIONS
from sublim_jax.training.schedule import ScheduleState, factor, scheduled

WARM = dataclasses.replace(toy.RECIPE, warmup=2, decay="linear")

HALF = 0.5**0.5
TABLE = [  # warm-up, decay, steps of the training, factors from the first step on
    (0, "none", 4, [1, 1, 1, 1, 1]),
    (3, "none", 5, [1 / 3, 2 / 3, 1, 1, 1]),
    (0, "linear", 4, [1, 0.75, 0.5, 0.25, 0, 0]),
    (2, "linear", 6, [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
    (0, "cosine", 4, [1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0]),
    (1, "cosine", 5, [1, 1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0]),
    (4, "linear", 2, [0.25, 0.5]),  # longer than the training
    (2, "cosine", 2, [0.5, 1, 1, 0]),
]


@pytest.mark.parametrize(("warmup", "decay", "total", "expected"), TABLE)
def test_the_factor_is_that_of_a_table(warmup, decay, total, expected):
    found = [
        factor(ScheduleState(jnp.int32(i), jnp.float32(total)), warmup=warmup, decay=decay)
        for i in range(len(expected))
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_updates_are_multiplied_and_steps_counted_by_one_program_for_all_lengths():
    rule = scheduled(warmup=2, decay="linear")
    update = jax.jit(rule.update)
    updates = {"a": jnp.ones(3), "b": -2 * jnp.ones((2, 2))}
    for total, expected in ((4, [0.5, 1, 1, 0.5]), (6, [0.5, 1, 1, 0.75])):
        state = rule.init(updates)
        assert state.total_steps == np.inf  # nobody has set it: no decay
        state = optax.tree.set(state, total_steps=jnp.float32(total))
        for by in expected:
            scaled, state = update(updates, state)
            chex.assert_trees_all_close(scaled, jax.tree.map(lambda u, by=by: by * u, updates))
        assert state.steps_done == 4
    assert update._cache_size() == 1


def loop(params, rows, key, factors):
    """A training by hand with the factor of every step."""
    optimizer, step = toy.optimizer_and_step()
    state, losses = init_state(params, optimizer), []
    order = toy.epoch_order(key, rows=10, epochs=3, batch_size=4)
    for places, by in zip(order, factors, strict=True):
        rate = jnp.float32(by * toy.RECIPE.learning_rate)
        state = state._replace(opt_state=optax.tree.set(state.opt_state, learning_rate=rate))
        weight = (places >= 0).astype(jnp.float32)
        state, value = step(state, toy.trees.take(rows, places), weight)
        losses.append(value)
    return state.params, jnp.stack(losses)


@pytest.mark.parametrize("kind", ["one device", "mesh of fsdp and tensor", "members by vmap"])
def test_a_training_knows_its_length(kind):
    params, rows, key = toy.given(kind)
    fit = make_fit(toy.loss, WARM, parallel=toy.KINDS[kind]())
    found = fit(params, rows, key=key)
    factors = [0.5, 1, *(1 - np.arange(7) / 7)]
    for (ended, losses), member in zip(
        toy.members_of(kind, found.params, found.losses),
        toy.members_of(kind, params, rows, key),
        strict=True,
    ):
        expected = loop(*member, factors)
        chex.assert_trees_all_close(ended, expected[0], **toy.ROUNDING)
        np.testing.assert_allclose(losses, expected[1], rtol=1e-4)


def test_the_rate_given_to_a_training_is_its_highest():
    params, rows, key = toy.given("one device")
    slow = make_fit(toy.loss, WARM)(params, rows, key=key, learning_rate=0.01)
    recipe = dataclasses.replace(WARM, learning_rate=0.01)
    chex.assert_trees_all_equal(slow, make_fit(toy.loss, recipe)(params, rows, key=key))


def test_chunks_and_a_second_training_keep_to_the_schedule():
    params, rows, key = toy.given("one device")
    fit = make_fit(toy.loss, WARM)
    whole = fit(params, rows, key=key)
    with toy.Session(every_steps=2) as session:
        chex.assert_trees_all_equal(fit(params, rows, key=key, attached=session), whole)


def test_a_resumed_training_keeps_to_the_schedule(tmp_path):
    params, rows, key = toy.given("one device")
    fit = make_fit(toy.loss, dataclasses.replace(WARM, clip=0.5))
    whole = fit(params, rows, key=key)
    with (
        pytest.raises(Preempted),
        toy.stopping(tmp_path, 5, every_steps=1) as session,
    ):
        fit(params, rows, key=key, attached=session)
    with toy.Session(checkpoints=toy.Checkpoints(tmp_path)) as session:
        chex.assert_trees_all_equal(fit(params, rows, key=key, attached=session), whole)


@pytest.mark.parametrize("optimizer", TRANSFORMATIONS)
def test_a_recipe_without_any_of_this_is_what_it_was(optimizer):
    """The state has the same structure, so that old checkpoints and bits stay good."""
    make, fixed = TRANSFORMATIONS[optimizer]
    old = optax.inject_hyperparams(make, static_args=tuple(fixed))(learning_rate=0.1, **fixed)
    new = Recipe(optimizer=optimizer, learning_rate=0.1).transformation()
    params, rows = toy.problem()
    ends = []
    for rule in (old, new):
        state = init_state(params, rule)
        step = jax.jit(make_step(toy.loss, rule))
        for _ in range(2):
            state, _ = step(state, rows, jnp.ones(10))
        ends.append(state)
    chex.assert_trees_all_equal(*ends)


def updated(recipe, rule, steps=4):
    """Updates of a recipe, and of a rule of optax, for gradients that shrink."""
    params = {"a": jnp.linspace(-2, 2, 6), "b": jnp.ones((2, 2))}
    paths = []
    for transformation in (recipe.transformation(), rule):
        state, at, path = transformation.init(params), params, []
        for i in range(steps):
            gradient = jax.tree.map(lambda p, i=i: jnp.sin(3 * p) * 10.0 ** (1 - i), at)
            updates, state = transformation.update(gradient, state, at)
            at = optax.apply_updates(at, updates)
            path.append(at)
        paths.append(path)
    return paths


@pytest.mark.parametrize("clip", [0.3, 2.0, 1e6])
def test_long_gradients_are_cut_as_optax_cuts_them(clip):
    rule = optax.chain(optax.clip_by_global_norm(clip), optax.sgd(0.1))
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, clip=clip)
    chex.assert_trees_all_close(*updated(recipe, rule), rtol=1e-6)


def test_decayed_weights_are_those_of_adamw():
    recipe = Recipe(learning_rate=0.1, weight_decay=0.2)
    found, expected = updated(recipe, optax.adamw(0.1, weight_decay=0.2))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)
    none, _ = updated(Recipe(learning_rate=0.1), optax.sgd(0.1))
    assert float(jnp.abs(none[-1]["b"] - found[-1]["b"]).max()) > 0.01


def test_the_schedule_multiplies_what_all_others_have_made():
    recipe = Recipe(learning_rate=0.1, weight_decay=0.2, clip=0.3, warmup=2)
    rule = optax.chain(
        optax.clip_by_global_norm(0.3),
        optax.adamw(lambda step: 0.1 * jnp.minimum((step + 1) / 2, 1), weight_decay=0.2),
    )
    chex.assert_trees_all_close(*updated(recipe, rule), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("warmup", -1),
        ("decay", "exponential"),
        ("clip", 0.0),
        ("clip", -1.0),
        ("clip", float("nan")),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("weight_decay", float("inf")),
    ],
)
def test_a_bad_value_is_named_with_its_field(field, value):
    with pytest.raises(InputError, match=re.escape(f"{field} is {value!r}") + ".*; expected"):
        Recipe(**{field: value})


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "lion"])
def test_weights_decay_with_adam_only(optimizer):
    with pytest.raises(InputError, match=f"weight_decay is 0.1 with {optimizer}; expected"):
        Recipe(optimizer=optimizer, weight_decay=0.1)
