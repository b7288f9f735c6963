"""A small training, every way to spread it, and what tests of the engine share."""

import functools

import jax
import jax.numpy as jnp

from sublim_jax import trees
from sublim_jax.training import (
    Checkpoints,
    Recipe,
    Session,
    Watch,
    epoch_order,
    init_state,
    make_fit,
    make_step,
    members,
    mesh_parallel,
    one_device,
    pmap_parallel,
)

KEY = jax.random.key(3)
RECIPE = Recipe(learning_rate=0.05, epochs=3, batch_size=4)  # 10 rows: batches of 4, 4 and 2
STEPS = 9
MEMBERS = 4
WATCH = Watch((0, 2, 7, 9), lambda p: {"v": p["v"], "norm": jnp.linalg.norm(p["w"])})
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # Adam amplifies the last bits of tiny gradients

ONE_TRAINING = {
    "one device": one_device,
    "mesh of data": mesh_parallel,
    "mesh of data and fsdp": lambda: mesh_parallel(fsdp=2),
    "mesh of fsdp and tensor": lambda: mesh_parallel(fsdp=2, tensor=2),
    "pmap": pmap_parallel,
    "pmap of two": lambda: pmap_parallel(jax.devices()[1:3]),
}
STACKED = {
    "members by map": lambda: members(batching="map"),
    "members by vmap": lambda: members(jax.devices()[:2], batching="vmap"),
}
KINDS = ONE_TRAINING | STACKED


def loss(params, batch):
    inputs, targets = batch
    return jnp.square(jnp.tanh(inputs @ params["w"]) @ params["v"] - targets)


def problem(key=KEY, *, rows=10):
    keys = jax.random.split(key, 4)
    params = {"w": jax.random.normal(keys[0], (4, 8)), "v": jax.random.normal(keys[1], (8,))}
    return params, (jax.random.normal(keys[2], (rows, 4)), jax.random.normal(keys[3], (rows,)))


def given(kind):
    """Parameters, rows and a key as a kind of parallelism takes them."""
    if kind in STACKED:
        keys = jax.random.split(KEY, MEMBERS)
        return *jax.vmap(problem)(keys), keys
    return *problem(), KEY


@functools.cache
def training(kind):
    """A compiled training, what it is called with, and its end in one go."""
    params, rows, key = given(kind)
    fit = make_fit(loss, RECIPE, watch=WATCH, parallel=KINDS[kind]())
    return fit, ((params, rows), key), fit(params, rows, key=key)


def members_of(kind, *trees_of):
    """For each member of a kind its part of some trees."""
    count = MEMBERS if kind in STACKED else None
    return [trees_of] if count is None else [trees.take(trees_of, i) for i in range(count)]


@functools.cache
def optimizer_and_step():
    optimizer = RECIPE.transformation()
    return optimizer, jax.jit(make_step(loss, optimizer))


def by_hand(params, rows, key, weights=None):
    """The states before each step and after the last, and the losses, by a loop over steps."""
    count = len(rows[0])
    order = epoch_order(key, rows=count, epochs=RECIPE.epochs, batch_size=RECIPE.batch_size)
    weights = jnp.ones(count) if weights is None else weights
    optimizer, step = optimizer_and_step()
    state = init_state(params, optimizer)
    states, losses = [state], []
    for places in order:
        weight = jnp.where(places < 0, 0.0, weights[places])
        state, value = step(state, trees.take(rows, places), weight)
        states.append(state)
        losses.append(value)
    return states, jnp.stack(losses)


@functools.cache
def all_by_hand(stacked):
    """The loops of all members, or of the one training."""
    kind = next(iter(STACKED if stacked else ONE_TRAINING))
    return [by_hand(*member) for member in members_of(kind, *given(kind))]


def stopping(folder, asked, **options):
    """A session in a folder that is asked to stop when it asks for the so many-th time."""
    times = iter(range(1, 10_000))
    return Session(
        checkpoints=Checkpoints(folder),
        stop_requested=lambda: next(times) == asked,
        **({"every_minutes": None} | options),
    )


def same_shardings(one, other):
    """Whether the arrays of two trees lie on the devices in the same way."""
    return jax.tree.all(
        jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), one, other)
    )
