"""Attention of a few query tokens to key tokens, with grouped heads."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NOWHERE = 2**30
"""Position of a token that no other one sees: padding, or a slot that nothing is in yet."""
EVERYBODY = -2
"""Segment of tokens with which all texts of a row begin: each of them sees them."""


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
        segments: number of the text of each query and key, where a row has several; `EVERYBODY`
            for what they have in common.
        window: tokens that are seen at most, the query's own included.
    """
    behind = queries[:, :, None] - keys[:, None, :]
    seen = behind >= 0
    if window is not None:
        seen &= behind < window
    if segments is not None:
        own, other = segments[0][:, :, None], segments[1][:, None, :]
        seen &= (own == other) | (other == EVERYBODY)
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
    if shared:
        return _in_two(queries, (keys, values), shared, seen)
    scores = _scores(queries, keys, seen)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return _by_head(jnp.einsum("rktgs,rksw->rktgw", weights, values))


def _scores(queries: Array, keys: Array, seen: Array) -> Float[Array, "rows kv_heads tokens *rest"]:
    """Multiply each query with the keys of its head: ``[…, heads / kv_heads, slots]``."""
    rows, tokens, _, width = queries.shape
    grouped = jnp.moveaxis(queries.reshape(rows, tokens, keys.shape[1], -1, width), 2, 1)
    made = jnp.einsum("rktgw,rksw->rktgs", grouped, keys, preferred_element_type=jnp.float32)
    return jnp.where(seen[:, None, :, None], made, jnp.finfo(jnp.float32).min)


def _by_head(x: Float[Array, "rows kv_heads tokens group width"]) -> Array:
    """Put heads where queries have them: ``[rows, tokens, heads, width]``."""
    return jnp.moveaxis(x, 1, 2).reshape(x.shape[0], x.shape[2], -1, x.shape[-1])


def _in_two(
    queries: Array, own: tuple[Array, ...], shared: tuple[Array, ...], seen: Array
) -> Array:
    """Read what rows share and what they do not, each by itself, and put them together.

    To what is shared all rows are tokens of one: a single product, and nothing of the size of the
    scores is rearranged or put beside each other. As in Dao et al. 2022 (arXiv 2205.14135).
    """
    count = shared[0].shape[1]
    as_one = (1, -1, *queries.shape[2:])
    common = seen[..., :count].reshape(1, -1, count)
    parts = [
        _summed(queries.reshape(as_one), shared[0][None], shared[1][None], common),
        _summed(queries, own[0], own[1], seen[..., count:]),
    ]
    peaks, totals, sums = (
        [part.reshape(*queries.shape[:3], -1) for part in each] for each in zip(*parts, strict=True)
    )
    scales = [jnp.exp(peak - jnp.maximum(*peaks)) for peak in peaks]
    total, read = (scales[0] * one + scales[1] * other for one, other in (totals, sums))
    return (read / total).astype(own[1].dtype)


def _summed(queries: Array, keys: Array, values: Array, seen: Array) -> tuple[Array, ...]:
    """Give the highest score of each query, and the sums of weights and of weighted values.

    The weights are exponentials of scores less the highest. All have an axis behind the heads.
    """
    scores = _scores(queries, keys, seen)
    peak = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - peak)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    short = weights.astype(values.dtype)
    read = jnp.einsum("rktgs,rksw->rktgw", short, values, preferred_element_type=jnp.float32)
    return tuple(_by_head(part) for part in (peak, total, read))
