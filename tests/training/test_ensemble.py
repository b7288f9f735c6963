import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.training import members, members_side_by_side

ROLES = ("own", "state", "shared")


def member(key, tree, shared):
    noise = jax.random.normal(key, (6, 4))
    return {"out": jnp.tanh(noise @ tree["w"]) + shared.sum(), "sum": tree["b"].sum()}


def arguments(count):
    keys = jax.random.split(jax.random.key(0), count)
    draws = jax.random.split(jax.random.key(1), 2)
    tree = {
        "w": jax.random.normal(draws[0], (count, 4, 3)),
        "b": jax.random.normal(draws[1], (count, 5)),
    }
    return keys, tree, jnp.arange(3.0)


def spread(count, devices, batching=None):
    parallel = members(devices, batching=batching)
    args = map(parallel.place, arguments(count), ROLES)
    return parallel.compile(member, ROLES)(*args)


def loop(function, keys, tree, shared):
    """Members one by one."""
    results = [jax.jit(function)(key, trees.take(tree, i), shared) for i, key in enumerate(keys)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (1, 7), (3, 3), (4, 8)])
@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_any_number_of_devices_and_either_batching_equals_a_loop(count, devices, batching):
    found = spread(count, jax.devices()[:devices], batching)
    chex.assert_trees_all_close(found, loop(member, *arguments(count)), rtol=1e-6, atol=1e-6)


def test_members_one_after_another_are_bit_identical_on_any_number_of_devices():
    one, *others = (spread(8, jax.devices()[:count], "map") for count in (1, 2, 4))
    for other in others:
        chex.assert_trees_all_equal(one, other)


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_several_devices_share_the_work(batching):
    out = spread(8, None, batching)["out"]
    assert [shard.data.shape for shard in out.addressable_shards] == [(2, 6, 3)] * 4
    assert {shard.device for shard in out.addressable_shards} == set(jax.devices())


def test_a_device_that_is_not_the_first_is_used():
    last = jax.devices()[-1]
    assert spread(2, [last])["out"].sharding.device_set == {last}


def test_one_member_alone_is_not_looped_over():
    parallel = members(jax.devices()[:1], batching="map")
    args = tuple(map(parallel.place, arguments(1), ROLES))
    compiled = parallel.compile(member, ROLES)
    program = compiled.lower(*args).as_text()
    assert "while" not in program.split("func.func private")[0]
    np.testing.assert_allclose(
        compiled(*args)["out"], loop(member, *arguments(1))["out"], rtol=1e-6
    )


@pytest.mark.parametrize("role", ["own", "state", "batches"])
def test_members_that_devices_cannot_share_are_refused(role):
    parallel = members(jax.devices()[:3])
    with pytest.raises(InputError, match="members is 4; expected a multiple of the 3 devices"):
        parallel.place({"a": np.ones((4, 2))}, role)
    assert parallel.place(np.ones((4, 2)), "shared").shape == (4, 2)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("role", ["own", "shared"])
def test_what_lies_already_is_not_copied(devices, role):
    parallel = members(jax.devices()[:devices])
    placed = parallel.place({"a": np.ones((4, 2))}, role)
    assert parallel.place(placed, role)["a"] is placed["a"]
    results = parallel.compile(lambda a: a + 1, (role,))(placed["a"]) if role == "own" else None
    assert results is None or parallel.place(results, role) is results


@pytest.mark.parametrize("role", ["own", "state", "shared", "batches"])
def test_what_is_described_is_what_is_placed(role):
    parallel = members(jax.devices()[:2])
    tree = {"a": np.ones((4, 2), np.float32), "b": np.arange(4)}
    described, placed = parallel.described(tree, role), parallel.place(tree, role)
    for name, array in placed.items():
        assert described[name].sharding == array.sharding
        assert described[name].shape == array.shape


def test_a_cpu_takes_members_one_after_another():
    assert members().batching == "map"
    assert members(batching="vmap").batching == "vmap"
    assert members().devices == tuple(jax.devices())
    assert members_side_by_side() == 4
    assert members_side_by_side(jax.devices()[:2]) == 2
