"""The trait of a classifier: its accuracy."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def accuracy(
    class_logits: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, ""]:
    """Share of rows whose largest class logit is the label's, between 0 and 1."""
    return jnp.mean(jnp.argmax(class_logits, axis=-1) == labels)
