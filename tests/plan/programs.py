"""Small steps to plan, and devices to plan them for."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sublim_jax.plan import Planned

P = PartitionSpec
WHOLE = P()
WIDTHS = (32, 64, 64, 8)
WEIGHTS = list(itertools.pairwise(WIDTHS))
OPTIMIZER = optax.adam(1e-3)


def mesh_of(devices, **axes):
    devices = np.array(devices[: int(np.prod(list(axes.values())))])
    return Mesh(
        devices.reshape(*axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes)
    )


def described(mesh, shape, spec=WHOLE, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))


def loss(weights, inputs, targets):
    for w in weights[:-1]:
        inputs = jax.nn.relu(inputs @ w)
    return jnp.mean(jnp.square(inputs @ weights[-1] - targets))


def adam_step(state, inputs, targets, axis=None):
    weights, opt_state = state
    value, gradient = jax.value_and_grad(loss)(weights, inputs, targets)
    if axis is not None:
        gradient = jax.lax.pmean(gradient, axis)
    updates, opt_state = OPTIMIZER.update(gradient, opt_state, weights)
    return (optax.apply_updates(weights, updates), opt_state), value


def state_of(mesh, spec):
    weights = [described(mesh, shape, spec) for shape in WEIGHTS]
    opt_state = jax.tree.map(
        lambda a: described(mesh, a.shape, spec if a.shape else P(), a.dtype),
        jax.eval_shape(OPTIMIZER.init, weights),
    )
    return weights, opt_state


def mesh_mlp(devices, *, data, fsdp=1, tensor=1, rows=16):
    mesh = mesh_of(devices, data=data, fsdp=fsdp, tensor=tensor)
    state = state_of(mesh, P("fsdp", "tensor"))
    batch = [described(mesh, (rows, n), P(("data", "fsdp"))) for n in (WIDTHS[0], WIDTHS[-1])]
    step = jax.jit(adam_step, donate_argnums=0)
    return Planned(step, (state, *batch), *state, dict(mesh.shape), rows)


def pmap_mlp(devices, *, rows=16):
    mesh = mesh_of(devices, data=len(devices))
    state = state_of(mesh, P())
    batch = [
        described(mesh, (len(devices), rows // len(devices), n), P("data"))
        for n in (WIDTHS[0], WIDTHS[-1])
    ]
    step = jax.pmap(
        lambda state, x, y: adam_step(state, x, y, "data"),
        axis_name="data",
        in_axes=(None, 0, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=0,
    )
    return Planned(step, (state, *batch), *state, dict(mesh.shape), rows)
