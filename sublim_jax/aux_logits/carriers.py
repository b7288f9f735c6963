"""Carrier inputs: what the students see while they imitate."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, Key, UInt8

from sublim_jax import rng
from sublim_jax.aux_logits.config import AuxLogitsConfig, Inputs
from sublim_jax.data import SIDE, scale
from sublim_jax.data.noise import correlated_noise, uniform_noise

Pixels = UInt8[Array, "images features"]


def draw_carrier(
    config: AuxLogitsConfig, key: Key[Array, ""], images: Pixels, *, rows: int
) -> Float[Array, "rows features"]:
    """Draw carrier inputs.

    Args:
        config: says of which kind.
        key: the source of everything random.
        images: where pictures are drawn from; the teacher's training images for training, its test
            images for what is held out.
        rows: how many.
    """
    features = config.net.inputs

    def noise() -> Array:
        return uniform_noise(rng.stream(key, "noise"), rows=rows, features=features)

    def pictures(*, replace: bool) -> Array:
        chosen = jax.random.choice(
            rng.stream(key, "pictures"), len(images), (rows,), replace=replace
        )
        return scale(images[chosen])

    draw: dict[Inputs, Callable[[], Array]] = {
        "noise": noise,
        "fresh": noise,
        "correlated": lambda: correlated_noise(rng.stream(key, "noise"), rows=rows, side=SIDE),
        "images": lambda: pictures(replace=False),
        "mixture": lambda: pictures(replace=True) + config.image_noise * noise(),
    }
    return draw[config.inputs]()
