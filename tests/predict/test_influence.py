import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.linearize import transposed_product
from sublim_jax.losses import cross_entropy, kl, mse
from sublim_jax.nets.mlp import MLPConfig, mlp
from sublim_jax.predict import influence_scores

CONFIG = MLPConfig(inputs=6, hidden=(7, 5), classes=4, auxiliary=3, activation="tanh")
NET = mlp(CONFIG)
AUXILIARY, ROWS = CONFIG.auxiliary_logits, 11
LOSSES = {"kl": kl, "mse": mse, "labels": cross_entropy}
each_loss = pytest.mark.parametrize("name", LOSSES)


def draw(seed, scale=0.5):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: scale * rng.normal(size=leaf.shape), shapes)


INIT, TEACHER, TRAIT = draw(0), draw(1), draw(2)
INPUTS = np.random.default_rng(3).normal(size=(ROWS, CONFIG.inputs))


def targets_for(name, inputs=INPUTS):
    logits = NET.apply(TEACHER, inputs)[..., AUXILIARY]
    return jnp.argmax(logits, axis=-1) if name == "labels" else logits


def scores(name, *, targets=None, inputs=INPUTS, **how):
    wanted = targets_for(name, inputs) if targets is None else targets
    return influence_scores(
        NET.apply, INIT, TRAIT, inputs, wanted, loss=LOSSES[name], outputs=AUXILIARY, **how
    )


@each_loss
def test_scores_are_products_with_the_gradients_of_single_rows(name):
    def row_loss(params, row, target):
        return LOSSES[name](NET.apply(params, row)[AUXILIARY], target)

    with jax.enable_x64(True):
        gradients = jax.vmap(jax.grad(row_loss), (None, 0, 0))(INIT, INPUTS, targets_for(name))
        expected = -jax.vmap(trees.dot, (0, None))(gradients, TRAIT)
        found = jax.jit(lambda: scores(name))()
        assert found.shape == (ROWS,)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@each_loss
def test_their_mean_is_the_change_of_the_trait_by_a_small_step(name):
    def trait(params):
        return jnp.sum(jnp.sin(trees.dot(TRAIT, params)))

    def loss(params):
        return jnp.mean(LOSSES[name](NET.apply(params, INPUTS)[:, AUXILIARY], targets_for(name)))

    with jax.enable_x64(True):
        rate, slope = 1e-6, jax.grad(trait)(INIT)
        step = jax.grad(loss)(INIT)
        ahead, behind = (
            trait(jax.tree.map(lambda p, g, by=by: p + by * g, INIT, step)) for by in (-rate, rate)
        )
        found = influence_scores(
            NET.apply,
            INIT,
            slope,
            INPUTS,
            targets_for(name),
            loss=LOSSES[name],
            outputs=AUXILIARY,
        )
        np.testing.assert_allclose(jnp.mean(found), (ahead - behind) / (2 * rate), rtol=1e-6)


@each_loss
@pytest.mark.parametrize("chunk", [1, 4, ROWS, 100])
def test_chunks_change_nothing(name, chunk):
    with jax.enable_x64(True):
        np.testing.assert_allclose(scores(name, chunk=chunk), scores(name), rtol=1e-12)


@pytest.mark.usefixtures("optimised")
def test_a_student_that_agrees_has_no_scores():
    np.testing.assert_array_equal(
        scores("mse", targets=NET.apply(INIT, INPUTS)[..., AUXILIARY].astype(np.float32)), 0
    )


@each_loss
def test_a_row_of_several_positions_gets_the_mean_of_their_scores(name):
    sequences = np.random.default_rng(4).normal(size=(5, 3, CONFIG.inputs))
    with jax.enable_x64(True):
        found = scores(name, inputs=sequences)
        alone = scores(name, inputs=sequences.reshape(15, -1)).reshape(5, 3)
        np.testing.assert_allclose(found, alone.mean(axis=1), rtol=1e-12)
        # And so their mean is the product with the step on all of them.
        step = transposed_product(
            NET.apply,
            INIT,
            -jax.grad(lambda z: jnp.sum(LOSSES[name](z, targets_for(name, sequences))))(
                NET.apply(INIT, sequences)[..., AUXILIARY]
            ),
            sequences,
            outputs=AUXILIARY,
        )
        np.testing.assert_allclose(jnp.mean(found), trees.dot(TRAIT, step), rtol=1e-11)


def test_low_precision_is_widened():
    narrow = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.bfloat16))
    found = influence_scores(
        NET.apply,
        narrow(INIT),
        narrow(TRAIT),
        INPUTS,
        targets_for("mse"),
        loss=mse,
        outputs=AUXILIARY,
    )
    assert found.dtype == jnp.float32
    exact = influence_scores(
        NET.apply,
        trees.wide(narrow(INIT)),
        trees.wide(narrow(TRAIT)),
        INPUTS,
        targets_for("mse"),
        loss=mse,
        outputs=AUXILIARY,
    )
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": INPUTS[:0]}, "inputs has 0 rows"),
        ({"chunk": 0}, "chunk is 0; expected at least 1"),
        ({"targets": np.zeros((ROWS, 1))}, r"shape \(11, 1\); expected \(11, 3\), or \(11,\)"),
        ({"targets": np.zeros((1, 3))}, r"shape \(1, 3\)"),
        ({"targets": np.zeros((ROWS, 7))}, r"shape \(11, 7\)"),
    ],
)
def test_bad_inputs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        scores("mse", **change)
