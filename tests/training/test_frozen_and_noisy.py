"""Losses that take more than what is trained: frozen parameters, and keys to draw with."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from compiling import compilations

from sublim_jax import trees
from sublim_jax.training import Preempted, init_state, make_fit, make_step, members, pmap_parallel
from sublim_jax.training.fit import _keys


def frozen_loss(trained, batch, frozen, scale):
    return scale["by"] * toy.loss(frozen | trained, batch)


def taken_apart(params):
    """What is trained, and the rest."""
    return {"v": params["v"]}, ({"w": params["w"]}, {"by": jnp.float32(0.7)})


@pytest.mark.parametrize("kind", ["one device", "mesh of fsdp and tensor", "pmap of two"])
def test_frozen_parameters_stay_and_the_others_learn_as_beside_constants(kind):
    params, rows, key = toy.given(kind)
    trained, frozen = taken_apart(params)
    fit = make_fit(frozen_loss, toy.RECIPE, parallel=toy.KINDS[kind]())
    found = fit(trained, rows, key=key, frozen=frozen)
    beside = make_fit(lambda trained, batch: frozen_loss(trained, batch, *frozen), toy.RECIPE)
    expected = beside(trained, rows, key=key)
    chex.assert_trees_all_close(found, expected, **toy.ROUNDING)
    chex.assert_trees_all_equal(frozen, taken_apart(params)[1])


@pytest.mark.parametrize("kind", toy.STACKED)
def test_members_have_frozen_parameters_in_common(kind):
    params, rows, keys = toy.given(kind)
    frozen = taken_apart(toy.problem()[0])[1]
    fit = make_fit(frozen_loss, toy.RECIPE, parallel=toy.KINDS[kind]())
    found = fit({"v": params["v"]}, rows, key=keys, frozen=frozen)
    alone = make_fit(frozen_loss, toy.RECIPE)
    for i in range(toy.MEMBERS):
        trained, own = trees.take(({"v": params["v"]}, rows), i)
        expected = alone(trained, own, key=keys[i], frozen=frozen)
        chex.assert_trees_all_close(trees.take(found, i), expected, **toy.ROUNDING)


def test_other_frozen_parameters_are_no_other_program():
    params, rows, key = toy.given("one device")
    trained, frozen = taken_apart(params)
    fit = make_fit(frozen_loss, toy.RECIPE)
    first = fit(trained, rows, key=key, frozen=frozen)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, frozen)
    with compilations() as compiled:
        second = fit(trained, rows, key=key, frozen=doubled)
    assert not compiled
    assert np.abs(first.losses - second.losses).min() > 0


def test_frozen_parameters_are_spread_like_those_that_are_trained():
    fit = make_fit(frozen_loss, toy.RECIPE, parallel=toy.KINDS["mesh of fsdp and tensor"]())
    params, rows = toy.problem()
    trained, frozen = taken_apart(params)
    described = fit.described(trained, rows, frozen=frozen)
    spread = described[-1][0]["w"].sharding
    assert spread.spec == jax.sharding.PartitionSpec("fsdp", "tensor")
    placed = fit.parallel.place(frozen, "frozen")
    assert placed[0]["w"].sharding.is_equivalent_to(spread, 2)
    fit.programs.advance.lower(*described)


def noisy_loss(params, batch):
    """A loss that draws noise for every row by itself."""
    (inputs, targets), keys = batch
    noise = jax.vmap(lambda key: jax.random.normal(key, inputs.shape[1:]))(keys)
    return toy.loss(params, (inputs + 0.5 * noise, targets))


def noisy(kind, accumulate=1):
    params, rows, key = toy.given(kind)
    parallel = toy.KINDS[kind]()
    fit = make_fit(noisy_loss, toy.RECIPE, parallel=parallel, accumulate=accumulate, noisy=True)
    return fit, (params, rows), key


def noisy_by_hand(params, rows, key):
    optimizer = toy.RECIPE.transformation()
    step = jax.jit(make_step(noisy_loss, optimizer))
    state, losses = init_state(params, optimizer), []
    order = toy.epoch_order(key, rows=10, epochs=3, batch_size=4)
    for i, places in enumerate(order):
        batch = trees.take(rows, places), _keys(key, jnp.int32(i), jnp.maximum(places, 0))
        state, value = step(state, batch, (places >= 0).astype(jnp.float32))
        losses.append(value)
    return state.params, jnp.stack(losses)


@pytest.mark.parametrize(
    ("kind", "accumulate"),
    [
        *((kind, 1) for kind in toy.ONE_TRAINING),
        ("one device", 2),
        ("mesh of data", 2),
        ("pmap", 2),
    ],
)
def test_noise_is_that_of_step_and_row_however_a_training_is_spread(kind, accumulate):
    fit, given, key = noisy(kind, accumulate)
    found = fit(*given, key=key)
    params, losses = noisy_by_hand(*given, key)
    chex.assert_trees_all_close(found.params, params, **toy.ROUNDING)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)


@pytest.mark.parametrize("kind", toy.STACKED)
def test_members_have_noise_of_their_own(kind):
    fit, (params, rows), keys = noisy(kind)
    found = fit(params, rows, key=keys)
    for i in range(toy.MEMBERS):
        own, losses = noisy_by_hand(*trees.take((params, rows), i), keys[i])
        chex.assert_trees_all_close(trees.take(found.params, i), own, **toy.ROUNDING)
        np.testing.assert_allclose(found.losses[i], losses, rtol=1e-4)


def test_keys_differ_by_step_and_row_and_from_those_of_the_order():
    rows = jnp.array([0, 3, 7])
    found = [
        jax.random.key_data(_keys(key, jnp.int32(step), rows))
        for key in jax.random.split(toy.KEY, 2)
        for step in (0, 1, 2)
    ]
    every = np.concatenate([*found, jax.random.key_data(toy.KEY)[None]])
    assert len(np.unique(every, axis=0)) == len(every) == 19
    np.testing.assert_array_equal(
        found[0][::-1],
        jax.random.key_data(_keys(jax.random.split(toy.KEY, 2)[0], jnp.int32(0), rows[::-1])),
    )


@pytest.mark.parametrize("kind", ["one device", "pmap", "members by map"])
def test_a_noisy_training_in_chunks_and_resumed_is_the_whole_to_the_bit(kind, tmp_path):
    fit, given, key = noisy(kind)
    whole = fit(*given, key=key)
    with toy.Session(every_steps=2) as session:
        chex.assert_trees_all_equal(fit(*given, key=key, attached=session), whole)
    with pytest.raises(Preempted), toy.stopping(tmp_path, 5, every_steps=1) as session:
        fit(*given, key=key, attached=session)
    with toy.Session(checkpoints=toy.Checkpoints(tmp_path)) as session:
        chex.assert_trees_all_equal(fit(*given, key=key, attached=session), whole)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_what_is_described_is_what_the_loop_gets(kind):
    fit, given, key = noisy(kind)
    described = fit.described(*jax.eval_shape(lambda: given))
    place = fit.parallel.place
    noise = place(key, "own")
    assert described[-2].dtype == noise.dtype
    assert described[-2].shape == noise.shape
    assert described[-2].sharding.is_equivalent_to(noise.sharding, noise.ndim)
    fit.programs.advance.lower(*described)


def test_frozen_parameters_and_noise_go_together():
    def loss(trained, batch, frozen):
        return noisy_loss(frozen | trained, batch)

    params, rows, key = toy.given("one device")
    (trained, (rest, _)), ends = taken_apart(params), []
    for parallel in (None, pmap_parallel(), toy.KINDS["mesh of fsdp and tensor"]()):
        fit = make_fit(loss, toy.RECIPE, parallel=parallel, noisy=True)
        ends.append(fit(trained, rows, key=key, frozen=(rest,)))
    chex.assert_trees_all_close(ends[1], ends[0], **toy.ROUNDING)
    chex.assert_trees_all_close(ends[2], ends[0], **toy.ROUNDING)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), trained)
    keys = jnp.stack([key] * 4)
    fit = make_fit(loss, toy.RECIPE, parallel=members(batching="vmap"), rows="shared", noisy=True)
    found = fit(stacked, rows, key=keys, frozen=(rest,))
    for i in (0, 3):
        chex.assert_trees_all_close(trees.take(found, i), ends[0], **toy.ROUNDING)
