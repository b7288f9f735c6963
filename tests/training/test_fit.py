import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from compiling import compilations

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.training import Recipe, Session, Watch, make_fit, members
from sublim_jax.training.session import Progress

FEW = ("one device", "mesh of data and fsdp", "pmap", "members by map")


def close_to_the_loops(kind, found, loops):
    for (params, losses, _), (states, expected) in zip(
        toy.members_of(kind, *found), loops, strict=True
    ):
        chex.assert_trees_all_close(params, states[-1].params, **toy.ROUNDING)
        np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_fit_is_a_loop_over_steps_and_observes_on_its_way(kind):
    *_, found = toy.training(kind)
    loops = toy.all_by_hand(kind in toy.STACKED)
    close_to_the_loops(kind, found, loops)
    for (seen,), (states, _) in zip(toy.members_of(kind, found.observations), loops, strict=True):
        for row, steps in enumerate(toy.WATCH.steps):
            expected = toy.WATCH.observe(states[steps].params)
            chex.assert_trees_all_close(trees.take(seen, row), expected, **toy.ROUNDING)


@pytest.mark.parametrize("kind", FEW)
def test_accumulation_equals_the_large_batch(kind):
    params, rows, key = toy.given(kind)
    fit = make_fit(toy.loss, toy.RECIPE, parallel=toy.KINDS[kind](), accumulate=3)
    assert fit.places % (3 * fit.parallel.batch_shards) == 0
    found = fit(params, rows, key=key)
    close_to_the_loops(kind, found, toy.all_by_hand(kind in toy.STACKED))


@pytest.mark.parametrize("kind", FEW)
def test_row_weights_are_those_of_a_loop_by_hand(kind):
    params, rows, key = toy.given(kind)
    weights = jax.random.uniform(toy.KEY, rows[1].shape)
    weights *= jax.random.uniform(jax.random.key(0), weights.shape) > 0.3
    found = toy.training(kind)[0](params, rows, key=key, weights=weights)
    loops = [toy.by_hand(*member) for member in toy.members_of(kind, params, rows, key, weights)]
    close_to_the_loops(kind, found, loops)


@pytest.mark.parametrize("kind", toy.STACKED)
def test_shared_rows_are_own_rows_that_are_the_same(kind):
    params, _, keys = toy.given(kind)
    rows = toy.problem()[1]
    stacked = jax.tree.map(lambda a: jnp.stack([a] * toy.MEMBERS), rows)
    parallel, weights = toy.KINDS[kind](), jnp.arange(10.0)
    shared = make_fit(toy.loss, toy.RECIPE, parallel=parallel, rows="shared")
    own = make_fit(toy.loss, toy.RECIPE, parallel=parallel)
    chex.assert_trees_all_close(
        shared(params, rows, key=keys, weights=weights),
        own(params, stacked, key=keys, weights=jnp.stack([weights] * toy.MEMBERS)),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("kind", "optimizer"), [("members by map", "adam"), ("members by vmap", "sgd")]
)
def test_learning_rates_of_members_are_those_of_separate_runs(kind, optimizer):
    recipe = Recipe(optimizer=optimizer, learning_rate=0.05, epochs=2, batch_size=4)
    params, rows, keys = toy.given(kind)
    rates = jnp.array([0.1, 0.01, 0.003, 0.03])
    together = make_fit(toy.loss, recipe, parallel=toy.KINDS[kind]())(
        params, rows, key=keys, learning_rate=rates
    )
    np.testing.assert_array_equal(rates, np.float32([0.1, 0.01, 0.003, 0.03]))
    alone = make_fit(toy.loss, dataclasses.replace(recipe, learning_rate=0.1))
    for i, rate in enumerate(rates):
        how = {"learning_rate": rate} if i else {}  # the first is its recipe's
        expected = alone(*trees.take((params, rows), i), key=keys[i], **how)
        chex.assert_trees_all_close(trees.take(together, i), expected, **toy.ROUNDING)


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("one device", ()), ("one device", (9,)), ("pmap", (0,)), ("members by map", range(10))],
)
def test_watching_does_not_change_the_training(kind, steps):
    _, (given, key), plain = toy.training(kind)
    watch = Watch(tuple(steps), lambda p: p["v"].sum())
    watched = make_fit(toy.loss, toy.RECIPE, watch=watch, parallel=toy.KINDS[kind]())(
        *given, key=key
    )
    assert watched.observations.shape == (*key.shape, len(steps))
    chex.assert_trees_all_equal(watched.params, plain.params)
    chex.assert_trees_all_equal(watched.losses, plain.losses)


@pytest.mark.parametrize("kind", ["one device", "pmap", "members by vmap"])
def test_what_observes_gets_its_context(kind):
    params, rows, key = toy.given(kind)
    goal = jnp.arange(8.0)
    watch = Watch((0, 9), lambda p, start, goal: (p["v"] - start["v"]) @ goal, ("own", "shared"))
    fit = make_fit(toy.loss, toy.RECIPE, watch=watch, parallel=toy.KINDS[kind]())
    found = fit(params, rows, (params, goal), key=key)
    expected = (found.params["v"] - params["v"]) @ goal
    np.testing.assert_allclose(found.observations[..., 1], expected, rtol=1e-4, atol=1e-5)
    assert not found.observations[..., 0].any()


def test_watching_after_the_end_is_refused():
    watch = Watch((0, 10), lambda p: p["v"].sum())
    fit = make_fit(toy.loss, toy.RECIPE, watch=watch)
    with pytest.raises(InputError, match=r"watch\.steps ends at 10; expected at most the 9 steps"):
        fit(*toy.problem(), key=toy.KEY)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_arguments_stay_as_they_are(kind):
    fit, (given, key), _ = toy.training(kind)
    before = jax.device_get(given)
    params, rows = map(fit.parallel.place, given, ("state", "own"))
    rate = fit.parallel.place(jnp.full(key.shape, 0.1), "own")
    first = fit(params, rows, key=key, learning_rate=rate)
    kept = jax.device_get(first)
    chex.assert_trees_all_equal((params, rows), before)
    assert (rate == np.float32(0.1)).all()
    # What one training returns may start another and stays as it is, too.
    fit(first.params, rows, key=key, learning_rate=rate)
    chex.assert_trees_all_equal(first, kept)


def test_parameters_stay_where_a_program_could_pass_them_through():
    params, rows, keys = toy.given("members by vmap")
    parallel = members(jax.devices()[:1], batching="vmap")
    params = parallel.place(params, "state")
    fit = make_fit(toy.loss, toy.RECIPE, parallel=parallel)
    chex.assert_trees_all_equal(fit(params, rows, key=keys), fit(params, rows, key=keys))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("kind", toy.KINDS)
def test_a_training_is_traced_and_compiled_once(kind):
    traced = []

    def counted(params, batch):
        traced.append(1)
        return toy.loss(params, batch)

    watch = Watch((0, 4, 9), lambda p: p["v"].sum())
    fit = make_fit(counted, toy.RECIPE, watch=watch, parallel=toy.KINDS[kind]())
    params, rows, key = toy.given(kind)
    with compilations() as compiled:
        fit(params, rows, key=key)
    assert traced
    assert compiled
    first = len(traced)
    with compilations() as compiled:
        fit(params, rows, key=key)
        # Neither other numbers, nor chunks, nor arrays of another library are another program.
        fit(params, rows, key=key, learning_rate=0.3)
        fit(params, rows, key=key, attached=Session(every_minutes=None, every_steps=2))
        fit(*jax.device_get((params, rows)), key=key)
    assert len(traced) == first
    assert not compiled


class Spoiling:
    """Attached that moves an array to a device without asking for it."""

    def resume(self, training, progress):
        return 0, progress

    def reached(self, training, step, steps, progress):
        if step:
            jnp.ones(3) + np.ones(3, np.float32)
        return step + 4


@pytest.mark.parametrize("kind", ["one device", "pmap", "members by map"])
def test_a_transfer_that_nobody_asked_for_is_refused_inside_the_loop(kind):
    fit, (given, key), _ = toy.training(kind)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        fit(*given, key=key, attached=Spoiling())
    Spoiling().reached("outside", 4, 9, Progress((), jnp.ones(9), ()))


@pytest.mark.parametrize("kind", toy.KINDS)
def test_what_is_described_is_what_the_loop_gets(kind):
    (fit, (given, key), _), got = toy.training(kind), []

    def spy(*arguments):
        got.append(arguments)
        return fit.programs.advance(*arguments)

    spied = dataclasses.replace(fit, programs=fit.programs._replace(advance=spy))
    spied(*given, key=key)
    described = fit.described(*jax.eval_shape(lambda: given))

    def same(described, array):
        assert described.shape == array.shape
        assert described.dtype == array.dtype
        assert described.sharding.is_equivalent_to(array.sharding, array.ndim)

    jax.tree.map(same, described, got[0])


def test_one_device_is_the_default():
    _, (given, key), expected = toy.training("one device")
    found = make_fit(toy.loss, toy.RECIPE, watch=toy.WATCH)(*given, key=key)
    chex.assert_trees_all_equal(found, expected)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_what_observes_remembers_the_observation_before(kind):
    params, rows, key = toy.given(kind)
    steps = (0, 1, 4, 9)
    seen = make_fit(
        toy.loss,
        toy.RECIPE,
        watch=Watch(steps, lambda p, before: trees.sub(p, before), remember=lambda p: p),
        parallel=toy.KINDS[kind](),
    )(params, rows, key=key)
    plain = make_fit(
        toy.loss, toy.RECIPE, watch=Watch(steps, lambda p: p), parallel=toy.KINDS[kind]()
    )(params, rows, key=key)
    axis = int(kind in toy.STACKED)
    expected = jax.tree.map(
        lambda a: np.diff(a, axis=axis, prepend=np.take(a, [0], axis)), plain.observations
    )
    chex.assert_trees_all_close(seen.observations, expected, rtol=1e-6, atol=1e-7)
    chex.assert_trees_all_equal(seen.params, plain.params)
