"""Members of an ensemble: the same pure training for many inits, over one device or several."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.training.parallel import Devices, Parallel, Role

Batching = Literal["map", "vmap"]

COMMON: tuple[Role, ...] = ("shared", "frozen")
"""What has no members in front."""


def default_batching(platform: str) -> Batching:
    """Choose how the members of one device run.

    One after another on a CPU, where a single member's matrix products already fill the cores and
    stacked ones are slower; stacked on an accelerator, where one member is too small.
    """
    return "map" if platform == "cpu" else "vmap"


def members_side_by_side(devices: Devices | None = None) -> int:
    """Say how many members suit some devices: one for each CPU, 25 for each accelerator.

    25 members of the official set-up keep 5 GB of noise on a device.
    """
    devices = devices if devices is not None else jax.devices()
    return len(devices) * {"map": 1, "vmap": 25}[default_batching(devices[0].platform)]


@dataclasses.dataclass(frozen=True)
class Members(Parallel):
    """Stacked members, an equal share of them on every device, without communication.

    A `Parallel` whose values, all but the shared ones, have the members as leading axis.

    Attributes:
        devices: of all hosts.
        batching: ``"map"`` (members one after another) or ``"vmap"`` (stacked) within a device.
    """

    devices: tuple[Any, ...]
    batching: Batching

    stacked: ClassVar[bool] = True

    @property
    def platform(self) -> str:
        """What the devices are."""
        return self.devices[0].platform

    def compile(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Role],
        results: Sequence[Role] = (),
        *,
        donate: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """Compile ``function`` of one member into a function of stacked members."""
        del results  # all have the members in front
        in_axes = tuple(None if role in COMMON else 0 for role in arguments)
        program = {"map": _sequential, "vmap": jax.vmap}[self.batching](function, in_axes)
        if len(self.devices) > 1:
            # What jax.pmap does, without its reshaping of members to [devices, share].
            program = jax.shard_map(
                program,
                mesh=self._mesh,
                in_specs=tuple(self._spec(role) for role in arguments),
                out_specs=PartitionSpec("members"),
                check_vma=False,
            )
        return jax.jit(program, donate_argnums=tuple(donate))

    def place(self, tree: PyTree, role: Role) -> PyTree:
        """Put arrays that every host has onto the devices; what lies there already stays.

        Raises:
            InputError: the devices cannot share the members evenly.
        """
        if role not in COMMON:
            for leaf in jax.tree.leaves(tree):
                if leaf.shape[0] % len(self.devices):
                    raise InputError(
                        f"members is {leaf.shape[0]}; expected a multiple of the "
                        f"{len(self.devices)} devices that share them"
                    )
        return super().place(tree, role)

    def shardings(self, tree: PyTree, role: Role) -> PyTree:
        """Say for each array how it lies: whole if shared, else split by members."""
        sharding = NamedSharding(self._mesh, self._spec(role))
        return jax.tree.map(lambda _: sharding, tree)

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), ("members",), axis_types=(AxisType.Auto,))

    def _spec(self, role: Role) -> PartitionSpec:
        return PartitionSpec() if role in COMMON else PartitionSpec("members")


def members(devices: Devices | None = None, *, batching: Batching | None = None) -> Members:
    """Spread members over devices, all of them by default, batched as suits the platform."""
    devices = tuple(devices if devices is not None else jax.devices())
    return Members(devices, batching or default_batching(devices[0].platform))


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
        if jax.tree.leaves(stacked)[0].shape[0] == 1:
            # A loop of one turn would copy each argument: for noise inputs that is all of them.
            return jax.tree.map(lambda a: a[None], one(trees.take(stacked, 0)))
        return jax.lax.map(one, stacked)

    return mapped
