"""The compiled part of reading prompts that rows have in common."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sublim_jax.lm.attention import NOWHERE
from sublim_jax.lm.batching import Batch, filled
from sublim_jax.lm.cache import Cache, empty, extend
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params


class Read(NamedTuple):
    """Rows after their prompts.

    Attributes:
        hidden: after the last token of each prompt, as `decoder.logits` takes it.
        positions: of this token.
        cache: of all, with room for what follows.
    """

    hidden: Float[Array, "rows width"]
    positions: Int[Array, " rows"]
    cache: Cache


def prefix_of(config: DecoderConfig, params: Params, batch: Batch) -> Cache | None:
    """Read what all prompts of a batch begin with, if anything."""
    if not batch.prefix:
        return None
    return _reader(config)(params, *filled([batch.prefix], 0))


@functools.cache
def _reader(config: DecoderConfig) -> Callable[..., Cache]:
    def read(params: Params, tokens: Array, positions: Array) -> Cache:
        return extend(config, params, tokens, positions, _room(config, params, tokens, None))[1]

    return jax.jit(read)


def read_prompts(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "prompts tokens"],
    positions: Int[Array, "prompts tokens"],
    which: Int[Array, " rows"],
    shared: Cache | None,
    *,
    room: int,
) -> Read:
    """Read every prompt once, for all rows that have it. Traceable.

    Args:
        config: the shape of the decoder.
        params: its parameters.
        tokens: of the prompts, as in `Batch`.
        positions: likewise.
        which: likewise.
        shared: from `prefix_of`.
        room: for so many tokens after the prompts.
    """
    hidden, cache = extend(config, params, tokens, positions, _room(config, params, tokens, shared))
    lengths = jnp.sum(positions != NOWHERE, axis=1)
    last = jnp.arange(tokens.shape[0]), lengths - 1

    def for_rows(part: Array, slots: int) -> Array:
        edges = [(0, 0)] * part.ndim
        edges[slots] = (0, room)
        return jnp.pad(jnp.take(part, which, axis=-4), edges)

    keys = jax.tree.map(lambda part: for_rows(part, -1), cache.keys)
    values = jax.tree.map(lambda part: for_rows(part, -2), cache.values)
    places = jnp.pad(cache.positions[which], [(0, 0), (0, room)], constant_values=NOWHERE)
    cache = Cache(keys, values, places, cache.filled, shared)
    return Read(hidden[last][which], positions[last][which], cache)


def _room(config: DecoderConfig, params: Params, tokens: Array, shared: Cache | None) -> Cache:
    stacked = not isinstance(params["layers"], tuple)
    dtype = params["embedding"]["table"].dtype
    rows, slots = tokens.shape
    return empty(config, rows, slots, dtype, stacked=stacked, shared=shared)
