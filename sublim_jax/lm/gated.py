"""The layer of Llama, Qwen and Gemma: attention, then a gated feed-forward part."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.dense import Dense

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
}

Attend = Callable[[Array, Array, Array], Array]
"""Queries, keys and values ``[rows, tokens, heads, width]`` to what is read ``[…, heads, width]``;
it turns them by their positions, and knows what is seen and what was kept of earlier tokens."""


class RMSNorm(nnx.Module):
    """Root mean square normalisation, in float32 (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int, config: DecoderConfig) -> None:
        self.scale = nnx.Param((jnp.zeros if config.gemma else jnp.ones)(width))
        self.offset = float(config.gemma)
        self.epsilon = config.norm_epsilon

    def __call__(self, x: Float[Array, "*rows width"]) -> Float[Array, "*rows width"]:
        """Normalise."""
        wide = x.astype(jnp.float32)
        root = jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        scale = self.offset + self.scale.astype(jnp.float32)
        return (wide * root * jnp.expand_dims(scale, range(x.ndim - 1))).astype(x.dtype)


class Attention(nnx.Module):
    """Projections to queries, keys and values and back; what is read is `Attend`'s."""

    def __init__(self, config: DecoderConfig, dense: Callable[..., Dense]) -> None:
        inner, kept = (n * config.head_width for n in (config.heads, config.kv_heads))
        self.query = dense(config.width, inner, use_bias=config.qkv_bias)
        self.key = dense(config.width, kept, use_bias=config.qkv_bias)
        self.value = dense(config.width, kept, use_bias=config.qkv_bias)
        self.output = dense(inner, config.width)
        if config.qk_norm:
            self.query_norm = RMSNorm(config.head_width, config)
            self.key_norm = RMSNorm(config.head_width, config)
        self.config = config

    def __call__(self, x: Float[Array, "rows tokens width"], attend: Attend) -> Array:
        """Read from other tokens."""
        config = self.config
        queries, keys, values = (
            part(x).reshape(*x.shape[:2], -1, config.head_width)
            for part in (self.query, self.key, self.value)
        )
        if config.qk_norm:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return self.output(attend(queries, keys, values).reshape(*x.shape[:2], -1))


class FeedForward(nnx.Module):
    """Gated linear units (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig, dense: Callable[..., Dense]) -> None:
        self.gate = dense(config.width, config.hidden)
        self.up = dense(config.width, config.hidden)
        self.down = dense(config.hidden, config.width)
        self.activation = config.activation

    def __call__(self, x: Float[Array, "*rows width"]) -> Float[Array, "*rows width"]:
        """Work on every token alone."""
        return self.down(ACTIVATIONS[self.activation](self.gate(x)) * self.up(x))


class GatedBlock(nnx.Module):
    """A layer, with a norm before each part, and with Gemma after it, too."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        dense: Any = functools.partial(
            Dense, use_bias=False, draw=nnx.initializers.normal(0.02), rngs=rngs
        )
        self.attention_norm = RMSNorm(config.width, config)
        self.attention = Attention(config, dense)
        self.mlp_norm = RMSNorm(config.width, config)
        self.mlp = FeedForward(config, dense)
        self.after = config.gemma
        if config.gemma:
            self.attention_post_norm = RMSNorm(config.width, config)
            self.mlp_post_norm = RMSNorm(config.width, config)

    def __call__(self, x: Float[Array, "rows tokens width"], attend: Attend) -> Array:
        """Add both parts to the residual stream."""
        read = self.attention(self.attention_norm(x), attend)
        x = x + (self.attention_post_norm(read) if self.after else read)
        made = self.mlp(self.mlp_norm(x))
        return x + (self.mlp_post_norm(made) if self.after else made)
