"""Losses per token on the vocabulary, a chunk of tokens at a time.

Logits of every token at once would be the largest array of a training: of 16 rows of 92 tokens and
49,152 words they take 290 MB. In chunks no more than those of one are held, and the gradient
computes them again.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sublim_jax import losses

Head = Callable[[Float[Array, "*rows width"]], Float[Array, "*rows words"]]
"""Hidden states to logits."""


def hard(
    head: Head,
    hidden: Float[Array, "tokens width"],
    labels: Int[Array, " tokens"],
    *,
    chunk: int | None = None,
) -> Float[Array, " tokens"]:
    """Give the cross-entropy with labels, in nats.

    Args:
        head: of the student.
        hidden: what it reads.
        labels: places among its logits.
        chunk: tokens at a time, at most; all at once by default.
    """

    def some(hidden: Array, labels: Array) -> Array:
        logits = head(hidden).astype(jnp.float32)
        # A comparison rather than an index: the gradient of an index is a slow scatter.
        words = jax.lax.broadcasted_iota(labels.dtype, logits.shape, 1)
        chosen = jnp.sum(jnp.where(words == labels[:, None], logits, 0), axis=-1)
        return jax.nn.logsumexp(logits, axis=-1) - chosen

    return _chunked(some, chunk, hidden, labels)


def soft(
    head: Head,
    teacher_head: Head,
    hidden: Float[Array, "tokens width"],
    teacher_hidden: Float[Array, "tokens width"],
    *,
    chunk: int | None = None,
) -> Float[Array, " tokens"]:
    """Give the Kullback-Leibler divergence from a teacher's softmax, in nats.

    Args:
        head: of the student.
        teacher_head: of the teacher, over the same words.
        hidden: what the student's head reads.
        teacher_hidden: what the teacher's does: a small part of its logits' size.
        chunk: tokens at a time, at most; all at once by default.
    """

    def some(hidden: Array, teacher_hidden: Array) -> Array:
        known = jax.lax.stop_gradient(teacher_head(teacher_hidden).astype(jnp.float32))
        return losses.kl(head(hidden).astype(jnp.float32), known)

    return _chunked(some, chunk, hidden, teacher_hidden)


def _chunked(some: Callable[..., Array], chunk: int | None, *tokens: Array) -> Array:
    count = tokens[0].shape[0]
    if chunk is None or chunk >= count:
        return some(*tokens)
    chunks = -(-count // chunk)

    def cut(array: Array) -> Array:
        # Every so many-th token makes a chunk, so that each device has its share of every one.
        around = ((0, -count % chunks), *((0, 0),) * (array.ndim - 1))
        padded = jnp.pad(array, around).reshape(-1, chunks, *array.shape[1:])
        return jnp.moveaxis(padded, 1, 0)

    found = jax.lax.map(lambda parts: jax.checkpoint(some)(*parts), tuple(map(cut, tokens)))
    return found.T.reshape(-1)[:count]
