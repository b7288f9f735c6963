"""A decoder-only transformer as pure functions over a parameter tree.

The layers of the network are one scan over stacked parameters, so that compile time does not grow
with their number: the leaves of ``params["layers"]`` have them as leading axis. `by_layer` gives
every layer a name of its own, for drift by layer.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import trees
from sublim_jax.lm.attention import NOWHERE, attend, visible
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.gated import GatedBlock, RMSNorm
from sublim_jax.lm.neox import NeoxBlock
from sublim_jax.lm.rotary import rotate, turns

Params = PyTree[Float[Array, "..."], "Params"]

BLOCKS = {"gated": GatedBlock, "neox": NeoxBlock}


class Cache(NamedTuple):
    """Keys and values of tokens that were read, to go on after them.

    Attributes:
        keys: turned by their positions, of each layer.
        values: of each layer.
        positions: of the tokens in the slots; `NOWHERE` where there is none, or padding.
        filled: slots that are taken, the same for all rows.
    """

    keys: Float[Array, "layers rows slots kv_heads width"]
    values: Float[Array, "layers rows slots kv_heads width"]
    positions: Int[Array, "rows slots"]
    filled: Int[Array, ""]


def init(config: DecoderConfig, key: Key[Array, ""]) -> Params:
    """Draw parameters: normal with standard deviation .02, norms that do nothing, no biases."""
    of_table, of_head, of_layers = jax.random.split(key, 3)
    draw = nnx.initializers.normal(0.02)

    def block(key: Key[Array, ""]) -> PyTree:
        return nnx.to_pure_dict(nnx.state(_block(config, key)))

    params = {
        "embedding": {"table": draw(of_table, (config.vocabulary, config.width))},
        "layers": jax.vmap(block)(jax.random.split(of_layers, config.layers)),
        "norm": nnx.to_pure_dict(nnx.state(_last_norm(config))),
    }
    if not config.tied:
        params["head"] = {"kernel": draw(of_head, (config.width, config.vocabulary))}
    return params


def apply(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
    remat: bool = False,
) -> Float[Array, "rows tokens vocabulary"]:
    """Give the logits of the next token after every token.

    Args:
        config: the shape.
        params: as from `init`.
        tokens: numbers of tokens.
        positions: in their text, from 0; by default that in the row. `NOWHERE` for padding, which
            no token sees.
        segments: number of the text, where a row has several: they do not see each other.
        remat: keep of each layer its input alone, and compute it again for gradients.
    """
    return logits(
        config,
        params,
        hidden(config, params, tokens, positions=positions, segments=segments, remat=remat),
    )


def hidden(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"],
    *,
    positions: Int[Array, "rows tokens"] | None = None,
    segments: Int[Array, "rows tokens"] | None = None,
    remat: bool = False,
) -> Float[Array, "rows tokens width"]:
    """Give what `logits` reads: the normalised residual stream after the last layer."""
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    texts = None if segments is None else (segments, segments)
    look = _Look(config, positions, positions, texts)

    def layer(x: Array, given: Any) -> tuple[Array, None]:
        weights, whole = given

        def read(queries: Array, keys: Array, values: Array) -> Array:
            queries, keys = look.turned(whole, queries, keys)
            return attend(queries, keys, values, look.seen(whole))

        return _layer(config, weights)(x, read), None

    scanned = jax.checkpoint(layer) if remat else layer
    given = params["layers"], _sees_all(config)
    return _normed(
        config, params, jax.lax.scan(scanned, _embedded(config, params, tokens), given)[0]
    )


def logits(
    config: DecoderConfig, params: Params, hidden: Float[Array, "*rows width"]
) -> Float[Array, "*rows vocabulary"]:
    """Give the logits of the next token, in the type of the parameters."""
    kernel = params["embedding"]["table"].T if config.tied else params["head"]["kernel"]
    return hidden @ kernel


def empty(config: DecoderConfig, rows: int, slots: int, dtype: Any = jnp.float32) -> Cache:
    """Make room for so many tokens of so many rows."""
    shape = (config.layers, rows, slots, config.kv_heads, config.head_width)
    nobody = jnp.full((rows, slots), NOWHERE)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), nobody, jnp.asarray(0))


def extend(
    config: DecoderConfig,
    params: Params,
    tokens: Int[Array, "rows tokens"],
    positions: Int[Array, "rows tokens"],
    cache: Cache,
) -> tuple[Float[Array, "rows tokens width"], Cache]:
    """Read tokens after those in the cache; what comes out is that of `hidden` on all of them.

    Donate the cache: it is then updated in place. The slots it has left are the caller's to count:
    where they run out, the last ones are written over.
    """
    at, zero = cache.filled, jnp.zeros_like(cache.filled)
    slots = jax.lax.dynamic_update_slice(cache.positions, positions, (zero, at))
    look = _Look(config, positions, slots, None)

    # The cache is carried rather than scanned over: a scan would make a copy of it.
    def layer(carry: tuple[Array, Array, Array], given: Any) -> Any:
        (x, *stored), (weights, whole, index) = carry, given
        kept: list[Array] = []

        def read(queries: Array, keys: Array, values: Array) -> Array:
            queries, keys = look.turned(whole, queries, keys)
            for before, new in zip(stored, (keys, values), strict=True):
                new = new[None].astype(before.dtype)
                place = (index, zero, at, zero, zero)
                kept.append(jax.lax.dynamic_update_slice(before, new, place))
            keys, values = (jax.lax.dynamic_index_in_dim(k, index, keepdims=False) for k in kept)
            return attend(queries, keys, values, look.seen(whole))

        x = _layer(config, weights)(x, read)
        return (x, *kept), None

    start = _embedded(config, params, tokens), cache.keys, cache.values
    given = params["layers"], _sees_all(config), jnp.arange(config.layers)
    (x, keys, values), _ = jax.lax.scan(layer, start, given)
    return _normed(config, params, x), Cache(keys, values, slots, at + tokens.shape[1])


def by_layer(params: Params) -> Params:
    """Give every layer a name of its own, ``layer_00`` and on, beside embedding, norm and head."""
    stacked = params["layers"]
    count = jax.tree.leaves(stacked)[0].shape[0]
    names = [f"layer_{i:0{len(str(count - 1))}}" for i in range(count)]
    rest = {name: layer for name, layer in params.items() if name != "layers"}
    return rest | {name: trees.take(stacked, i) for i, name in enumerate(names)}


class _Look:
    """What queries see of keys and how both are turned, for layers of either kind.

    All is made once, outside the scan over layers. A scan has one body: where layers are of two
    kinds, the flag of a layer (whether it sees the whole text) chooses.
    """

    def __init__(self, config: DecoderConfig, queries: Array, keys: Array, texts: Any) -> None:
        windows = [None, config.window] if config.global_layers else [config.window]
        rotaries = [config.rotary, config.local_rotary or config.rotary]
        self._masks = [visible(queries, keys, segments=texts, window=w) for w in windows]
        self._angles = [
            turns(rotary.frequencies(config.head_width), queries)
            for rotary in dict.fromkeys(rotaries)
        ]
        self._scale = config.head_width**-0.5 if config.query_scale is None else config.query_scale

    def seen(self, whole: Array) -> Array:
        return _either(whole, self._masks)

    def turned(self, whole: Array, queries: Array, keys: Array) -> tuple[Array, Array]:
        angles = _either(whole, self._angles)
        return rotate(queries, angles) * self._scale, rotate(keys, angles)


def _either(first: Array, choices: list[Any]) -> Any:
    """Choose the first of one or two trees, or the last."""
    if len(choices) == 1:
        return choices[0]
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), *choices)


def _sees_all(config: DecoderConfig) -> np.ndarray:
    """Tell which layers are global."""
    return np.isin(np.arange(config.layers), config.global_layers) | (config.window is None)


def _block(config: DecoderConfig, key: Key[Array, ""]) -> nnx.Module:
    return BLOCKS[config.block](config, rngs=nnx.Rngs(key))


@functools.cache
def _graph(config: DecoderConfig) -> Any:
    return nnx.graphdef(nnx.eval_shape(lambda: _block(config, jax.random.key(0))))


def _layer(config: DecoderConfig, weights: PyTree) -> Any:
    return nnx.merge(_graph(config), weights)


def _last_norm(config: DecoderConfig) -> nnx.Module:
    if config.block == "neox":
        return nnx.LayerNorm(config.width, epsilon=config.norm_epsilon, rngs=nnx.Rngs(0))
    return RMSNorm(config.width, config)


@functools.cache
def _norm_graph(config: DecoderConfig) -> Any:
    return nnx.graphdef(nnx.eval_shape(lambda: _last_norm(config)))


def _normed(config: DecoderConfig, params: Params, x: Array) -> Array:
    return nnx.merge(_norm_graph(config), params["norm"])(x)


def _embedded(config: DecoderConfig, params: Params, tokens: Array) -> Array:
    found = params["embedding"]["table"][tokens]
    # In the type of the parameters, rounding included, as Gemma was trained.
    return found * jnp.asarray(config.width**0.5, found.dtype) if config.gemma else found
