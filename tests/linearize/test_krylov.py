import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sublim_jax import linearize, trees
from sublim_jax.errors import InputError
from sublim_jax.linearize import krylov
from sublim_jax.losses import mse
from sublim_jax.nets.mlp import MLPConfig, mlp
from sublim_jax.training import Recipe, epoch_order, make_fit

SIZE = 20
SHARES = {
    "gradient flow": linearize.gradient_flow(3.0),
    "gradient descent": linearize.gradient_descent(0.4, 25),
    "momentum": linearize.momentum(0.2, 25, 0.9),
    "ridge": linearize.ridge(0.1),
    "neither": np.sin,
}
each_share = pytest.mark.parametrize("share", SHARES.values(), ids=SHARES.keys())


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def symmetric(eigenvalues, seed=0):
    """A matrix of these eigenvalues and its eigenvectors."""
    random = np.random.default_rng(seed)
    vectors = np.linalg.qr(random.normal(size=(len(eigenvalues), len(eigenvalues))))[0]
    matrix = vectors @ np.diag(eigenvalues) @ vectors.T
    return (matrix + matrix.T) / 2, vectors


EIGENVALUES = np.logspace(-3, 0.3, SIZE)
MATRIX, VECTORS = symmetric(EIGENVALUES)
VECTOR, DIRECTION = np.random.default_rng(1).normal(size=(2, SIZE))


def as_tree(vector):
    return {"a": vector[:6].reshape(2, 3), "b": vector[6:]}


def as_vector(tree):
    return jnp.concatenate([tree["a"].reshape(*tree["a"].shape[:-2], -1), tree["b"]], axis=-1)


def product(tree, matrix):
    return as_tree(matrix @ as_vector(tree))


def reduced(depth=SIZE, *, matrix=MATRIX, vector=VECTOR):
    return linearize.lanczos(product, as_tree(vector), matrix, depth=depth)


@functools.cache
def whole():
    return reduced()


def exact(share, vector=VECTOR, *, eigenvalues=EIGENVALUES, vectors=VECTORS):
    return vectors @ (share(eigenvalues) * (vectors.T @ vector))


@pytest.mark.parametrize("depth", [1, 2, 9, SIZE])
def test_the_basis_is_orthonormal_and_makes_the_matrix_tridiagonal(depth):
    found = reduced(depth)
    basis = np.asarray(as_vector(found.basis))
    assert basis.shape == (depth, SIZE)
    np.testing.assert_allclose(basis @ basis.T, np.eye(depth), atol=1e-14)
    np.testing.assert_allclose(basis[0] * found.length, VECTOR, rtol=1e-13)
    small = basis @ MATRIX @ basis.T
    made = found.eigenvectors @ np.diag(found.eigenvalues) @ found.eigenvectors.T
    np.testing.assert_allclose(small, made, atol=1e-13)
    np.testing.assert_allclose(np.triu(small, 2), 0, atol=1e-13)
    assert (np.diff(found.eigenvalues) > 0).all()


@pytest.mark.parametrize("depth", [1, 4, SIZE])
def test_the_weights_add_up_to_one(depth):
    weights = reduced(depth).weights
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-13)


@each_share
def test_a_function_of_the_matrix_is_that_of_its_eigenvalues(share):
    known, found = exact(share), whole()
    np.testing.assert_allclose(as_vector(found.apply(share)), known, rtol=1e-9, atol=1e-12)
    assert found.expectation(share) == pytest.approx(VECTOR @ known / (VECTOR @ VECTOR), rel=1e-10)
    along = found.along(as_tree(DIRECTION)) @ found.coordinates(share)
    assert along == pytest.approx(DIRECTION @ known, rel=1e-9)


def test_polynomials_are_exact_from_half_their_degree_on():
    found = reduced(5)

    def power(degree):
        return lambda eigenvalues: eigenvalues**degree

    np.testing.assert_allclose(as_vector(found.apply(power(4))), exact(power(4)), rtol=1e-11)
    assert not np.allclose(as_vector(found.apply(power(5))), exact(power(5)), rtol=1e-4)
    scale = VECTOR @ VECTOR
    for degree, precise in ((9, True), (10, False)):
        known = VECTOR @ exact(power(degree)) / scale
        assert (abs(found.expectation(power(degree)) / known - 1) < 1e-11) == precise


def test_matrices_may_have_eigenvalues_below_zero():
    eigenvalues = np.linspace(-2, 1, SIZE)
    matrix, vectors = symmetric(eigenvalues)
    found = reduced(matrix=matrix)
    known = exact(np.sin, eigenvalues=eigenvalues, vectors=vectors)
    np.testing.assert_allclose(as_vector(found.apply(np.sin)), known, rtol=1e-10, atol=1e-12)


def test_gradient_flow_is_the_matrix_exponential():
    known = VECTOR - scipy.linalg.expm(-3.0 * MATRIX) @ VECTOR
    found = as_vector(whole().apply(linearize.gradient_flow(3.0)))
    np.testing.assert_allclose(found, known, rtol=1e-10, atol=1e-13)


def test_gradient_flow_keeps_its_digits_at_small_times():
    slow = whole().expectation(linearize.gradient_flow(1e-12))
    assert slow == pytest.approx(1e-12 * VECTOR @ MATRIX @ VECTOR / (VECTOR @ VECTOR), rel=1e-9)


def test_ridge_is_the_solution_of_the_penalised_problem():
    known = np.linalg.solve(MATRIX + 0.1 * np.eye(SIZE), MATRIX @ VECTOR)
    found = as_vector(whole().apply(linearize.ridge(0.1)))
    np.testing.assert_allclose(found, known, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("optimizer", "share"),
    [
        (optax.sgd(0.4), linearize.gradient_descent(0.4, 25)),
        (optax.sgd(0.2, momentum=0.9), linearize.momentum(0.2, 25, 0.9)),
        (optax.sgd(0.2, momentum=0.0), linearize.gradient_descent(0.2, 25)),
    ],
)
def test_optimizers_that_are_run_copy_the_share_that_is_said(optimizer, share):
    @jax.jit
    def run(start):
        def step(carry, _):
            at, state = carry
            updates, state = optimizer.update(MATRIX @ (at - VECTOR), state)
            return (optax.apply_updates(at, updates), state), None

        return jax.lax.scan(step, (start, optimizer.init(start)), None, 25)[0][0]

    found = as_vector(whole().apply(share))
    np.testing.assert_allclose(found, run(jnp.zeros(SIZE)), rtol=1e-9, atol=1e-12)


def test_momentum_without_decay_is_gradient_descent_and_with_it_overshoots():
    plain, ball = linearize.momentum(0.5, 7, 0.0), linearize.momentum(1.0, 1_000, 0.9)
    eigenvalues = np.linspace(0, 3, 40)
    descent = linearize.gradient_descent(0.5, 7)(eigenvalues)
    np.testing.assert_allclose(plain(eigenvalues), descent, rtol=1e-12, atol=1e-12)
    stable = np.linspace(0.05, 3.7, 40)
    np.testing.assert_allclose(ball(stable), 1, rtol=1e-6)
    on_the_way = np.array([linearize.momentum(1.0, k, 0.9)(stable) for k in range(1, 30)])
    assert on_the_way.max() > 1.5
    assert on_the_way.min() < 0


def test_nothing_is_copied_at_the_start():
    for share in (
        linearize.gradient_flow(0.0),
        linearize.gradient_descent(0.3, 0),
        linearize.momentum(0.3, 0, 0.9),
    ):
        np.testing.assert_array_equal(share(EIGENVALUES), 0)


@pytest.mark.parametrize("precision", [64, 32])
@pytest.mark.parametrize("depth", [6, 7, 12, SIZE])
def test_a_depth_beyond_the_rank_changes_nothing(depth, precision):
    eigenvalues = np.concatenate([np.zeros(SIZE - 5), np.linspace(0.5, 2, 5)])
    matrix, vectors = symmetric(eigenvalues)
    share, tolerance = SHARES["gradient flow"], 1e-12 if precision == 64 else 2e-6
    known = exact(share, eigenvalues=eigenvalues, vectors=vectors)
    found = reduced(
        depth,
        matrix=matrix.astype(f"float{precision}"),
        vector=VECTOR.astype(f"float{precision}"),
    )
    error = np.linalg.norm(as_vector(found.apply(share)) - known) / np.linalg.norm(known)
    assert error < tolerance
    assert found.expectation(share) == pytest.approx(
        VECTOR @ known / (VECTOR @ VECTOR), rel=tolerance
    )
    basis = np.asarray(as_vector(found.basis))
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=tolerance)
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("diagonal", "vector", "dimensions"),
    [
        (np.zeros(SIZE), np.ones(SIZE), 1),
        (np.ones(SIZE), np.ones(SIZE), 1),
        (np.arange(SIZE) * 1.0, np.eye(SIZE)[3], 1),
        (np.arange(SIZE) * 1.0, np.eye(SIZE)[3] + np.eye(SIZE)[8], 2),
        (np.arange(SIZE) % 3 * 1.0, np.ones(SIZE), 3),
    ],
    ids=["zero", "identity", "eigenvector", "two eigenvectors", "three eigenvalues"],
)
def test_an_exhausted_space_ends_the_reduction(diagonal, vector, dimensions):
    found = reduced(9, matrix=np.diag(diagonal), vector=vector)
    assert len(found.eigenvalues) == len(as_vector(found.basis)) == dimensions
    share = linearize.gradient_flow(0.7)
    known = -np.expm1(-0.7 * diagonal) * vector
    np.testing.assert_allclose(as_vector(found.apply(share)), known, rtol=1e-13, atol=1e-15)
    assert found.weights.sum() == pytest.approx(1, abs=1e-14)


SHAPE = MLPConfig(inputs=8, hidden=(16, 24), auxiliary=4, activation="tanh")
NET = mlp(SHAPE)
INPUTS = np.random.default_rng(2).uniform(-1, 1, size=(16, 8))


def drawn(seed, scale=1.0):
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: scale * random.normal(size=leaf.shape), shapes)


INIT, DISPLACEMENT = drawn(0, 0.3), drawn(1, 0.3)


def auxiliary(params, inputs):
    return NET.apply(params, inputs)[..., SHAPE.auxiliary_logits]


def gauss_newton(vector, init, inputs):
    return linearize.gauss_newton_product(auxiliary, init, vector, inputs, loss=mse)


def relative_error(one, other):
    return float(trees.norm(trees.sub(one, other)) / trees.norm(other))


def test_a_teacher_that_the_outputs_do_not_see_copies_nothing():
    hidden = jax.tree.map(np.zeros_like, DISPLACEMENT)
    hidden["head_classes"] = DISPLACEMENT["head_classes"]
    found = linearize.lanczos(gauss_newton, hidden, INIT, INPUTS, depth=10)
    assert found.expectation(linearize.gradient_flow(1e6)) == 0
    for leaf in jax.tree.leaves(found.apply(linearize.gradient_flow(1e6))):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.usefixtures("optimised")
def test_a_basis_in_float32_is_enough():
    wide = linearize.lanczos(gauss_newton, DISPLACEMENT, INIT, INPUTS, depth=20)
    largest = wide.eigenvalues[-1]
    narrow = [
        jax.tree.map(lambda x: x.astype(np.float32), tree) for tree in (DISPLACEMENT, INIT, INPUTS)
    ]
    found = linearize.lanczos(gauss_newton, *narrow, depth=20)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.basis)} == {np.dtype(np.float32)}
    for time, tolerance in ((10, 1e-5), (100, 3e-5), (1_000, 2e-4)):
        share = linearize.gradient_flow(time / largest)
        assert found.expectation(share) == pytest.approx(wide.expectation(share), rel=1e-5)
        assert relative_error(found.apply(share), wide.apply(share)) < tolerance
    basis = np.concatenate([b.reshape(20, -1) for b in jax.tree.leaves(found.basis)], axis=1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(20), atol=1e-6)


def test_half_precision_is_widened():
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), DISPLACEMENT)
    found = linearize.lanczos(gauss_newton, narrow, narrow, INPUTS.astype(np.float32), depth=3)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.basis)} == {np.dtype(np.float32)}
    assert found.eigenvalues.dtype == np.float64


@pytest.mark.parametrize("axis", [0, 1])
def test_a_sharded_vector_has_a_basis_that_lies_like_it_and_is_not_gathered(axis):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def sharding(leaf, stacked=()):
        spec = ["x" if leaf.ndim == 2 and at == axis else None for at in range(leaf.ndim)]
        return NamedSharding(mesh, PartitionSpec(*stacked, *spec))

    spread, init = jax.device_put(
        (DISPLACEMENT, INIT), jax.tree.map(sharding, (DISPLACEMENT, INIT))
    )
    # As many as no array of the network has entries along an axis, to tell activations apart.
    inputs = np.random.default_rng(2).uniform(-1, 1, size=(18, 8))
    found = linearize.lanczos(gauss_newton, spread, init, inputs, depth=7)
    known = linearize.lanczos(gauss_newton, DISPLACEMENT, INIT, inputs, depth=7)
    np.testing.assert_allclose(found.eigenvalues, known.eigenvalues, rtol=1e-12, atol=1e-14)
    share = linearize.gradient_flow(5.0)
    assert relative_error(found.apply(share), known.apply(share)) < 1e-12
    np.testing.assert_allclose(found.along(init), known.along(INIT), rtol=1e-9, atol=1e-10)
    for basis, applied, leaf in zip(
        *map(jax.tree.leaves, (found.basis, found.apply(share), spread)), strict=True
    ):
        assert basis.sharding.is_equivalent_to(sharding(leaf, [None]), basis.ndim)
        assert applied.sharding.is_equivalent_to(leaf.sharding, leaf.ndim)

    def reduce(vector, *given):
        place = krylov._placing(spread)
        return krylov._tridiagonal(lambda v: gauss_newton(v, *given), vector, 7, place).diagonal

    program = jax.jit(reduce).lower(spread, init, inputs).compile().as_text()
    # Activations of 18 rows are, and biases, which every device has.
    gathered = re.findall(r"\w+\[([\d,]*)\]\S* all-gather\(", program)
    kernels = [leaf.shape for leaf in jax.tree.leaves(INIT) if leaf.ndim == 2]
    sizes = {int(np.prod(shape)) * times for shape in kernels for times in (1, 7)}
    assert not sizes & {int(np.prod([int(n) for n in size.split(",")])) for size in gathered}


def test_what_a_product_needs_is_no_constant_of_the_program():
    """One program serves all: the product is traced once and sees no numbers."""
    seen = []

    def noting(tree, matrix):
        seen.append(isinstance(matrix, jax.core.Tracer))
        return product(tree, matrix)

    linearize.lanczos(noting, as_tree(VECTOR), MATRIX, depth=5)
    assert seen
    assert all(seen)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("teacher", ["linear", "true"])
def test_the_linearised_student_that_is_trained_ends_where_it_is_foretold(optimizer, teacher):
    linear = linearize.linearized(auxiliary, INIT)
    there = jax.tree.map(jnp.add, INIT, DISPLACEMENT)
    targets = (linear if teacher == "linear" else auxiliary)(there, INPUTS)
    steps, rate = 40, 0.125
    fit = make_fit(
        lambda params, batch: mse(linear(params, batch[0]), batch[1]),
        Recipe(optimizer=optimizer, learning_rate=rate, epochs=steps, batch_size=len(INPUTS)),
    )
    # A power of two of rows: the engine divides by their number in float32.
    trained = fit(INIT, (INPUTS, targets), key=jax.random.key(0)).params
    share = (
        linearize.gradient_descent(rate, steps)
        if optimizer == "sgd"
        else linearize.momentum(rate, steps, 0.9)
    )
    if teacher == "linear":
        start, function = DISPLACEMENT, share
    else:
        # The teacher's parameters are not needed: phi(G) G^-1 on the first step.
        residuals = 2 / 4 * (targets - auxiliary(INIT, INPUTS))
        start = linearize.transposed_product(auxiliary, INIT, residuals, INPUTS)

        def function(eigenvalues):
            return share(eigenvalues) / eigenvalues

    found = linearize.lanczos(gauss_newton, start, INIT, INPUTS, depth=64)
    assert relative_error(found.apply(function), trees.sub(trained, INIT)) < 1e-9


def test_with_batches_the_rest_of_the_way_shrinks_by_the_matrix_of_each():
    linear = linearize.linearized(auxiliary, INIT)
    inputs = INPUTS[:12]
    targets = linear(jax.tree.map(jnp.add, INIT, DISPLACEMENT), inputs)
    key, rate, epochs, batch = jax.random.key(4), 0.25, 3, 8
    fit = make_fit(
        lambda params, rows: mse(linear(params, rows[0]), rows[1]),
        Recipe(optimizer="sgd", learning_rate=rate, epochs=epochs, batch_size=batch),
    )
    trained = fit(INIT, (inputs, targets), key=key).params
    left = DISPLACEMENT
    image = jax.jit(gauss_newton)
    for places in epoch_order(key, rows=len(inputs), epochs=epochs, batch_size=batch):
        pull = image(left, INIT, inputs[places[places >= 0]])
        left = jax.tree.map(lambda e, g: e - rate * g, left, pull)
    assert relative_error(trees.sub(trained, INIT), trees.sub(DISPLACEMENT, left)) < 1e-10


@pytest.mark.parametrize("depth", [0, -3, SIZE + 1])
def test_depths_that_cannot_be_are_refused(depth):
    with pytest.raises(InputError, match=rf"^depth is {depth}; expected at least 1 and at most 20"):
        reduced(depth)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_vectors_without_a_direction_are_refused(value):
    with pytest.raises(InputError, match=rf"^vector has length {value}; expected one that is "):
        reduced(3, vector=np.full(SIZE, value))


def test_products_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match=r"^product 1 is not finite; expected finite numbers$"):
        reduced(3, matrix=np.full((SIZE, SIZE), np.nan))


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.nan])
def test_penalties_that_are_not_positive_are_refused(penalty):
    with pytest.raises(InputError, match=rf"^penalty is {penalty}; expected a positive number$"):
        linearize.ridge(penalty)
