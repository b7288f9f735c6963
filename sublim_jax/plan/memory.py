"""Bytes that a chip needs for a program, and what the compiler says where they are too many."""

import math
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def chip_bytes(tree: PyTree) -> int:
    """Sum the bytes that one chip holds of arrays, or descriptions of arrays, that are sharded.

    Without a sharding an array counts whole; padding does not count.
    """
    return sum(map(_leaf_bytes, jax.tree.leaves(tree)))


def _leaf_bytes(leaf: Any) -> int:
    shape, dtype = np.shape(leaf), jax.numpy.result_type(leaf)
    sharding = getattr(leaf, "sharding", None)
    if sharding is not None:
        shape = sharding.shard_shape(shape)
    if jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape, dtype))
        shape, dtype = data.shape, data.dtype
    return math.prod(shape) * dtype.itemsize


class Refusal(NamedTuple):
    """What the compiler says of a program that is too large.

    Attributes:
        message: in its words.
        needed: bytes of a chip that the program needs, arguments included; None if not said.
        available: bytes that a chip has for it; None if not said.
    """

    message: str
    needed: int | None
    available: int | None


def refusal(fault: BaseException) -> Refusal | None:
    """Read the compiler's refusal of a program that does not fit into HBM; None for other faults.

    >>> refusal(RuntimeError("RESOURCE_EXHAUSTED: Used 32.50G of 15.75G hbm.")).needed / 2**30
    32.5
    """
    message = str(fault)
    if "RESOURCE_EXHAUSTED" not in message or "hbm" not in message.lower():
        return None
    amount = r"([\d.]+)([KMGT]?)B?"
    for pattern in (
        rf"\({amount}\) exceeds available HBM \({amount}\)",
        rf"[Uu]sed {amount} of {amount} hbm",
    ):
        if found := re.search(pattern, message):
            first, unit, second, other = found.groups()
            sizes = float(first) * UNITS[unit], float(second) * UNITS[other]
            return Refusal(message, round(sizes[0]), round(sizes[1]))
    return Refusal(message, None, None)


def machine_bytes() -> int | None:
    """Tell how much memory this machine has, where the system says so."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
