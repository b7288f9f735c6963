import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import rng
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.aux_logits.carriers import draw_carrier
from sublim_jax.data import scale
from sublim_jax.data.noise import uniform_noise

KEY = jax.random.key(3)
PICTURES = jax.random.randint(jax.random.key(1), (50, 784), 0, 256).astype(jnp.uint8)


def drawn(inputs, rows=40, **fields):
    return draw_carrier(AuxLogitsConfig(inputs=inputs, **fields), KEY, PICTURES, rows=rows)


def places(images):
    """Which picture each row is, exactly."""
    known = {np.asarray(row).tobytes(): i for i, row in enumerate(scale(PICTURES))}
    return [known[np.asarray(row).tobytes()] for row in images]


@pytest.mark.parametrize("inputs", ["noise", "fresh"])
def test_noise_is_uniform_noise(inputs):
    expected = uniform_noise(rng.stream(KEY, "noise"), rows=40, features=784)
    np.testing.assert_array_equal(drawn(inputs), expected)


def test_images_are_the_teachers_each_once():
    assert sorted(places(drawn("images", rows=50))) == list(range(50))
    assert len(set(places(drawn("images", rows=20)))) == 20


def test_a_mixture_is_pictures_and_noise():
    few, many = drawn("mixture", image_noise=0.0), drawn("mixture", rows=200, image_noise=0.0)
    assert set(places(few)) <= set(range(50))
    assert len(set(places(many))) > 40  # drawn again and again
    added = drawn("mixture", image_noise=0.5) - few
    np.testing.assert_allclose(added, 0.5 * drawn("noise"), atol=1e-6)


def test_smooth_noise_is_within_the_range_of_the_others():
    smooth = np.asarray(drawn("correlated"))
    assert smooth.shape == (40, 784)
    assert np.abs(smooth).max() <= 1


@pytest.mark.parametrize("inputs", ["noise", "correlated", "images", "mixture"])
def test_drawing_compiles_to_the_same_numbers(inputs):
    compiled = jax.jit(lambda key, x: draw_carrier(AuxLogitsConfig(inputs=inputs), key, x, rows=40))
    np.testing.assert_allclose(compiled(KEY, PICTURES), drawn(inputs), atol=2e-6)
