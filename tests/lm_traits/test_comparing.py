"""Students with other thin matrices are compared in what they do, and in where they go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import CONFIG

from sublim_jax import lm
from sublim_jax.lm_traits.comparing import CHANGES, agreement, between, of_parameters
from sublim_jax.lm_traits.drifting import diluted

random = np.random.default_rng(0)


def part(**options):
    found = {
        "contexts": random.normal(size=(5, 4)),
        "logprobs": random.normal(size=(6, 3)),
        "stream": random.normal(size=(2, 7)),
    }
    return found | options


def parts(seeds=2, students=3):
    return [[part() for _ in range(students)] for _ in range(seeds)]


def test_cosines_are_those_of_what_has_changed():
    ones, others = parts(), parts(students=2)
    found = between(ones, others)
    a, b = ones[1][2], others[1][0]

    def cosine(x, y):
        return np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2))

    def beside(x):
        return x["logprobs"] - x["logprobs"].mean(1, keepdims=True)

    assert set(found) == set(CHANGES)
    assert found["pull_carrier"].shape == (2, 3, 2, 1)
    assert found["stream"].shape == (2, 3, 2, 2)
    assert found["pull_carrier"][1, 2, 0, 0] == pytest.approx(cosine(a["contexts"], b["contexts"]))
    assert found["pull_questions"][1, 2, 0, 0] == pytest.approx(cosine(beside(a), beside(b)))
    for layer in range(2):
        known = cosine(a["stream"][layer], b["stream"][layer])
        assert found["stream"][1, 2, 0, layer] == pytest.approx(known)


def test_those_that_do_the_same_agree_and_others_do_not():
    ones = parts()
    found = agreement(ones, [[dict(one) for one in row] for row in ones])
    for values in found["alike"].values():
        assert values.shape == (2, 3, 3)
        np.testing.assert_allclose(np.diagonal(values, axis1=1, axis2=2), 1)
        assert np.abs(values[:, ~np.eye(3, dtype=bool)]).max() < 0.95
    assert set(found) == {"alike"}  # of parameters nothing is known


def with_products(both, length=1.0):
    """Two students of two layers beside two teachers: equal products in all layers."""
    shape = (2, 2)
    return [
        [
            part(
                student=np.full(shape, length),
                teacher=np.ones(shape),
                student_teacher=np.array(row, float)[:, None] * np.ones(2) * np.sqrt(length),
                diluted=np.array(row, float)[:, None] * np.ones(2) * np.sqrt(length) / 10,
            )
            for row in both
        ]
    ]


def test_cosines_of_parameters_are_with_the_own_teacher():
    shared = with_products([[0.5, 0.1], [0.2, 0.4]], length=4.0)
    another = with_products([[0.06, 0.0], [0.0, 0.03]])
    found = agreement(shared, another)
    np.testing.assert_allclose(found["shared"], [[0.5, 0.4]])
    np.testing.assert_allclose(found["another"], [[0.06, 0.03]])
    np.testing.assert_allclose(found["expected"], [[0.05, 0.04]])
    every = of_parameters(shared)
    np.testing.assert_allclose(every["cosine"], [[[0.5, 0.1], [0.2, 0.4]]])
    np.testing.assert_allclose(every["projection"], [[[1, 0.2], [0.4, 0.8]]])
    assert np.isnan(of_parameters(parts())["cosine"]).all()


def test_another_matrix_a_leaves_rank_by_width_of_a_product():
    # One step down the gradient of B moves a matrix by A A^T times that of the whole matrix.
    inner, outer, rank = 96, 20, 4
    params = {"layers": {"up": {"kernel": jnp.zeros((1, inner, outer))}}}
    adapter = lm.LoRA(rank=rank)
    draws = jax.vmap(lambda key: adapter.start(CONFIG, params, key)["up"]["a"][0])(
        jax.random.split(jax.random.key(0), 4_000)
    )
    own, others = draws[0], draws[1:]
    teacher = own @ random.normal(size=(rank, outer))
    # As the theorem has it: a gradient that lies along the teacher's displacement, and noise.
    gradient = teacher + 0.1 * random.normal(size=(inner, outer))
    of_b = own.T @ gradient
    expected = diluted({"up": {"a": own[None], "b": of_b[None]}})["up"]
    product = jnp.sum(expected["a"][0] @ expected["b"][0] * teacher)
    assert product == pytest.approx(float(jnp.sum(own @ of_b * teacher)) * rank / inner, rel=1e-5)
    found = jax.vmap(lambda a: jnp.sum((a @ (a.T @ gradient)) * teacher))(others)
    error = float(jnp.std(found)) / np.sqrt(len(others))
    assert float(product) == pytest.approx(float(jnp.mean(found)), abs=5 * error, rel=0.15)
