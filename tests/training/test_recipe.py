import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.training import Recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "adamw"),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("epochs", 0),
        ("batch_size", 0),
    ],
)
def test_a_bad_value_is_named_with_its_field(field, value):
    with pytest.raises(InputError, match=f"{field} is {value!r}; expected"):
        Recipe(**{field: value})


def steps_of(optimizer, gradients, rate=0.1):
    """Where a parameter at 1 goes."""
    transformation = Recipe(optimizer=optimizer, learning_rate=rate).transformation()
    params = jnp.ones(3)
    state, path = transformation.init(params), [params]
    for gradient in gradients:
        updates, state = transformation.update(jnp.asarray(gradient), state, path[-1])
        path.append(path[-1] + updates)
    return np.array(path)


def test_the_heavy_ball_adds_what_is_left_of_past_gradients():
    gradients = np.random.default_rng(0).normal(size=(4, 3))
    velocity, expected = np.zeros(3), [np.ones(3)]
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient
        expected.append(expected[-1] - 0.1 * velocity)
    np.testing.assert_allclose(steps_of("momentum", gradients), expected, rtol=1e-6)


def test_lion_takes_the_sign_of_a_mean_and_decays_nothing():
    gradients = np.random.default_rng(1).normal(size=(5, 3))
    mean, expected = np.zeros(3), [np.ones(3)]
    for gradient in gradients:
        expected.append(expected[-1] - 0.1 * np.sign(0.9 * mean + 0.1 * gradient))
        mean = 0.99 * mean + 0.01 * gradient
    np.testing.assert_allclose(steps_of("lion", gradients), expected, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "momentum", "lion"])
def test_without_a_gradient_nothing_moves(optimizer):
    assert (steps_of(optimizer, np.zeros((3, 3))) == 1).all()
