"""A linear layer whose kernel may be an array or an adapted one."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sublim_jax.lm.lora import product


class Dense(nnx.Module):
    """``x @ kernel + bias``; the kernel may be an `Adapted` one, with a low-rank part."""

    def __init__(
        self, inner: int, outer: int, *, use_bias: bool, draw: Any, rngs: nnx.Rngs
    ) -> None:
        self.kernel = nnx.Param(draw(rngs.params(), (inner, outer)))
        if use_bias:
            self.bias = nnx.Param(jnp.zeros(outer))
        self.use_bias = use_bias

    def __call__(self, x: Float[Array, "*rows inner"]) -> Float[Array, "*rows outer"]:
        """Multiply, in the type of the kernel."""
        made = product(x, self.kernel.get_value())
        if not self.use_bias:
            return made
        return made + jnp.expand_dims(self.bias[...], range(made.ndim - 1))
