"""What a training does not change, computed once for every row: lower layers, and a teacher.

On a mesh every device reads its own rows, a few at a time, and keeps what comes out of them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax.lm import decoder
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.rows import map_over_rows
from sublim_jax.training import Parallel

AT_ONCE = 2048  # tokens that a device reads at a time


def streams(
    config: DecoderConfig, params: Params, packed: Packed, parallel: Parallel
) -> Float[Array, "rows tokens width"]:
    """Give what comes out of the layers that are not trained.

    Args:
        config: the shape of these layers alone, as from `decoder.lower`.
        params: theirs.
        packed: rows of texts.
        parallel: how rows are spread over devices; there may be spare ones at the end.
    """
    return _over(_stream, config, params, packed, parallel)


def hidden_at(
    config: DecoderConfig, params: Params, packed: Packed, parallel: Parallel
) -> Float[Array, "rows targets width"]:
    """Give what the head of a teacher reads at the places where the loss looks.

    Args:
        config: the shape of the teacher.
        params: of the teacher.
        packed: rows of texts.
        parallel: how rows are spread over devices; there may be spare ones at the end.
    """
    return _over(_hidden_at, config, params, packed, parallel)


def picked(
    hidden: Float[Array, "rows tokens width"], at: Array
) -> Float[Array, "rows targets width"]:
    """Choose places of every row."""
    return jnp.take_along_axis(hidden, at[..., None], axis=1)


def _stream(config: DecoderConfig, params: Params, rows: Any, parallel: Parallel) -> Array:
    read = {"positions": rows.positions, "segments": rows.segments, "spread": parallel.split}
    return decoder.stream(config, params, rows.tokens, **read)


def _hidden_at(config: DecoderConfig, params: Params, rows: Any, parallel: Parallel) -> Array:
    read = {"positions": rows.positions, "segments": rows.segments, "spread": parallel.split}
    return picked(decoder.hidden(config, params, rows.tokens, **read), rows.at)


def _over(
    function: Callable[..., Array],
    config: DecoderConfig,
    params: Params,
    packed: Packed,
    parallel: Parallel,
) -> Array:
    chunk = max(1, AT_ONCE // packed.tokens.shape[1])
    placed = parallel.place(params, "frozen"), parallel.place(packed, "rows")
    return _program(function, config, parallel, chunk)(*placed)


@functools.lru_cache(maxsize=16)
def _program(
    function: Callable[..., Array], config: DecoderConfig, parallel: Parallel, chunk: int
) -> Callable[[Params, Packed], Array]:
    shards = parallel.row_shards

    def all_rows(params: Params, packed: Packed) -> tuple[Array]:
        def some(part: PyTree) -> Array:
            # The first so many rows of every device, then the next: none leaves its own.
            rows = parallel.split(jax.tree.map(_together, part))
            found = function(config, params, rows, parallel)
            return jnp.swapaxes(found.reshape(shards, -1, *found.shape[1:]), 0, 1)

        apart = jax.tree.map(
            lambda a: jnp.swapaxes(a.reshape(shards, -1, *a.shape[1:]), 0, 1), packed
        )
        return (_together(map_over_rows(some, apart, chunk=chunk)),)

    program: Any = parallel.compile(all_rows, ("frozen", "rows"), ("rows",))
    return lambda *arguments: program(*arguments)[0]


def _together(array: Array) -> Array:
    """Put ``[rows, devices, ...]`` into one axis, device by device."""
    return jnp.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:])
