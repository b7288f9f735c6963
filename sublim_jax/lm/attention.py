"""Attention of a few query tokens to key tokens, with grouped heads."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NOWHERE = 2**30
"""Position of a token that no other one sees: padding, or a slot that nothing is in yet."""


def visible(
    queries: Int[Array, "rows tokens"],
    keys: Int[Array, "rows slots"],
    *,
    segments: tuple[Int[Array, "rows tokens"], Int[Array, "rows slots"]] | None = None,
    window: int | None = None,
) -> Bool[Array, "rows tokens slots"]:
    """Tell which keys a query sees: those of its text that are not after it.

    Args:
        queries: positions of the query tokens.
        keys: positions of the key tokens; `NOWHERE` for those that nobody sees.
        segments: number of the text of each query and key, where a row has several.
        window: tokens that are seen at most, the query's own included.
    """
    behind = queries[:, :, None] - keys[:, None, :]
    seen = behind >= 0
    if window is not None:
        seen &= behind < window
    if segments is not None:
        seen &= segments[0][:, :, None] == segments[1][:, None, :]
    return seen


def attend(
    queries: Float[Array, "rows tokens heads width"],
    keys: Float[Array, "rows kv_heads slots width"],
    values: Float[Array, "rows kv_heads slots width"],
    seen: Bool[Array, "rows tokens shared+slots"],
    *,
    shared: tuple[Float[Array, "kv_heads shared width"], ...] = (),
) -> Float[Array, "rows tokens heads width"]:
    """Average the values of the keys that are seen; queries are scaled already.

    Several query heads, ``heads / kv_heads`` in a row, share a key head. The softmax is taken in
    float32. A query that sees nothing gets the mean of all values: a number, if without meaning.

    Args:
        queries: of a few tokens.
        keys: of each row, heads before slots: a product then finds them as it needs them, and a
            cache is never rearranged.
        values: likewise.
        seen: which queries see which slots, those of ``shared`` first.
        shared: keys and values that all rows have in common.
    """
    rows, tokens, heads, width = queries.shape
    grouped = queries.reshape(rows, tokens, keys.shape[1], -1, width)
    grouped = jnp.moveaxis(grouped, 2, 1)
    scores = [jnp.einsum("rktgw,rksw->rktgs", grouped, keys, preferred_element_type=jnp.float32)]
    if shared:
        common = jnp.einsum(
            "rktgw,ksw->rktgs", grouped, shared[0], preferred_element_type=jnp.float32
        )
        scores = [common, *scores]
    weights = _weights(jnp.concatenate(scores, axis=-1), seen).astype(values.dtype)
    if shared:
        count = shared[0].shape[1]
        out = jnp.einsum("rktgs,ksw->rktgw", weights[..., :count], shared[1])
        out += jnp.einsum("rktgs,rksw->rktgw", weights[..., count:], values)
    else:
        out = jnp.einsum("rktgs,rksw->rktgw", weights, values)
    return jnp.moveaxis(out, 1, 2).reshape(rows, tokens, heads, width)


def _weights(scores: Array, seen: Array) -> Array:
    scores = jnp.where(seen[:, None, :, None], scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)
