"""Carrier inputs that mean nothing: noise images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def uniform_noise(
    key: Key[Array, ""], *, rows: int, features: int
) -> Float[Array, "rows features"]:
    """Draw every pixel from U(-1, 1), the range of the scaled images.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 6.2.
    """
    return jax.random.uniform(key, (rows, features), minval=-1.0, maxval=1.0)


def correlated_noise(
    key: Key[Array, ""], *, rows: int, side: int, correlation: float = 1.0
) -> Float[Array, "rows features"]:
    """Draw square images of noise whose neighbouring pixels are alike, each pixel from U(-1, 1).

    White normal noise is filtered by a Gaussian on the torus, scaled to unit variance, and mapped
    by ``2 Phi(z) - 1``: only the correlation tells it from `uniform_noise`.

    Args:
        key: the source of the noise.
        rows: images.
        side: pixels of an edge; an image has ``side**2`` features.
        correlation: standard deviation of the filter in pixels.
    """
    frequency = jnp.fft.fftfreq(side)
    along = jnp.exp(-2 * (jnp.pi * correlation * frequency) ** 2)
    along /= jnp.sqrt(jnp.mean(along**2))  # by Parseval filtered pixels then have variance 1
    gain = along[:, None] * along[None, : side // 2 + 1]
    white = jax.random.normal(key, (rows, side, side))
    smooth = jnp.fft.irfft2(jnp.fft.rfft2(white) * gain[None], s=(side, side))
    return (2 * jax.scipy.stats.norm.cdf(smooth) - 1).reshape(rows, side * side)
