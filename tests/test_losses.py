import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.test_util import check_grads
from scipy import special

from sublim_jax.losses import IMITATION_LOSSES, cross_entropy, kl, mse

ROWS, K = 3, 4
logits = hnp.arrays(np.float64, (ROWS, K), elements=st.floats(-30, 30))
each_loss = pytest.mark.parametrize("loss", IMITATION_LOSSES.values(), ids=IMITATION_LOSSES.keys())


def double(function, *args):
    """The value of `function` in float64."""
    with jax.enable_x64(True):
        value = function(*args)
        assert jax.tree.leaves(value)[0].dtype == jnp.float64
        return np.asarray(value)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@settings(deadline=None)
@given(logits, logits)
def test_kl_is_that_of_the_two_softmaxes(student, teacher):
    expected = special.rel_entr(
        special.softmax(teacher, axis=-1), special.softmax(student, axis=-1)
    ).sum(axis=-1)
    np.testing.assert_allclose(double(kl, student, teacher), expected, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(logits, logits)
def test_mse_is_the_mean_squared_difference(student, teacher):
    expected = ((student - teacher) ** 2).mean(axis=-1)
    np.testing.assert_allclose(double(mse, student, teacher), expected, rtol=1e-12, atol=1e-100)


@settings(deadline=None)
@given(logits, hnp.arrays(np.int64, ROWS, elements=st.integers(0, K - 1)))
def test_cross_entropy_is_minus_the_log_probability_of_the_label(student, labels):
    expected = -special.log_softmax(student, axis=-1)[np.arange(ROWS), labels]
    np.testing.assert_allclose(
        double(cross_entropy, student, labels), expected, rtol=1e-9, atol=1e-12
    )


@each_loss
@settings(deadline=None)
@given(student=logits, teacher=logits)
def test_imitation_losses_are_never_negative_and_zero_at_equality(loss, student, teacher):
    assert (double(loss, student, teacher) >= -1e-14).all()
    assert (double(loss, teacher, teacher) == 0).all()


@each_loss
def test_the_gradient_vanishes_at_equality(loss):
    teacher = normal(0, K)
    np.testing.assert_allclose(double(jax.grad(loss), teacher, teacher), 0, atol=1e-15)


@settings(deadline=None)
@given(logits, logits, st.floats(-100, 100), st.floats(-100, 100))
def test_kl_does_not_see_a_shift_of_all_logits(student, teacher, one, other):
    np.testing.assert_allclose(
        double(kl, student + one, teacher + other), double(kl, student, teacher), atol=1e-10
    )


def test_mse_sees_a_shift_of_all_logits():
    teacher = normal(0, K)
    np.testing.assert_allclose(double(mse, teacher + 2, teacher), 4, rtol=1e-12)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (2, 1), elements=st.floats(-1e4, 1e4, width=32)))
def test_a_single_logit_teaches_nothing_under_kl(pair):
    student, teacher = pair
    value, gradient = jax.value_and_grad(kl)(student, teacher)
    assert float(value) == 0
    assert float(gradient[0]) == 0


def test_a_single_logit_teaches_under_mse():
    gradient = jax.grad(mse)(np.float32([1.5]), np.float32([1.0]))
    np.testing.assert_allclose(gradient, [1.0])


@each_loss
@pytest.mark.parametrize("k", [2, 13])
def test_derivatives_agree_with_finite_differences(loss, k):
    with jax.enable_x64(True):
        check_grads(jax.jit(loss), (normal(0, k), normal(1, k)), order=2, atol=1e-6, rtol=1e-6)


def test_the_gradient_of_cross_entropy_is_probability_minus_label():
    student = normal(0, K)
    expected = special.softmax(student) - np.eye(K)[2]
    np.testing.assert_allclose(double(jax.grad(cross_entropy), student, 2), expected, atol=1e-14)


def test_the_gradient_of_kl_is_the_difference_of_the_probabilities():
    student, teacher = normal(0, K), normal(1, K)
    expected = special.softmax(student) - special.softmax(teacher)
    np.testing.assert_allclose(double(jax.grad(kl), student, teacher), expected, atol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_hessian_of_kl_at_equality_is_the_covariance_of_the_softmax(k):
    teacher = normal(0, k)
    p = special.softmax(teacher)
    np.testing.assert_allclose(
        double(jax.hessian(kl), teacher, teacher), np.diag(p) - np.outer(p, p), atol=1e-14
    )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_hessian_of_mse_is_two_over_k(k):
    student, teacher = normal(0, k), normal(1, k)
    np.testing.assert_allclose(
        double(jax.hessian(mse), student, teacher), 2 / k * np.eye(k), atol=1e-14
    )


@each_loss
def test_losses_are_per_example(loss):
    student, teacher = normal(0, 2, 3, K), normal(1, 2, 3, K)
    values = double(loss, student, teacher)
    assert values.shape == (2, 3)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(values[index], double(loss, student[index], teacher[index]))


@each_loss
def test_large_logits_stay_finite_in_float32(loss):
    student, teacher = np.float32([1e4, -1e4, 0]), np.float32([-1e4, 1e4, 0])
    value, gradient = jax.value_and_grad(loss)(student, teacher)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
