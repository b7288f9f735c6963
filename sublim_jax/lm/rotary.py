"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864)."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sublim_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch:
    """How Llama 3.1 stretches its rotations to longer texts.

    Waves longer than ``context / low`` are slowed down by ``factor``, those shorter than ``context
    / high`` stay, and those between are interpolated.

    Attributes:
        factor: of the slowest waves.
        low: waves in the original context below which all are slowed.
        high: waves in the original context above which none is.
        context: that the model was first trained on, in tokens.
    """

    factor: float
    low: float = 1.0
    high: float = 4.0
    context: int = 8_192


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary:
    """How queries and keys are turned by their position.

    Attributes:
        base: of the geometric series of frequencies.
        share: part of each head that is turned, its first entries.
        slowdown: by what all frequencies are divided.
        stretch: of the slow ones alone.
    """

    base: float = 10_000.0
    share: float = 1.0
    slowdown: float = 1.0
    stretch: Stretch | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"share is {self.share}; expected a number above 0 and at most 1")
        for name in ("base", "slowdown"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected a positive number")

    def frequencies(self, head_width: int) -> Float[np.ndarray, " pairs"]:
        """Give the angle per position of each pair of entries, in radians, float64."""
        turned = int(self.share * head_width) // 2 * 2
        found = self.base ** -(np.arange(0, turned, 2) / turned) / self.slowdown
        if self.stretch is None:
            return found
        waves = self.stretch.context * found / (2 * math.pi)
        low, high = self.stretch.low, self.stretch.high
        kept = np.clip((waves - low) / (high - low), 0, 1)
        return found * (kept + (1 - kept) / self.stretch.factor)


def turns(
    frequencies: Float[np.ndarray, " pairs"], positions: Int[Array, "*rows tokens"]
) -> tuple[Float[Array, "*rows tokens pairs"], Float[Array, "*rows tokens pairs"]]:
    """Give cosine and sine of every position's angles, in float32."""
    each = jnp.expand_dims(frequencies.astype(np.float32), range(positions.ndim))
    angles = positions[..., None].astype(jnp.float32) * each
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "*rows tokens heads width"],
    turns: tuple[Float[Array, "*rows tokens pairs"], Float[Array, "*rows tokens pairs"]],
) -> Float[Array, "*rows tokens heads width"]:
    """Turn queries or keys; entry ``i`` of the first half is paired with ``i`` of the second."""
    cosine, sine = (part[..., None, :] for part in turns)
    pairs = cosine.shape[-1]
    one, other, rest = jnp.split(x, (pairs, 2 * pairs), axis=-1)
    turned = [one * cosine - other * sine, other * cosine + one * sine]
    return jnp.concatenate([*(part.astype(x.dtype) for part in turned), rest], axis=-1)
