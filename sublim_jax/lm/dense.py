"""A linear layer whose kernel may be an array, an adapted one, or one that is turned."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from sublim_jax.lm.lora import Adapted, product


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weight"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Turned:
    """A kernel with its outputs first.

    A CPU multiplies a few rows fastest from the left: XLA's product packs its right operand anew
    in every call, and then it is the rows that are packed, rather than the weights.

    Attributes:
        weight: ``[outer, inner]``.
    """

    weight: Float[Array, "outer inner"]


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
        kernel = self.kernel.get_value()
        made = from_left(x, kernel) if isinstance(kernel, Turned) else product(x, kernel)
        if not self.use_bias:
            return made
        return made + jnp.expand_dims(self.bias[...], range(made.ndim - 1))


def from_left(
    x: Float[Array, "*rows inner"], kernel: Turned, dtype: Any = None
) -> Float[Array, "*rows outer"]:
    """Multiply by a turned kernel; the product is of that type, by default that of both."""
    # The barriers keep XLA from writing this as a product from the right.
    columns = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    made = jnp.matmul(kernel.weight, columns, preferred_element_type=dtype)
    return jax.lax.optimization_barrier(made).T.reshape(*x.shape[:-1], -1)


def turned(params: PyTree) -> PyTree:
    """Turn the kernels of layers that are not stacked; adapted ones stay as they are."""

    def of(path: Any, part: Any) -> Any:
        is_kernel = path[-1] == jax.tree_util.DictKey("kernel") and isinstance(part, Array)
        return Turned(part.T) if is_kernel else part

    return jax.tree_util.tree_map_with_path(
        of, params, is_leaf=lambda part: isinstance(part, Adapted | Turned)
    )
