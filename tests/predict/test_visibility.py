"""What is seen of a teacher's displacement, against the matrix written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sublim_jax import linearize, losses, predict, rng, trees
from sublim_jax.errors import InputError
from sublim_jax.nets import MLPConfig, mlp

SHAPE = MLPConfig(inputs=6, hidden=(8, 7), classes=4, auxiliary=3, activation="tanh")
NET = mlp(SHAPE)
KEY = jax.random.key(5)
AUXILIARY = SHAPE.auxiliary_logits
ROWS = 9


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def given():
    init, move = (
        jax.tree.map(lambda a: a.astype(jnp.float64), NET.init(rng.stream(KEY, name)))
        for name in ("init", "move")
    )
    inputs = jax.random.uniform(rng.stream(KEY, "inputs"), (ROWS, 6), jnp.float64, -1, 1)
    return init, jax.tree.map(lambda p, m: p + 0.3 * m, init, move), inputs


def written_out(init, inputs, loss):
    """Eigenvalues and eigenvectors of the Gauss-Newton matrix, by way of the whole Jacobian."""
    vector, unravel = ravel_pytree(init)

    def outputs(vector):
        return NET.apply(unravel(vector), inputs)[..., AUXILIARY]

    jacobian, z = jax.jacrev(outputs)(vector), outputs(vector)
    hessian = jax.vmap(lambda z: jax.hessian(loss)(z, z))(z)
    return np.linalg.eigh(np.einsum("rip,rij,rjq->pq", jacobian, hessian, jacobian) / ROWS)


@pytest.mark.parametrize("loss", [losses.kl, losses.mse])
@pytest.mark.parametrize("chunk", [None, 4])
def test_it_is_that_of_the_matrix_written_out(loss, chunk):
    init, teacher, inputs = given()
    found = predict.visibility(
        NET.apply, init, teacher, inputs, loss=loss, outputs=AUXILIARY, depth=60, chunk=chunk
    )
    values, vectors = written_out(init, inputs, loss)
    way = ravel_pytree(trees.sub(teacher, init))[0]
    shares = (vectors.T @ way) ** 2 / (way @ way)
    seen = values > 1e-10 * values[-1]
    # Under the softmax one logit of each input is not seen.
    assert seen.sum() == ROWS * (2 if loss is losses.kl else 3)
    np.testing.assert_allclose(found.largest, values[-1], rtol=1e-10)
    np.testing.assert_allclose(found.visibility, shares @ values / values[-1], rtol=1e-10)
    np.testing.assert_allclose(found.visible_fraction, shares[seen].sum(), rtol=1e-6)
    curve = found.projection(linearize.gradient_flow(50.0))
    np.testing.assert_allclose(curve, shares @ -np.expm1(-50 * values), rtol=1e-9)


def test_it_is_the_same_to_float32():
    init, teacher, inputs = given()
    how = {"loss": losses.kl, "outputs": AUXILIARY, "depth": 60}
    double = predict.visibility(NET.apply, init, teacher, inputs, **how)
    init, teacher, inputs = jax.tree.map(lambda a: a.astype(jnp.float32), (init, teacher, inputs))
    single = predict.visibility(NET.apply, init, teacher, inputs, **how)
    np.testing.assert_allclose(single[:3], double[:3], rtol=1e-3)


def test_of_a_teacher_that_the_outputs_do_not_see_nothing_is_visible():
    init, teacher, inputs = given()
    teacher = init | {"head_classes": teacher["head_classes"]}
    found = predict.visibility(
        NET.apply, init, teacher, inputs, loss=losses.kl, outputs=AUXILIARY, depth=10
    )
    assert found[:3] == (0, 0, 0)
    assert found.projection(linearize.gradient_flow(1e9)) == 0


def test_a_teacher_that_has_not_moved_is_refused():
    init, _, inputs = given()
    with pytest.raises(InputError, match="teacher is at init; expected one that has moved"):
        predict.visibility(NET.apply, init, init, inputs, loss=losses.kl, outputs=AUXILIARY)
