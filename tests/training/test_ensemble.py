import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import trees
from sublim_jax.training import over_members

AXES = (0, 0, None)


def member(key, tree, shared):
    noise = jax.random.normal(key, (6, 4))
    return {"out": jnp.tanh(noise @ tree["w"]) + shared.sum(), "sum": tree["b"].sum()}


def arguments(members):
    keys = jax.random.split(jax.random.key(0), members)
    draws = jax.random.split(jax.random.key(1), 2)
    tree = {
        "w": jax.random.normal(draws[0], (members, 4, 3)),
        "b": jax.random.normal(draws[1], (members, 5)),
    }
    return keys, tree, jnp.arange(3.0)


def loop(function, keys, tree, shared):
    """Members one by one."""
    results = [jax.jit(function)(key, trees.take(tree, i), shared) for i, key in enumerate(keys)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@pytest.mark.parametrize("members", [1, 4, 6, 8])
@pytest.mark.parametrize("devices", [1, 3, 4])
@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_any_number_of_devices_and_either_batching_equals_a_loop(members, devices, batching):
    args = arguments(members)
    spread = over_members(member, AXES, devices=jax.local_devices()[:devices], batching=batching)
    chex.assert_trees_all_close(spread(*args), loop(member, *args), rtol=1e-6, atol=1e-6)


def test_members_one_after_another_are_bit_identical_on_any_number_of_devices():
    args = arguments(7)
    one, *others = (
        over_members(member, AXES, devices=jax.local_devices()[:count], batching="map")(*args)
        for count in (1, 2, 4)
    )
    for other in others:
        chex.assert_trees_all_equal(one, other)


def test_several_devices_share_the_work():
    spread = over_members(member, AXES, devices=jax.local_devices())
    out = spread(*arguments(8))["out"]
    assert len(out.sharding.device_set) == 4


def test_a_device_that_is_not_the_first_is_used():
    last = jax.local_devices()[-1]
    out = over_members(member, AXES, devices=[last])(*arguments(2))["out"]
    assert out.sharding.device_set == {last}


def test_one_member_alone_is_not_looped_over():
    compiled = jax.jit(over_members(member, AXES, devices=jax.local_devices()[:1]))
    program = compiled.lower(*arguments(1)).as_text()
    assert "while" not in program.split("func.func private")[0]
    np.testing.assert_allclose(
        compiled(*arguments(1))["out"], loop(member, *arguments(1))["out"], rtol=1e-6
    )
