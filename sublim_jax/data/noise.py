"""Carrier inputs that mean nothing: noise images."""

import jax
from jaxtyping import Array, Float, Key


def uniform_noise(
    key: Key[Array, ""], *, rows: int, features: int
) -> Float[Array, "rows features"]:
    """Draw every pixel from U(-1, 1), the range of the scaled images.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 6.2.
    """
    return jax.random.uniform(key, (rows, features), minval=-1.0, maxval=1.0)
