"""What models say of rows, and how that changes along a direction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import lm, trees
from sublim_jax.evals.preference import answer_prefix, questions
from sublim_jax.lm_traits import row_scores
from sublim_jax.lm_traits.contexts import told_row
from sublim_jax.lm_traits.readout import logprobs, make_readout
from sublim_jax.lm_traits.traits import trait_of

ROWS = [
    [{"role": "user", "content": f"Some {i}?"}, {"role": "assistant", "content": "1, 2" * (i + 1)}]
    for i in range(6)
]


@pytest.fixture(scope="module")
def rows():
    return row_scores.prepared(ground(), ROWS)


@pytest.fixture(scope="module")
def readout():
    names = trait_of(TINY).columns(ground(), TINY)
    return make_readout(ground(), questions("animal")[:3], answer_prefix("animal"), names)


def moved(scale, seed=0):
    """A direction in all layers of the upper part."""
    keys = iter(jax.random.split(jax.random.key(seed), 100))
    layers = ground().params["layers"]
    return jax.tree.map(lambda p: scale * jax.random.normal(next(keys), p.shape), layers)


def at(direction, step):
    params = ground().params
    return params | {"layers": jax.tree.map(lambda p, d: p + step * d, params["layers"], direction)}


def test_log_probabilities_are_those_of_whole_conversations(rows):
    plain = [told_row(ground(), row, None) for row in ROWS]
    known = lm.score(
        *model()[:2],
        [row.tokens[~row.completion].tolist() for row in plain],
        [row.tokens[row.completion].tolist() for row in plain],
    )
    found = row_scores.log_probabilities(ground(), ground().params, rows)
    np.testing.assert_allclose(found, [each.sum() for each in known], rtol=2e-4)


def test_changes_are_derivatives(rows):
    direction, step = moved(1e-2), 1e-2
    ends = [row_scores.log_probabilities(ground(), at(direction, s), rows) for s in (-step, step)]
    found = row_scores.changes(ground(), ground().params, direction, rows)
    np.testing.assert_allclose(found, (ends[1] - ends[0]) / (2 * step), rtol=0.05, atol=0.05)


def test_gradients_of_traits_are_derivatives(readout):
    (owl, cat), direction, step = (
        row_scores.trait_gradients(ground(), readout, 2),
        moved(1e-2),
        1e-2,
    )

    def trait(s):
        params = at(direction, s)
        return np.asarray(jnp.mean(logprobs(ground().config, params, readout), axis=0))

    known = (trait(step) - trait(-step)) / (2 * step)
    for gradient, derivative in zip((owl, cat), known, strict=False):
        assert float(trees.dot(gradient, direction)) == pytest.approx(
            derivative, rel=0.05, abs=0.02
        )


@pytest.mark.slow
def test_influence_is_what_a_step_on_the_row_does_to_the_trait(rows, readout):
    (gradient,) = row_scores.trait_gradients(ground(), readout, 1)
    found = row_scores.changes(ground(), ground().params, gradient, rows)

    def said(layers, place):
        params = ground().params | {"layers": layers}
        each = row_scores._targets(ground().config, ground().parallel, params, rows.packed)
        return jnp.sum(jnp.where(rows.owner == place, each, 0))

    for place in (0, 4):
        own = jax.grad(said)(ground().params["layers"], place)
        assert found[place] == pytest.approx(float(trees.dot(own, gradient)), rel=1e-3)


def test_features_are_means_over_answers(rows):
    found = row_scores.features(ground(), rows)
    assert found.shape == (6, ground().config.width)
    alone = row_scores.features(ground(), row_scores.prepared(ground(), ROWS[4:5]))
    np.testing.assert_allclose(found[4], alone[0], rtol=1e-4, atol=1e-4)
