"""The trait of a classifier: its accuracy."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def accuracy(
    class_logits: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, ""]:
    """Share of rows whose largest class logit is the label's, between 0 and 1.

    A row with a NaN among its logits counts as wrong, so that a network that has diverged does not
    pass for one that guesses.
    """
    sound = ~jnp.isnan(class_logits).any(axis=-1)
    return jnp.mean(sound & (jnp.argmax(class_logits, axis=-1) == labels))
