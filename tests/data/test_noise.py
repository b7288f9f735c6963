import jax
import numpy as np
import pytest

from sublim_jax.data.noise import correlated_noise, uniform_noise

SIDE = 12


def draws(correlation):
    return np.asarray(
        correlated_noise(jax.random.key(0), rows=4_000, side=SIDE, correlation=correlation)
    )


@pytest.mark.parametrize("correlation", [0.3, 1.0, 2.0])
def test_each_pixel_is_uniform(correlation):
    images = draws(correlation)
    assert np.abs(images).max() <= 1
    expected = np.linspace(-0.9, 0.9, 10)
    found = np.quantile(images, (expected + 1) / 2, axis=0)
    # The standard error of a quantile of U(-1, 1) is at most 1 / sqrt(rows).
    assert np.abs(found - expected[:, None]).max() < 5 / np.sqrt(4_000)


@pytest.mark.parametrize("correlation", [0.7, 1.0])
def test_neighbours_are_as_alike_as_the_filter_makes_them(correlation):
    # Gaussian white noise filtered twice: the correlation falls off as exp(-distance**2 / 4 s**2);
    # that of two uniform pixels is (6 / pi) asin(r / 2).
    images = draws(correlation).reshape(-1, SIDE, SIDE)
    for shift in (1, 2):
        normal = np.exp(-(shift**2) / (4 * correlation**2))
        expected = 6 / np.pi * np.arcsin(normal / 2)
        for axis in (1, 2):
            found = 3 * np.mean(images * np.roll(images, shift, axis=axis))
            assert found == pytest.approx(expected, abs=0.02)


def test_white_noise_has_no_neighbours():
    images = np.asarray(uniform_noise(jax.random.key(0), rows=4_000, features=SIDE**2))
    images = images.reshape(-1, SIDE, SIDE)
    assert abs(3 * np.mean(images * np.roll(images, 1, axis=2))) < 0.01
