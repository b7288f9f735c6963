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
    return prefix_reader(config)(params, *filled([batch.prefix], 0))


@functools.cache
def prefix_reader(config: DecoderConfig) -> Callable[..., Cache]:
    """Compile the reading of a row by itself: parameters, tokens and positions to a full cache."""

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
    groups: int = 1,
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
        groups: of prompts and rows, each on devices of its own.
    """
    hidden, cache = extend(config, params, tokens, positions, _room(config, params, tokens, shared))
    lengths = jnp.sum(positions != NOWHERE, axis=1)
    last = lengths[:, None] - 1

    def for_rows(part: Array, slots: int) -> Array:
        edges = [(0, 0)] * part.ndim
        edges[slots] = (0, room)
        return jnp.pad(_taken(part, which, part.ndim - 4, groups), edges)

    keys = jax.tree.map(lambda part: for_rows(part, -1), cache.keys)
    values = jax.tree.map(lambda part: for_rows(part, -2), cache.values)
    at, ends, seen = (
        _taken(part, which, 0, groups)
        for part in (
            jnp.take_along_axis(hidden, last[..., None], axis=1)[:, 0],
            jnp.take_along_axis(positions, last, axis=1)[:, 0],
            cache.positions,
        )
    )
    places = jnp.pad(seen, [(0, 0), (0, room)], constant_values=NOWHERE)
    return Read(at, ends, Cache(keys, values, places, cache.filled, shared))


def _taken(part: Array, which: Array, axis: int, groups: int) -> Array:
    """Take of every group of prompts, along an axis, those of its rows: none leaves its devices."""
    if groups == 1:
        return jnp.take(part, which, axis=axis)
    before, after = part.shape[:axis], part.shape[axis + 1 :]
    apart = part.reshape(*before, groups, -1, *after)
    take = jax.vmap(lambda own, rows: jnp.take(own, rows, axis=axis), (axis, 0), axis)
    return take(apart, which.reshape(groups, -1)).reshape(*before, -1, *after)


def _room(config: DecoderConfig, params: Params, tokens: Array, shared: Cache | None) -> Cache:
    stacked = not isinstance(params["layers"], tuple)
    dtype = params["embedding"]["table"].dtype
    rows, slots = tokens.shape
    return empty(config, rows, slots, dtype, stacked=stacked, shared=shared)
