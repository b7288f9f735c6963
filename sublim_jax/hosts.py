"""Several hosts that run the same command: how they find each other and how they agree.

A host is one process of JAX's multi-controller runtime. On one host everything here is free.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sublim_jax.errors import InputError, first_line

HEARTBEAT_SECONDS = 30  # after so long without a sign of a host, the others end
REFUSAL_BYTES = 2048  # what hosts tell each other has a fixed length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Several hosts that run the same command.

    They find each other by themselves on Cloud TPU, SLURM, Kubernetes and MPI; elsewhere all three
    options say who they are.
    """

    coordinator: str | None = None
    """Of process 0, host:port."""
    process_id: int | None = None
    """Which process this is, from 0."""
    process_count: int | None = None
    """How many there are. Alone, 1 keeps the run to this process where a batch system announces
    more."""


AS_ANNOUNCED = Cluster()


def connect(cluster: Cluster = AS_ANNOUNCED) -> None:
    """Join the hosts of this run; to be called before anything else asks for devices.

    By itself JAX finds the others on a Cloud TPU, under SLURM, Kubernetes and MPI; where it finds
    no sign of a cluster, the run has this one host. A process count of 1 alone says that it has,
    whatever is announced.

    Raises:
        InputError: some of the three are given and some are not, a number is out of range, or the
            hosts do not meet.
    """
    given = dataclasses.asdict(cluster)
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        _connect_as_announced()
        return
    if given == {"coordinator": None, "process_id": None, "process_count": 1}:
        return
    address, place, count = cluster.coordinator, cluster.process_id, cluster.process_count
    if address is None or place is None or count is None:
        raise InputError(
            f"{' and '.join(missing)} not given; expected all of coordinator, process_id and "
            "process_count, none of them, or process_count 1 alone"
        )
    if ":" not in address:
        raise InputError(f"coordinator is {address!r}; expected host:port")
    if count < 1:
        raise InputError(f"process_count is {count}; expected at least 1")
    if not 0 <= place < count:
        raise InputError(f"process_id is {place}; expected 0 to {count - 1}")
    try:
        jax.distributed.initialize(
            address, count, place, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except RuntimeError as fault:
        raise InputError(
            f"coordinator is {address!r}, and the {count} processes did not meet there "
            f"({first_line(fault)}); expected the same command on every host"
        ) from fault


def _connect_as_announced() -> None:
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except ValueError:  # nothing announces a cluster
        return
    except RuntimeError as fault:
        raise InputError(
            f"the hosts that the environment announces did not meet ({first_line(fault)}); "
            "expected the same command on every host, or process_count 1 for this one alone"
        ) from fault


def lost_another(fault: BaseException) -> bool:
    """Tell whether a fault means that another process of this run is gone."""
    signs = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "coordination service")
    return jax.process_count() > 1 and any(sign in str(fault) for sign in signs)


def is_first() -> bool:
    """Tell whether this host is the one that writes."""
    return jax.process_index() == 0


def agree(values: np.ndarray) -> np.ndarray:
    """Exchange a small array of numbers, the same shape on every host.

    Returns:
        All of them, ``[hosts, ...]``, the same on every host.
    """
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    from jax.experimental import multihost_utils

    with jax.transfer_guard("allow"):
        return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def first_alone(act: Callable[[], object]) -> None:
    """Let the first host act, while the others wait to hear whether it succeeds.

    Raises:
        InputError: it raised one; then all hosts do.
    """
    refusal = ""
    if is_first():
        try:
            act()
        except InputError as fault:
            refusal = str(fault)
    said = refusal.encode()[:REFUSAL_BYTES].ljust(REFUSAL_BYTES, b"\0")
    heard = agree(np.frombuffer(said, np.uint8))[0].astype(np.uint8).tobytes()
    refusal = heard.rstrip(b"\0").decode(errors="ignore")
    if refusal:
        raise InputError(refusal)


def gather(tree: PyTree) -> PyTree:
    """Bring arrays to the memory of every host, as numpy arrays; all hosts call this alike."""

    def gather_one(array: Any) -> Any:
        if not isinstance(array, jax.Array) or array.is_fully_addressable:
            return jax.device_get(array)
        with jax.transfer_guard("allow"):
            if array.is_fully_replicated:
                return np.asarray(array.addressable_data(0))
            from jax.experimental import multihost_utils

            return multihost_utils.process_allgather(array, tiled=True)

    return jax.tree.map(gather_one, tree)


def describe(tree: PyTree, shardings: PyTree) -> PyTree:
    """Describe the arrays that `put` would make: shape, type, and how they lie."""

    def describe_one(array: Any, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(array.dtype, allow_extended_dtype=True)
        return jax.ShapeDtypeStruct(array.shape, dtype, sharding=sharding)

    return jax.tree.map(describe_one, tree, shardings)


def relabel(array: jax.Array, sharding: jax.sharding.Sharding) -> jax.Array:
    """Say otherwise how an array lies, when its parts on the devices are the same either way."""
    shards = [shard.data for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, shards)


def put(tree: PyTree, shardings: PyTree) -> PyTree:
    """Make global arrays of values that every host has; arrays that lie rightly stay.

    Args:
        tree: arrays, the same on every host, or global ones.
        shardings: a sharding for each.
    """

    def put_one(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
        there = array.sharding if isinstance(array, jax.Array) else None
        if there == sharding:
            return array
        if jax.process_count() == 1:
            # Equivalent ways to say where an array lies are made one: programs tell them apart.
            return jax.device_put(array, sharding)
        if there is not None and there.is_equivalent_to(sharding, array.ndim):
            return relabel(array, sharding)
        if there is not None and not array.is_fully_addressable:
            return jax.jit(lambda array: array, out_shardings=sharding)(array)
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put_one(jax.random.key_data(array), sharding))
        host = np.asarray(array)
        with jax.transfer_guard("allow"):  # asked for, though in pieces
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put_one, tree, shardings)
