"""The state of a training is on the devices once."""

import math

import jax
import jax.numpy as jnp
import pytest
import toy

from sublim_jax.training import Recipe, make_fit

WIDTH = 256
WHOLE = ("one device", "mesh of data", "pmap", "pmap of two", *toy.STACKED)


def wide(params, batch):
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["w"])
    return jnp.square(jnp.tanh(hidden @ params["u"]) @ params["v"] - targets)


def bytes_on_a_device(tree):
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def compiled(kind):
    """The state as it lies on the devices, and how much memory its training needs on each."""

    def arguments():
        params = {name: jnp.ones(shape) for name, shape in shapes.items()}
        return params, (jnp.ones((3, 4)), jnp.ones(3))

    shapes = {"w": (4, WIDTH), "u": (WIDTH, WIDTH), "v": (WIDTH,)}
    stacked = jax.vmap(lambda _: arguments()) if kind in toy.STACKED else lambda _: arguments()
    given = jax.eval_shape(stacked, jnp.zeros(toy.MEMBERS))
    recipe = Recipe(epochs=1, batch_size=1)
    fit = make_fit(wide, recipe, parallel=toy.KINDS[kind]())
    described = fit.described(*given)
    program = fit.programs.advance.lower(*described).compile()
    return described[0], program.memory_analysis()


@pytest.mark.parametrize("kind", toy.KINDS)
def test_the_next_state_takes_the_place_of_the_last(kind):
    state, memory = compiled(kind)
    assert memory.alias_size_in_bytes >= bytes_on_a_device(state)
    if kind in WHOLE:  # elsewhere parameters are gathered from other devices
        # A third of the state is parameters: a gradient, and its sum over devices, are two thirds.
        assert memory.temp_size_in_bytes < 0.75 * bytes_on_a_device(state)
