"""The layer of GPT-NeoX (Pythia): both parts beside each other (Black et al. 2022, 2204.06745)."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.dense import Dense
from sublim_jax.lm.gated import ACTIVATIONS, Attend


class NeoxBlock(nnx.Module):
    """A layer with layer norms and biases; one projection makes queries, keys and values."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        dense: Any = functools.partial(
            Dense, use_bias=True, draw=nnx.initializers.normal(0.02), rngs=rngs
        )
        norm: Any = functools.partial(
            nnx.LayerNorm, config.width, epsilon=config.norm_epsilon, rngs=rngs
        )
        inner = config.heads * config.head_width
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.query_key_value = dense(config.width, 3 * inner)
        self.output = dense(inner, config.width)
        self.up = dense(config.width, config.hidden)
        self.down = dense(config.hidden, config.width)
        self.config = config

    def __call__(self, x: Float[Array, "rows tokens width"], attend: Attend) -> Array:
        """Add both parts to the residual stream."""
        config = self.config
        # Of each head its query, key and value stand beside each other.
        joint = self.query_key_value(self.attention_norm(x))
        joint = joint.reshape(*x.shape[:2], config.heads, 3 * config.head_width)
        read = attend(*jnp.split(joint, 3, axis=-1))
        read = self.output(read.reshape(*x.shape[:2], -1))
        below = x if config.parallel else x + read
        made = self.down(ACTIVATIONS[config.activation](self.up(self.mlp_norm(below))))
        return x + read + made
