import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax.drift import features as features_module
from sublim_jax.drift.features import cka_change
from sublim_jax.errors import InputError

ROWS = 40
linear_cka = jax.jit(features_module.linear_cka)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def correlated(seed, features=6):
    """Features that share some of what they vary with, around means that are not zero."""
    common = draw(0, ROWS, 3)
    rng = np.random.default_rng(seed + 1)
    own = rng.normal(size=(ROWS, features))
    return common @ rng.normal(size=(3, features)) + own + rng.normal(size=features) * 5


def gram_cka(x, y):
    """The definition by Gram matrices of rows and the Hilbert-Schmidt criterion."""
    n = len(x)
    centring = np.eye(n) - np.ones((n, n)) / n

    def hsic(k, q):
        return np.trace(k @ centring @ q @ centring) / (n - 1) ** 2

    k, q = x @ x.T, y @ y.T
    return hsic(k, q) / np.sqrt(hsic(k, k) * hsic(q, q))


@pytest.mark.parametrize("features", [4, 60])
def test_the_alignment_is_that_of_the_gram_matrices(features):
    x, y = correlated(0), correlated(1, features)
    with jax.enable_x64(True):
        np.testing.assert_allclose(linear_cka(x, y), gram_cka(x, y), rtol=1e-11)
    np.testing.assert_allclose(linear_cka(x, y), gram_cka(x, y), rtol=1e-5)


def test_it_is_symmetric_between_zero_and_one_and_one_with_itself():
    for seed in range(5):
        x, y = correlated(seed), correlated(seed + 10, 9)
        value = linear_cka(x, y)
        assert 0 < value < 1
        np.testing.assert_allclose(value, linear_cka(y, x), rtol=1e-6)
        np.testing.assert_allclose(linear_cka(x, x), 1, rtol=1e-6)


def test_rotations_scales_and_shifts_of_the_features_change_nothing():
    x, y = correlated(0), correlated(1, 8)
    rotation = np.linalg.qr(draw(5, 6, 6))[0]
    with jax.enable_x64(True):
        expected = linear_cka(x, y)
        for same in (x @ rotation, -3e6 * x, 1e-12 * x, x + 100.0, x[:, ::-1]):
            np.testing.assert_allclose(linear_cka(same, y), expected, rtol=1e-9)
            np.testing.assert_allclose(linear_cka(same, x), 1, rtol=1e-9)
        # Maps that are not orthogonal do: it is not a canonical correlation.
        assert abs(linear_cka(x * np.array([9, 1, 1, 1, 1, 1]), y) - expected) > 1e-2


def test_features_that_share_nothing_are_not_aligned():
    x, y = np.split(np.linalg.qr(draw(0, ROWS, 7) - draw(0, ROWS, 7).mean(0))[0][:, :6], 2, axis=1)
    assert linear_cka(x, y) < 1e-12


@pytest.mark.parametrize("scale", [1e-15, 1e10])
def test_features_of_any_size_are_aligned_in_float32(scale):
    x, y = correlated(0), correlated(1)
    small = (scale * x).astype(np.float32)
    np.testing.assert_allclose(linear_cka(small, y.astype(np.float32)), gram_cka(x, y), rtol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_constant_features_have_no_alignment(constant):
    # The mean of 40 times 0.1 is not 0.1 in float32.
    x = np.full((ROWS, 3), constant, np.float32)
    assert np.isnan(linear_cka(x, correlated(0)))
    assert np.isnan(linear_cka(correlated(0), x))
    some = np.concatenate([x, correlated(1)], axis=1)
    np.testing.assert_allclose(linear_cka(some, correlated(0)), gram_cka(some, correlated(0)), 1e-4)


def test_half_precision_features_are_widened():
    x = jnp.asarray(correlated(0), jnp.bfloat16)
    value = linear_cka(x, x)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1, rtol=1e-6)


def test_products_are_of_features_by_features_in_the_highest_precision():
    program = linear_cka.lower(*map(jnp.asarray, (correlated(0), correlated(1)))).as_text()
    assert f"{ROWS}x{ROWS}x" not in program
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 3
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_the_change_is_shown_against_the_initial_value():
    student, teacher, init = correlated(0), correlated(1, 4), correlated(2)
    change = jax.jit(cka_change)(student, teacher, init)
    np.testing.assert_allclose(change.value, gram_cka(student, teacher), rtol=1e-5)
    np.testing.assert_allclose(change.at_init, gram_cka(init, teacher), rtol=1e-5)
    still = jax.jit(cka_change)(init, teacher, init)
    assert still.value == still.at_init


def test_stacked_students_have_the_change_of_each():
    students = np.stack([correlated(i) for i in range(3)])
    change = jax.jit(jax.vmap(lambda x: cka_change(x, correlated(5), correlated(6))))
    for value, student in zip(change(students).value, students, strict=True):
        np.testing.assert_allclose(value, gram_cka(student, correlated(5)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(ROWS - 1, 3), (ROWS,), (ROWS, 2, 3)])
def test_features_of_other_rows_are_refused(shape):
    with pytest.raises(
        InputError, match=r"^features have shapes \(40, 6\) and .*; expected matrices"
    ):
        linear_cka(correlated(0), np.ones(shape))
