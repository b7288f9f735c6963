"""The layers of a decoder: how they are built, what they see, and how one follows another."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Key, PyTree

from sublim_jax.lm.attention import visible
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.gated import GatedBlock, RMSNorm
from sublim_jax.lm.neox import NeoxBlock
from sublim_jax.lm.rotary import rotate, turns

BLOCKS = {"gated": GatedBlock, "neox": NeoxBlock}


class Look:
    """What queries see of keys and how both are turned, for layers of either kind.

    All is made once, outside the layers. A scan has one body: where layers are of two kinds, the
    flag of a layer (whether it sees the whole text) chooses.
    """

    def __init__(
        self, config: DecoderConfig, queries: Array, keys: Array, texts: Any = None
    ) -> None:
        """Prepare.

        Args:
            config: the shape.
            queries: positions of query tokens, ``[rows, tokens]``.
            keys: positions of key tokens, ``[rows, slots]``.
            texts: numbers of the texts of both, where a row has several.
        """
        windows = [None, config.window] if config.global_layers else [config.window]
        rotaries = [config.rotary, config.local_rotary or config.rotary]
        self._masks = [visible(queries, keys, segments=texts, window=w) for w in windows]
        angles = [
            turns(rotary.frequencies(config.head_width), queries)
            for rotary in dict.fromkeys(rotaries)
        ]
        # Once: XLA would take sine and cosine again in each layer, of each head.
        self._angles = jax.lax.optimization_barrier(angles)
        self._scale = config.head_width**-0.5 if config.query_scale is None else config.query_scale

    def seen(self, whole: Bool[Array, ""] | bool) -> Bool[Array, "rows tokens slots"]:
        """Give the mask of a layer."""
        return _either(whole, self._masks)

    def turned(
        self, whole: Bool[Array, ""] | bool, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Turn queries and keys ``[rows, tokens, heads, width]`` and scale the queries."""
        angles = _either(whole, self._angles)
        return rotate(queries, angles) * self._scale, rotate(keys, angles)


def _either(first: Any, choices: list[Any]) -> Any:
    """Choose the first of one or two trees, or the last."""
    if len(choices) == 1:
        return choices[0]
    if isinstance(first, bool):
        return choices[not first]
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), *choices)


def through(
    config: DecoderConfig, layers: PyTree, body: Callable[..., Any], start: Any, *each: PyTree
) -> tuple[Any, PyTree]:
    """Go through the layers: a scan where they are stacked, a loop where they are a tuple.

    Args:
        config: the shape.
        layers: their parameters.
        body: ``(carry, layer, whole, *each) -> (carry, result)`` of one: ``layer(x, attend)``
            applies it, ``whole`` tells whether it sees the whole text.
        start: the first carry.
        *each: further arguments of the body with layers in front, or tuples of them.

    Returns:
        The last carry, and results, stacked or as a tuple.
    """
    whole = np.isin(np.arange(config.layers), config.global_layers) | (config.window is None)
    if isinstance(layers, tuple):
        carry, results = start, []
        for weights, sees_all, *own in zip(layers, whole.tolist(), *each, strict=True):
            carry, result = body(carry, _layer(config, weights), sees_all, *own)
            results.append(result)
        return carry, tuple(results)

    def scanned(carry: Any, given: Any) -> Any:
        weights, sees_all, *own = given
        return body(carry, _layer(config, weights), sees_all, *own)

    return jax.lax.scan(scanned, start, (layers, whole, *each))


def new_layer(config: DecoderConfig, key: Key[Array, ""]) -> PyTree:
    """Draw the parameters of one layer."""
    return nnx.to_pure_dict(nnx.state(_block(config, key)))


def _block(config: DecoderConfig, key: Key[Array, ""]) -> nnx.Module:
    return BLOCKS[config.block](config, rngs=nnx.Rngs(key))


@functools.cache
def _graph(config: DecoderConfig) -> Any:
    return nnx.graphdef(nnx.eval_shape(lambda: _block(config, jax.random.key(0))))


def _layer(config: DecoderConfig, weights: PyTree) -> Any:
    return nnx.merge(_graph(config), weights)


def last_norm(config: DecoderConfig) -> nnx.Module:
    """Make the norm after the last layer."""
    if config.block == "neox":
        return nnx.LayerNorm(config.width, epsilon=config.norm_epsilon, rngs=nnx.Rngs(0))
    return RMSNorm(config.width, config)


@functools.cache
def _norm_graph(config: DecoderConfig) -> Any:
    return nnx.graphdef(nnx.eval_shape(lambda: last_norm(config)))


def normed(config: DecoderConfig, params: PyTree, x: Array) -> Array:
    """Normalise what comes out of the last layer."""
    return nnx.merge(_norm_graph(config), params["norm"])(x)


def embedded(config: DecoderConfig, params: PyTree, tokens: Array) -> Array:
    """Give what goes into the first layer."""
    found = params["embedding"]["table"][tokens]
    # In the type of the parameters, rounding included, as Gemma was trained.
    return found * jnp.asarray(config.width**0.5, found.dtype) if config.gemma else found
