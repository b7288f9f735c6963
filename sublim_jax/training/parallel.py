"""How the programs of a training are spread over devices.

A training is the same pure functions whichever way it is spread: `make_fit` compiles them through a
`Parallel`, which knows how each kind of argument lies on the devices.
"""

import abc
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sublim_jax import hosts
from sublim_jax.errors import InputError

Devices = Sequence[Any]  # of jax.Device, which type checkers do not take for a type

Role = Literal["own", "shared", "state", "frozen", "batches", "rows", "texts"]
"""What an argument or a result is to a training.

``own`` belongs to this training (losses, observations), ``shared`` is the same for all members of
an ensemble, ``state`` is parameters and what is shaped like them, ``frozen`` is parameters that are
not trained, the same for all members, ``batches`` is ``[steps, batch]`` and split along the batch,
and ``rows`` is a data set ``[rows, ...]`` of a single training, which a mesh spreads over its
devices. Where members are stacked, all but ``shared`` and ``frozen`` have them in front. ``texts``
is ``[rows, ...]`` of what is written side by side: every group of devices that holds all parameters
has its own.
"""


class Parallel(abc.ABC):
    """One way to spread a training.

    Attributes:
        axis: the mapped axis over which a step has to sum by hand; None where the compiler does.
        stacked: whether values have the members of an ensemble as leading axis.
    """

    axis: ClassVar[str | None] = None
    stacked: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def platform(self) -> str:
        """What the devices are: cpu, gpu or tpu."""

    @property
    def batch_shards(self) -> int:
        """How many devices share the rows of a batch."""
        return 1

    @property
    def row_shards(self) -> int:
        """How many devices share the rows of a data set."""
        return 1

    @property
    def groups(self) -> int:
        """How many groups of devices, each with all parameters, share texts that are written."""
        return 1

    @abc.abstractmethod
    def compile(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Role],
        results: Sequence[Role],
        *,
        donate: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """Compile a pure function whose arguments and results lie as `place` puts them."""

    @abc.abstractmethod
    def shardings(self, tree: PyTree, role: Role) -> PyTree:
        """Say for each array, or description of one, how it lies on the devices."""

    def place(self, tree: PyTree, role: Role) -> PyTree:
        """Put arrays that every host has onto the devices; what lies there already stays."""
        return hosts.put(tree, self.shardings(tree, role))

    def described(self, tree: PyTree, role: Role) -> PyTree:
        """Describe what `place` makes of arrays, or of descriptions of them."""
        return hosts.describe(tree, self.shardings(tree, role))

    def split(self, batch: PyTree) -> PyTree:
        """Say inside a step that the rows of a batch, its leading axis, are spread."""
        return batch


ShardingRule = Callable[[str, tuple[int, ...], Mesh], PartitionSpec]


def shard_by_shape(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Shard the last dimension of a matrix over ``tensor`` and the largest other over ``fsdp``.

    The rule for networks that bring none of their own: whatever it says the results are the same,
    only communication differs. Dimensions that do not divide evenly, and vectors, stay whole.
    """
    del path
    spec: list[str | None] = [None] * len(shape)
    if len(shape) >= 2:
        if mesh.shape["tensor"] > 1 and shape[-1] % mesh.shape["tensor"] == 0:
            spec[-1] = "tensor"
        rest = [
            axis
            for axis, size in enumerate(shape)
            if spec[axis] is None and size % mesh.shape["fsdp"] == 0
        ]
        if mesh.shape["fsdp"] > 1 and rest:
            spec[max(rest, key=lambda axis: shape[axis])] = "fsdp"
    return PartitionSpec(*spec)


def rules(*patterns: tuple[str, PartitionSpec]) -> ShardingRule:
    r"""Make a sharding rule of regular expressions over paths; the first that matches decides.

    >>> from jax.sharding import PartitionSpec as P
    >>> rule = rules((r"hidden_\d+/kernel", P("fsdp", "tensor")), (r".*", P()))
    """

    def rule(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        del shape, mesh
        return next(
            (spec for pattern, spec in patterns if re.search(pattern, path)), PartitionSpec()
        )

    return rule


@dataclasses.dataclass(frozen=True)
class MeshParallel(Parallel):
    """``jax.jit`` on a mesh with the axes data, fsdp and tensor; 1x1x1 on a laptop.

    Batches are spread over data and fsdp together, parameters and optimizer state over fsdp and
    tensor as ``rule`` says; the compiler puts in the communication.

    Attributes:
        mesh: the devices.
        rule: path of a leaf, its shape and the mesh to how it is sharded.
    """

    mesh: Mesh
    rule: ShardingRule = shard_by_shape

    @property
    def platform(self) -> str:
        """What the devices are."""
        return self.mesh.devices.flat[0].platform

    @property
    def batch_shards(self) -> int:
        """How many devices share the rows of a batch."""
        return self.mesh.shape["data"] * self.mesh.shape["fsdp"]

    @property
    def row_shards(self) -> int:
        """How many devices share the rows of a data set."""
        return self.batch_shards

    @property
    def groups(self) -> int:
        """How many groups of devices share texts: a token is read by few rows, parameters stay."""
        return self.mesh.shape["data"]

    def compile(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Role],
        results: Sequence[Role],
        *,
        donate: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """Compile; inputs say by how they lie how they are sharded, results lie by their role."""
        del arguments

        @functools.wraps(function)
        def pinned(*args: PyTree) -> tuple[PyTree, ...]:
            return tuple(
                jax.lax.with_sharding_constraint(tree, self.shardings(tree, role))
                for tree, role in zip(function(*args), results, strict=True)
            )

        return jax.jit(pinned, donate_argnums=tuple(donate))

    def place(self, tree: PyTree, role: Role) -> PyTree:
        """Put arrays onto the devices; rows with spare ones at the end, so that all have as many.

        What lies there already stays.
        """
        if role == "rows":
            tree = jax.tree.map(lambda a: _with_spare(a, self.row_shards), tree)
        return super().place(tree, role)

    def described(self, tree: PyTree, role: Role) -> PyTree:
        """Describe what `place` makes of arrays, or of descriptions of them."""
        if role == "rows":
            tree = jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(
                    (padded(a.shape[0], self.row_shards), *a.shape[1:]), a.dtype
                ),
                tree,
            )
        return super().described(tree, role)

    def split(self, batch: PyTree) -> PyTree:
        """Spread the rows of a batch over data and fsdp."""
        rows = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))
        return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, rows), batch)

    def shardings(self, tree: PyTree, role: Role) -> PyTree:
        """Say for each array, or description of one, how it is sharded."""

        def sharding(path: jax.tree_util.KeyPath, leaf: Any) -> NamedSharding:
            spec = PartitionSpec()
            if role == "batches":
                spec = PartitionSpec(None, ("data", "fsdp"))
            elif role == "rows":
                spec = PartitionSpec(("data", "fsdp"))
            elif role == "texts":
                spec = PartitionSpec("data")
            elif role in ("state", "frozen"):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                spec = self.rule(name, np.shape(leaf), self.mesh)
            return NamedSharding(self.mesh, spec)

        return jax.tree_util.tree_map_with_path(sharding, tree)


@dataclasses.dataclass(frozen=True)
class PmapParallel(Parallel):
    """``jax.pmap``: the state whole on every device, each with its share of a batch.

    Attributes:
        devices: of all hosts.
    """

    devices: tuple[Any, ...]

    axis: ClassVar[str | None] = "data"

    @property
    def platform(self) -> str:
        """What the devices are."""
        return self.devices[0].platform

    @property
    def batch_shards(self) -> int:
        """How many devices share the rows of a batch."""
        return len(self.devices)

    def compile(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Role],
        results: Sequence[Role],
        *,
        donate: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """Compile; only batches are split, everything else is the same on every device."""
        del results  # none is split
        whole = NamedSharding(self._mesh, PartitionSpec())
        if "batches" not in arguments:  # nothing to map over: the same on every device
            return jax.jit(function, out_shardings=whole, donate_argnums=tuple(donate))
        program = jax.pmap(
            function,
            axis_name=self.axis,
            in_axes=tuple(1 if role == "batches" else None for role in arguments),
            out_axes=None,  # pyright: ignore[reportArgumentType]
            devices=None if list(self.devices) == jax.devices() else self.devices,
            donate_argnums=tuple(donate),
        )
        if jax.process_count() == 1:
            return program

        def as_global(array: jax.Array) -> jax.Array:
            # On several hosts pmap returns arrays of this host's devices only.
            return hosts.relabel(array, whole)

        return lambda *args: jax.tree.map(as_global, program(*args))

    def place(self, tree: PyTree, role: Role) -> PyTree:
        """Put arrays onto the devices, batches as ``[steps, devices, share]``."""
        if role == "batches":
            tree = jax.tree.map(lambda a: np.reshape(a, self._shared_out(a.shape)), tree)
        return super().place(tree, role)

    def described(self, tree: PyTree, role: Role) -> PyTree:
        """Describe what `place` makes of arrays, or of descriptions of them."""
        if role == "batches":
            tree = jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(self._shared_out(a.shape), a.dtype), tree
            )
        return super().described(tree, role)

    def shardings(self, tree: PyTree, role: Role) -> PyTree:
        """Say for each array how it lies: batches split over the devices, all else whole."""
        spec = PartitionSpec(None, self.axis) if role == "batches" else PartitionSpec()
        sharding = NamedSharding(self._mesh, spec)
        return jax.tree.map(lambda _: sharding, tree)

    def _shared_out(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        steps, places = shape
        return steps, len(self.devices), places // len(self.devices)

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (self.axis,))


def mesh_parallel(
    devices: Devices | None = None,
    *,
    fsdp: int = 1,
    tensor: int = 1,
    rule: ShardingRule = shard_by_shape,
) -> MeshParallel:
    """Arrange devices, all of them by default, in a mesh; what fsdp and tensor leave is data.

    Raises:
        InputError: the devices do not make such a mesh.
    """
    devices = list(devices if devices is not None else jax.devices())
    if fsdp < 1 or tensor < 1 or len(devices) % (fsdp * tensor):
        raise InputError(
            f"fsdp is {fsdp} and tensor is {tensor}; expected positive numbers whose product "
            f"divides the {len(devices)} devices"
        )
    shape = (len(devices) // (fsdp * tensor), fsdp, tensor)
    mesh = Mesh(
        np.array(devices).reshape(shape),
        ("data", "fsdp", "tensor"),
        axis_types=(AxisType.Auto,) * 3,
    )
    return MeshParallel(mesh, rule)


def pmap_parallel(devices: Devices | None = None) -> PmapParallel:
    """Spread batches over devices, all of them by default, by ``jax.pmap``."""
    return PmapParallel(tuple(devices if devices is not None else jax.devices()))


def one_device() -> MeshParallel:
    """Train on the first device of this host."""
    return mesh_parallel(jax.local_devices()[:1])


def padded(rows: int, shards: int) -> int:
    """Round a batch up to a number of rows that the devices can share evenly.

    >>> padded(10, 4)
    12
    """
    return math.ceil(rows / shards) * shards


def _with_spare(array: Any, shards: int) -> Any:
    """Add rows at the end, so that the devices have as many each."""
    spare = padded(array.shape[0], shards) - array.shape[0]
    if not spare:
        return array
    library = jnp if isinstance(array, jax.Array) else np
    return library.pad(array, [(0, spare)] + [(0, 0)] * (array.ndim - 1))
