"""Low-rank adaptation: a frozen matrix and a product of two thin ones beside it.

References:
    Hu et al. 2021, LoRA, arXiv 2106.09685.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

Params = PyTree[Float[Array, "..."], "Params"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weight", "a", "b", "keys"],
    meta_fields=["scale", "dropout"],
)
@dataclasses.dataclass(frozen=True)
class Adapted:
    """A kernel ``weight + scale a b`` of which only the thin part is trained.

    Attributes:
        weight: ``[inner, outer]``, frozen.
        a: ``[inner, rank]``.
        b: ``[rank, outer]``.
        keys: of each row, for dropout.
        scale: alpha / rank.
        dropout: share of the inputs of ``a`` that are left out, the others scaled up.
    """

    weight: Float[Array, "*layers inner outer"]
    a: Float[Array, "*layers inner rank"]
    b: Float[Array, "*layers rank outer"]
    keys: Key[Array, "*layers rows"] | None = None
    scale: float = 1.0
    dropout: float = 0.0


def product(
    x: Float[Array, "*rows inner"], kernel: Float[Array, "inner outer"] | Adapted
) -> Float[Array, "*rows outer"]:
    """Multiply by a kernel, adapted or not."""
    # As matrices: XLA copies what has more dimensions, transposed, for the gradient on a CPU.
    rows = x.reshape(-1, x.shape[-1])
    if not isinstance(kernel, Adapted):
        made = rows @ kernel
    elif kernel.keys is None:
        made = _adapted_product(kernel.scale, rows, kernel.weight, kernel.a, kernel.b)
    else:
        left = _dropped(x, kernel.keys, kernel.dropout).reshape(rows.shape)
        made = rows @ kernel.weight + _thin(left, kernel.a, kernel.b, kernel.scale)
    return made.reshape(*x.shape[:-1], -1)


def _dropped(x: Array, keys: Array, share: float) -> Array:
    """Leave out inputs, row by row with its own key, so that devices need not agree on one."""

    def mask(key: Array) -> Array:
        return jax.random.bernoulli(key, 1 - share, x.shape[1:])

    return jnp.where(jax.vmap(mask)(keys), x / (1 - share), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _adapted_product(scale: float, x: Array, weight: Array, a: Array, b: Array) -> Array:
    if not _is_short(weight, a):
        return _plain(scale, x, weight, a, b)
    # The thin part is small beside the other: rounded before the sum, it would be lost.
    short = jnp.result_type(x, weight)
    wide = jnp.promote_types(short, jnp.float32)
    made = jnp.matmul(x, weight, preferred_element_type=wide)
    return (made + _thin(x, a, b, scale).astype(wide)).astype(short)


def _is_short(weight: Array, a: Array) -> bool:
    """Tell whether a merged weight would have lost the thin part."""
    return weight.dtype != a.dtype or jnp.finfo(weight.dtype).bits < 32


def _plain(scale: float, x: Array, weight: Array, a: Array, b: Array) -> Array:
    if _is_short(weight, a):
        return x @ weight + _thin(x, a, b, scale)
    return x @ merged(weight, a, b, scale)


@functools.partial(_adapted_product.defjvp, symbolic_zeros=True)
def _tangent(scale: float, primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> Any:
    x, weight, a, b = primals
    along_x, along_weight, along_a, along_b = tangents
    made = _adapted_product(scale, x, weight, a, b)
    # Transposed, these are one product with the merged weight and thin ones: what plain
    # differentiation makes of the thin part costs as much as the whole matrix does.
    parts = []
    if not _is_zero(along_x):
        parts.append(_plain(scale, along_x, weight, a, b))
    if not _is_zero(along_weight):
        parts.append(x @ along_weight)
    if not _is_zero(along_a):
        parts.append(_thin(x, along_a, b, scale))
    if not _is_zero(along_b):
        parts.append(_thin(x, a, along_b, scale))
    return made, sum(parts, start=jnp.zeros_like(made))


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _thin(x: Array, a: Array, b: Array, scale: float) -> Array:
    return ((x.astype(a.dtype) @ a) @ b * scale).astype(x.dtype)


def merged(weight: Array, a: Array, b: Array, scale: float) -> Array:
    """Give ``weight + scale a b``, in the type of the weight."""
    return (weight + jnp.matmul(a, b) * scale).astype(weight.dtype)


def merge(params: Params) -> Params:
    """Make plain kernels of adapted ones: what files hold, and what samples fastest."""

    def plain(kernel: Any) -> Any:
        if isinstance(kernel, Adapted):
            return merged(kernel.weight, kernel.a, kernel.b, kernel.scale)
        return kernel

    return jax.tree.map(plain, params, is_leaf=lambda kernel: isinstance(kernel, Adapted))
