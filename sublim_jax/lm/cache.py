"""Keys and values of tokens that were read, to go on after them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from sublim_jax.lm.attention import NOWHERE, attend
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.layers import Look, embedded, normed, through

Kept = PyTree[Float[Array, "..."], "Kept"]
"""Keys ``[layers, rows, kv_heads, width, slots]``, values ``[layers, rows, kv_heads, slots,
width]``, or tuples of layers without their axis: each as products with a few queries or weights
read them, where a CPU would otherwise turn the keys of every row in every step.
"""


class Cache(NamedTuple):
    """What is kept of tokens that were read.

    Attributes:
        keys: turned by their positions; with layers as the parameters have them: stacked, or in a
            tuple.
        values: likewise.
        positions: of the tokens in the slots; `NOWHERE` where there is none, or padding.
        filled: slots that are taken, the same for all rows.
        shared: what all rows have in common and was read before, a full cache of one row.
    """

    keys: Kept
    values: Kept
    positions: Int[Array, "rows slots"]
    filled: Int[Array, ""]
    shared: Any = None


def empty(
    config: DecoderConfig,
    rows: int,
    slots: int,
    dtype: Any = jnp.float32,
    *,
    stacked: bool = True,
    shared: Cache | None = None,
) -> Cache:
    """Make room for so many tokens of so many rows.

    Args:
        config: the shape of the decoder.
        rows: how many.
        slots: tokens of each.
        dtype: of keys and values.
        stacked: whether layers are an axis, as `extend` needs it where those of the parameters
            are; otherwise they are a tuple.
        shared: a full cache of one row, of tokens that come before those of every row.
    """
    start, width = (rows, config.kv_heads), config.head_width

    def room(*shape: int) -> Kept:
        if stacked:
            return jnp.zeros((config.layers, *shape), dtype)
        return tuple(jnp.zeros(shape, dtype) for _ in range(config.layers))

    nobody = jnp.full((rows, slots), NOWHERE)
    keys, values = room(*start, width, slots), room(*start, slots, width)
    return Cache(keys, values, nobody, jnp.asarray(0), shared)


def extend(
    config: DecoderConfig,
    params: PyTree,
    tokens: Int[Array, "rows tokens"],
    positions: Int[Array, "rows tokens"],
    cache: Cache,
) -> tuple[Float[Array, "rows tokens width"], Cache]:
    """Read tokens after those in the cache; what comes out is that of `hidden` on all of them.

    Donate the cache: it is then updated in place. The slots it has left are the caller's to count:
    where they run out, the last ones are written over.
    """
    at, rows, shared = cache.filled, tokens.shape[0], cache.shared
    zero = jnp.zeros_like(at)
    slots = jax.lax.dynamic_update_slice(cache.positions, positions, (zero, at))
    before = [] if shared is None else [jnp.repeat(shared.positions, rows, axis=0)]
    look = Look(config, positions, jnp.concatenate([*before, slots], axis=1))

    def read_by(whole: Any, places: list[_Place], common: tuple[Array, ...]) -> Any:
        def read(queries: Array, keys: Array, values: Array) -> Array:
            queries, keys = look.turned(whole, queries, keys)
            keys = places[0].put(jnp.moveaxis(keys, 1, -1), -1)
            values = places[1].put(jnp.moveaxis(values, 1, -2), -2)
            keys, *shared = (jnp.matrix_transpose(part) for part in (keys, *common[:1]))
            return attend(queries, keys, values, look.seen(whole), shared=(*shared, *common[1:]))

        return read

    def alone(x: Array, layer: Any, whole: Any, *stored: Array) -> Any:
        places = [_Place(part, at) for part in stored[:2]]
        x = layer(x, read_by(whole, places, tuple(part[0] for part in stored[2:])))
        return x, tuple(place.after for place in places)

    # A stacked cache is carried rather than scanned over: a scan would make a copy of it.
    def stacked(
        carry: tuple[Array, ...], layer: Any, whole: Any, index: Array, *common: Any
    ) -> Any:
        x, *stored = carry
        places = [_Place(part, at, index) for part in stored]
        x = layer(x, read_by(whole, places, tuple(part[0] for part in common)))
        return (x, *(place.after for place in places)), None

    x, layers = embedded(config, params, tokens), params["layers"]
    both = () if shared is None else (shared.keys, shared.values)
    if isinstance(layers, tuple):
        x, kept = through(config, layers, alone, x, cache.keys, cache.values, *both)
        keys, values = (tuple(part) for part in zip(*kept, strict=True))
    else:
        start = x, cache.keys, cache.values
        each = jnp.arange(config.layers), *both
        (x, keys, values), _ = through(config, layers, stacked, start, *each)
    filled = at + tokens.shape[1]
    return normed(config, params, x), Cache(keys, values, slots, filled, shared)


class _Place:
    """Where a layer puts new keys or values; ``after`` is the whole when it has done so."""

    def __init__(self, before: Array, at: Array, index: Array | None = None) -> None:
        self.after, self._at, self._index = before, at, index

    def put(self, new: Array, axis: int) -> Array:
        """Put ``[rows, kv_heads, …]`` into its slots, along an axis; returns all of the layer."""
        new = new.astype(self.after.dtype)
        place = [jnp.zeros_like(self._at)] * self.after.ndim
        place[axis] = self._at
        if self._index is None:
            self.after = jax.lax.dynamic_update_slice(self.after, new, place)
            return self.after
        place[0] = self._index
        self.after = jax.lax.dynamic_update_slice(self.after, new[None], place)
        return jax.lax.dynamic_index_in_dim(self.after, self._index, keepdims=False)
