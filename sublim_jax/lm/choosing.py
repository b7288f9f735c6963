"""How the next token is chosen from logits: temperature, top-k, top-p, or the likeliest."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sublim_jax.errors import InputError

BLOCK = 256  # tokens whose probabilities are added up before one is drawn among them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """How to choose among next tokens.

    Attributes:
        temperature: by which logits are divided; 0 takes the likeliest token.
        top_k: keep so many of the likeliest tokens, and those as likely as the last of them.
        top_p: of these keep the likeliest that together have at least this probability (Holtzman
            et al. 2019, arXiv 1904.09751), and those as likely as the last of them.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; expected a number from 0")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}; expected at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; expected a number above 0 and at most 1")


def choose(
    choice: Choice, logits: Float[Array, "rows tokens"], keys: Key[Array, " rows"]
) -> Int[Array, " rows"]:
    """Choose a token for every row, by its own key; one of probability 0 never is.

    Traceable. A row's token depends on its own logits and key alone. Logits are finite or −inf, and
    not all of a row are −inf.
    """
    logits = logits.astype(jnp.float32)
    if choice.temperature == 0:
        return jnp.argmax(logits, axis=-1)
    likely = _probabilities(logits, choice.temperature)
    if choice.top_k is not None and choice.top_k < likely.shape[-1]:
        likely = _kept(likely, jnp.ones_like(likely), jnp.float32(choice.top_k))
    if choice.top_p is not None and choice.top_p < 1:
        total = jnp.sum(likely, axis=-1, keepdims=True)
        likely = _kept(likely, likely, choice.top_p * total)
    return jax.vmap(_draw)(likely, keys)


def _probabilities(logits: Array, temperature: float) -> Array:
    # The divisor and its inverse are float32 numbers above 0: neither 0/0 nor inf/inf arises.
    divisor = min(max(temperature, 2.0**-100), 2.0**100)
    return jax.nn.softmax((logits - jnp.max(logits, axis=-1, keepdims=True)) / divisor, axis=-1)


def _kept(likely: Array, measure: Array, enough: Array) -> Array:
    """Keep the likeliest tokens that together measure enough.

    The least probability that is kept is found bit by bit: a positive number's bits, read as an
    integer, are in the order of the numbers. Sorting the vocabulary would take many times as long.
    """

    def at_least(bits: Array) -> Bool[Array, "rows tokens"]:
        return jax.lax.bitcast_convert_type(likely, jnp.int32) >= bits

    def settle(place: Array, bits: Array) -> Array:
        tried = bits | (1 << (30 - place))
        measured = jnp.sum(measure * at_least(tried), axis=-1, keepdims=True)
        return jnp.where(measured >= enough, tried, bits)

    least = jax.lax.fori_loop(0, 31, settle, jnp.zeros((likely.shape[0], 1), jnp.int32))
    return jnp.where(at_least(least), likely, 0.0)


def _draw(likely: Float[Array, " tokens"], key: Key[Array, ""]) -> Int[Array, ""]:
    """Draw by inverting the distribution function, first of blocks and then inside one.

    Two uniform numbers for a token, where the Gumbel trick draws one for every word of the
    vocabulary. The second is for what the 24 bits of the first cannot tell apart.
    """
    shares = 1 - jax.random.uniform(key, (2,))  # above 0
    padded = jnp.pad(likely, (0, -likely.size % BLOCK)).reshape(-1, BLOCK)
    block = _invert(jnp.sum(padded, axis=1), shares[0])
    return block * BLOCK + _invert(padded[block], shares[1])


def _invert(masses: Float[Array, " some"], share: Float[Array, ""]) -> Int[Array, ""]:
    """Find in which mass a share, above 0 and up to 1, of the whole falls."""
    # Sums up to neighbours may be rounded apart, so that a mass of 0 has to be passed over.
    up_to = jnp.where(masses > 0, jnp.cumsum(masses), -1.0)
    return jnp.argmax(up_to >= share * jnp.max(up_to))
