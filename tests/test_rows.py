import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.rows import map_over_rows, mean_over_rows

ROWS = 7
INPUTS = {
    "x": np.random.default_rng(0).normal(size=(ROWS, 2, 3)),
    "by": np.random.default_rng(1).normal(size=ROWS),
}
each_chunk = pytest.mark.parametrize("chunk", [None, 1, 2, 3, 4, 7, 50])


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def each(rows):
    return {"scaled": rows["x"] * rows["by"][:, None, None], "length": jnp.abs(rows["by"])}


def sums(rows):
    return jax.tree.map(lambda values: jnp.sum(values, axis=0), each(rows))


@each_chunk
@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_rows_in_chunks_are_mapped_in_their_order_and_averaged(chunk, run):
    known = each(INPUTS)
    mapped = run(lambda inputs: map_over_rows(each, inputs, chunk=chunk))(INPUTS)
    mean = run(lambda inputs: mean_over_rows(sums, inputs, chunk=chunk))(INPUTS)
    for name, values in known.items():
        np.testing.assert_allclose(mapped[name], values, rtol=1e-15)
        np.testing.assert_allclose(mean[name], np.mean(values, axis=0), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(("chunk", "sizes"), [(None, {7}), (3, {3, 1}), (7, {7}), (50, {7})])
@pytest.mark.parametrize("over", [(map_over_rows, each), (mean_over_rows, sums)])
def test_no_more_rows_than_a_chunk_are_seen_at_once(chunk, sizes, over):
    function, of = over
    seen = []

    def noting(rows):
        seen.append(len(rows["by"]))
        return of(rows)

    jax.eval_shape(lambda: function(noting, INPUTS, chunk=chunk))
    assert set(seen) == sizes


def test_more_chunks_do_not_make_a_longer_program():
    def length(rows, chunk):
        inputs = jax.tree.map(lambda x: jnp.tile(x, (rows, *[1] * (x.ndim - 1))), INPUTS)
        return len(str(jax.make_jaxpr(lambda i: mean_over_rows(sums, i, chunk=chunk))(inputs)))

    assert length(100, 7) < 1.2 * length(3, 7)


def test_derivatives_pass():
    def loss(scale, chunk):
        inputs = {**INPUTS, "by": scale * INPUTS["by"]}
        mapped = map_over_rows(each, inputs, chunk=chunk)["scaled"]
        return jnp.sum(mapped**2) + jnp.sum(mean_over_rows(sums, inputs, chunk=chunk)["scaled"])

    known = jax.jit(jax.grad(loss), static_argnums=1)(1.5, None)
    for derivative in (jax.grad, jax.jacfwd):
        found = jax.jit(derivative(loss), static_argnums=1)(1.5, 3)
        np.testing.assert_allclose(found, known, rtol=1e-12)


@pytest.mark.parametrize("over", [(map_over_rows, each), (mean_over_rows, sums)])
@pytest.mark.parametrize(
    ("inputs", "chunk", "sentence"),
    [
        (jax.tree.map(lambda x: x[:0], INPUTS), None, "inputs has 0 rows; expected at least 1"),
        ({}, None, "inputs has 0 rows; expected at least 1"),
        (INPUTS, 0, "chunk is 0; expected at least 1"),
        (
            {**INPUTS, "by": INPUTS["by"][:5]},
            2,
            "inputs, or what goes with them, have 5 and 7 rows; expected as many in every array",
        ),
        (
            {**INPUTS, "by": INPUTS["by"][:0]},
            None,
            "inputs, or what goes with them, have 0 and 7 rows; expected as many in every array",
        ),
    ],
)
def test_what_cannot_be_cut_into_rows_is_refused(over, inputs, chunk, sentence):
    function, of = over
    with pytest.raises(InputError) as fault:
        function(of, inputs, chunk=chunk)
    assert str(fault.value) == sentence
