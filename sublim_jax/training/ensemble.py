"""Members of an ensemble: the same pure training for many inits, over one device or several."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sublim_jax import trees

Batching = Literal["map", "vmap"]
Devices = Sequence[Any]  # of jax.Device, which type checkers do not take for a type


def default_batching(platform: str) -> Batching:
    """Choose how the members of one device run.

    One after another on a CPU, where a single member's matrix products already fill the cores and
    stacked ones are slower; stacked on an accelerator, where one member is too small.
    """
    return "map" if platform == "cpu" else "vmap"


def members_side_by_side() -> int:
    """Say how many members suit the local devices: one for each CPU, 25 for each accelerator.

    25 members of the official set-up keep 5 GB of noise on a device.
    """
    devices = jax.local_devices()
    return len(devices) * {"map": 1, "vmap": 25}[default_batching(devices[0].platform)]


def over_members(
    function: Callable[..., PyTree],
    in_axes: Sequence[Literal[0] | None],
    *,
    devices: Devices | None = None,
    batching: Batching | None = None,
) -> Callable[..., PyTree]:
    """Compile ``function`` of one member into a function of stacked members.

    Args:
        function: a pure function of positional arguments for one member.
        in_axes: for each argument 0 (a tree with the members as leading axis) or None (shared).
        devices: where to run, all local devices by default; several are driven by ``jax.pmap``,
            each with an equal share of the members (the last member is repeated to fill up).
        batching: ``"map"`` (members one after another) or ``"vmap"`` (stacked) within a device;
            by default what `default_batching` says.

    Returns:
        A function whose results have the members as leading axis. It compiles once for each shape.
    """
    devices = list(devices if devices is not None else jax.local_devices())
    in_axes = tuple(in_axes)
    batching = batching or default_batching(devices[0].platform)
    per_device = {"map": _sequential, "vmap": jax.vmap}[batching](function, in_axes)
    if devices == jax.local_devices()[:1]:
        return jax.jit(per_device)
    spread = jax.pmap(per_device, in_axes=in_axes, devices=devices)
    mesh = jax.sharding.Mesh(np.array(devices), ("members",))
    placed = {
        0: NamedSharding(mesh, PartitionSpec("members")),
        None: NamedSharding(mesh, PartitionSpec()),
    }

    def run(*args: Any) -> PyTree:
        members = _members(args, in_axes)
        share = -(-members // len(devices))
        fill = share * len(devices) - members

        def split(array: jax.Array) -> jax.Array:
            if fill:
                array = jnp.concatenate([array, jnp.repeat(array[-1:], fill, axis=0)])
            return array.reshape(len(devices), share, *array.shape[1:])

        # Placed by hand, for pmap refuses arrays that an earlier program has left elsewhere.
        results = spread(
            *(
                jax.device_put(jax.tree.map(split, tree) if axis == 0 else tree, placed[axis])
                for tree, axis in zip(args, in_axes, strict=True)
            )
        )
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:members], results)

    return run


def _sequential(
    function: Callable[..., PyTree], in_axes: Sequence[Literal[0] | None]
) -> Callable[..., PyTree]:
    """Map over the leading axis of the arguments with axis 0, one member at a time."""

    def mapped(*args: Any) -> PyTree:
        def one(stacked: list[PyTree]) -> PyTree:
            member = iter(stacked)
            return function(
                *(
                    next(member) if axis == 0 else tree
                    for tree, axis in zip(args, in_axes, strict=True)
                )
            )

        stacked = [tree for tree, axis in zip(args, in_axes, strict=True) if axis == 0]
        if _members(args, in_axes) == 1:
            # A loop of one turn would copy each argument: for noise inputs that is all of them.
            return jax.tree.map(lambda a: a[None], one(trees.take(stacked, 0)))
        return jax.lax.map(one, stacked)

    return mapped


def _members(args: Sequence[PyTree], in_axes: Sequence[Literal[0] | None]) -> int:
    stacked = next(tree for tree, axis in zip(args, in_axes, strict=True) if axis == 0)
    return jax.tree.leaves(stacked)[0].shape[0]
