"""The training step of the experiment, described for devices that need not be there."""

import jax
import jax.numpy as jnp

from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.distill import imitation
from sublim_jax.nets import mlp
from sublim_jax.plan import Planned
from sublim_jax.training import Devices, members, members_side_by_side, padded


def planned_step(
    config: AuxLogitsConfig, devices: Devices, *, members_at_once: int | None = None
) -> Planned:
    """Describe a step of the students that see all logits, the most expensive of a member's.

    Args:
        config: the configuration.
        devices: where it would run.
        members_at_once: as for `run_ensembles`.
    """
    parallel = members(devices)
    at_once = min(members_at_once or members_side_by_side(devices), config.members)
    at_once = padded(at_once, len(devices))
    net, recipe = mlp(config.net), config.student_recipe
    fit = imitation(net, recipe, outputs=slice(None), loss=config.loss, parallel=parallel)

    def stacked(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((at_once, *shape), jnp.float32)

    params = jax.eval_shape(jax.vmap(net.init), jax.random.split(jax.random.key(0), at_once))
    rows = config.carrier_rows()
    inputs = stacked(rows, config.net.inputs)
    targets = stacked(rows, config.net.classes + config.net.auxiliary)
    arguments = fit.described(params, (inputs, targets))
    return Planned(
        step=fit.programs.advance,
        arguments=arguments,
        parameters=arguments[0].params,
        optimizer=arguments[0].opt_state,
        mesh={"members": len(devices)},
        batch_size=at_once * config.batch_size,
        looped=True,
        members=at_once // len(devices),
    )
