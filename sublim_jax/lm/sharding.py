"""How a decoder's parameters lie on a mesh: axes by name, and one table to those of the mesh.

Weights are cut along the width over ``fsdp`` and along heads, hidden units and words over
``tensor``, so that a layer needs one sum over ``tensor`` for attention and one for its feed-forward
part (Shoeybi et al. 2019, arXiv 1909.08053). Optimizer state and thin matrices lie like them.
"""

import re
from collections.abc import Mapping

from jax.sharding import Mesh, PartitionSpec

from sublim_jax.training import Devices, mesh_parallel
from sublim_jax.training.parallel import MeshParallel

AXES: Mapping[str, tuple[str, str]] = {
    "embedding": ("words", "width"),
    "head": ("width", "words"),
    "query": ("width", "heads"),
    "key": ("width", "heads"),
    "value": ("width", "heads"),
    "query_key_value": ("width", "heads"),
    "output": ("heads", "width"),
    "gate": ("width", "hidden"),
    "up": ("width", "hidden"),
    "down": ("hidden", "width"),
}
"""Names of rows and columns of a matrix, by the name of what it belongs to."""

MESH_AXES: Mapping[str, str] = {
    "width": "fsdp",
    "heads": "tensor",
    "hidden": "tensor",
    "words": "tensor",
}
"""Axis of the mesh over which each is cut."""


def shard_decoder(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Say how a leaf is sharded: a `sublim_jax.training.parallel.ShardingRule`.

    What does not divide evenly, norms, and the axis of layers stay whole.

    >>> from jax.sharding import AbstractMesh
    >>> mesh = AbstractMesh((1, 4, 2), ("data", "fsdp", "tensor"))
    >>> tuple(shard_decoder("layers/mlp/up/kernel", (30, 576, 1536), mesh))
    (None, 'fsdp', 'tensor')
    >>> tuple(shard_decoder("0/mu/mlp/up/b", (30, 8, 1536), mesh))
    (None, None, 'tensor')
    """
    found = re.search(r"(?:^|/)(\w+)/(kernel|table|bias|a|b)$", path)
    if found is None or found[1] not in AXES:
        return PartitionSpec()
    rows, columns = AXES[found[1]]
    names = {"kernel": (rows, columns), "table": (rows, columns), "bias": (columns,)}
    names |= {"a": (rows, "rank"), "b": ("rank", columns)}
    own = names[found[2]]
    spec = [None] * (len(shape) - len(own)) + [MESH_AXES.get(name) for name in own]
    even = [
        axis if axis is not None and size % mesh.shape[axis] == 0 and mesh.shape[axis] > 1 else None
        for axis, size in zip(spec, shape, strict=True)
    ]
    return PartitionSpec(*even)


def decoder_mesh(devices: Devices | None = None, *, fsdp: int = 1, tensor: int = 1) -> MeshParallel:
    """Arrange devices for decoders, all of them by default; what fsdp and tensor leave is data.

    Raises:
        InputError: the devices do not make such a mesh.
    """
    return mesh_parallel(devices, fsdp=fsdp, tensor=tensor, rule=shard_decoder)
