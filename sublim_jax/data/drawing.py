"""Draws from banks of sentences and their parts."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sublim_jax.errors import InputError

Part = TypeVar("Part")


def generator(count: int, seed: int, most: int | None = None) -> np.random.Generator:
    """Make what draws are made with: numpy's PCG64.

    Args:
        count: of draws that are asked for.
        seed: of the generator.
        most: draws that there can be; any number by default.

    Raises:
        InputError: ``count`` or ``seed`` is out of range.
    """
    if count < 0 or (most is not None and count > most):
        expected = "at least 0" if most is None else f"0 to {most}"
        raise InputError(f"count is {count}; expected {expected}")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected at least 0")
    return np.random.default_rng(seed)


def pick(parts: Sequence[Part], random: np.random.Generator) -> Part:
    """Draw one of some parts, uniformly."""
    return parts[int(random.integers(len(parts)))]
