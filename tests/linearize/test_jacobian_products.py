import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sublim_jax import drift, linearize, trees
from sublim_jax.drift.function_space import gauss_newton_products
from sublim_jax.errors import InputError
from sublim_jax.losses import IMITATION_LOSSES, kl, mse
from sublim_jax.nets.mlp import MLPConfig, mlp

CONFIG = MLPConfig(inputs=6, hidden=(8, 5), classes=4, auxiliary=3, activation="tanh")
NET = mlp(CONFIG)
AUXILIARY, ROWS = CONFIG.auxiliary_logits, 12
CHOICES = {"all": slice(None), "auxiliary": AUXILIARY, "scattered": np.array([0, 6, 2])}
each_choice = pytest.mark.parametrize("outputs", CHOICES.values(), ids=CHOICES.keys())
each_loss = pytest.mark.parametrize("loss", IMITATION_LOSSES.values(), ids=IMITATION_LOSSES.keys())


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def draw(seed, scale=1.0):
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: scale * random.normal(size=leaf.shape), shapes)


INIT, ONE, OTHER = draw(0, 0.5), draw(1), draw(2)
INPUTS, OTHERS = np.random.default_rng(3).normal(size=(2, ROWS, CONFIG.inputs))
WEIGHTS = np.random.default_rng(4).normal(size=(ROWS, 3))


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def assert_same(one, other, rtol=1e-12, atol=1e-14):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


@functools.cache
def jacobian(of_others=False):
    """Of all outputs in all parameters, `[rows, outputs, parameters]`."""
    inputs = OTHERS if of_others else INPUTS
    vector, unravel = ravel_pytree(INIT)
    return np.asarray(jax.jit(jax.jacrev(lambda p: NET.apply(unravel(p), inputs)))(vector))


def hessians(loss, logits):
    """The textbook Hessians, `[rows, outputs, outputs]`."""
    k = logits.shape[-1]
    if loss is mse:
        return np.broadcast_to(2 / k * np.eye(k), (len(logits), k, k))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return p[:, :, None] * np.eye(k) - p[:, :, None] * p[:, None, :]


def everything(inputs, chunk=None, *, init=INIT, apply=NET.apply, weights=WEIGHTS):
    """All three products, of the auxiliary logits."""
    how = {"outputs": AUXILIARY, "chunk": chunk}
    return (
        linearize.jacobian_product(apply, init, ONE, inputs, **how),
        linearize.transposed_product(apply, init, weights, inputs, **how),
        linearize.gauss_newton_product(apply, init, ONE, inputs, loss=kl, **how),
    )


compiled = jax.jit(everything, static_argnames=("chunk", "apply"))


@functools.cache
def expected():
    """The three products not compiled, all rows at once."""
    return jax.tree.map(np.asarray, everything(INPUTS))


@each_choice
def test_the_jacobian_is_the_one_that_autodiff_writes_out(outputs):
    chosen = jacobian()[:, outputs]
    weights = np.random.default_rng(5).normal(size=chosen.shape[:2])

    @jax.jit
    def both(weights):
        return (
            linearize.jacobian_product(NET.apply, INIT, ONE, INPUTS, outputs=outputs),
            linearize.transposed_product(NET.apply, INIT, weights, INPUTS, outputs=outputs),
        )

    forward, back = both(weights)
    np.testing.assert_allclose(forward, chosen @ flat(ONE), rtol=1e-12, atol=1e-13)
    written = np.einsum("ro,rop->p", weights, chosen) / ROWS
    np.testing.assert_allclose(flat(back), written, rtol=1e-12, atol=1e-14)


def test_the_two_products_are_adjoint():
    forward, back, _ = expected()
    np.testing.assert_allclose(np.sum(forward * WEIGHTS) / ROWS, trees.dot(back, ONE), rtol=1e-13)


def test_the_product_is_the_limit_of_central_differences():
    def at(step):
        return NET.apply(jax.tree.map(lambda p, d: p + step * d, INIT, ONE), INPUTS)[:, AUXILIARY]

    def error(step):
        return np.abs((at(step) - at(-step)) / (2 * step) - expected()[0]).max()

    assert error(1e-5) < 1e-8
    assert error(1e-3) == pytest.approx(100 * error(1e-4), rel=0.01)  # of second order


@each_loss
@each_choice
def test_the_gauss_newton_matrix_is_the_textbook_one_symmetric_and_never_negative(loss, outputs):
    _, unravel = ravel_pytree(INIT)

    @jax.jit
    @jax.vmap
    def column(unit):
        return ravel_pytree(
            linearize.gauss_newton_product(
                NET.apply, INIT, unravel(unit), INPUTS, loss=loss, outputs=outputs
            )
        )[0]

    matrix = np.asarray(column(np.eye(flat(INIT).size)))
    chosen = jacobian()[:, outputs]
    logits = np.asarray(NET.apply(INIT, INPUTS))[:, outputs]
    written = np.einsum("rop,roq,rqs->ps", chosen, hessians(loss, logits), chosen) / ROWS
    np.testing.assert_allclose(matrix, written, atol=1e-14)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues[0] > -1e-14
    # One for each row and logit, as long as there are no more logits than units before them; a
    # softmax does not see a shift of all logits.
    if logits.shape[1] < CONFIG.hidden[-1]:
        seen = ROWS * (logits.shape[1] - (loss is kl))
        assert np.sum(eigenvalues > 1e-10) == np.sum(eigenvalues > 1e-14) == seen


@each_loss
def test_its_quadratic_form_is_the_metric_of_drift(loss):
    how = {"loss": loss, "outputs": AUXILIARY}
    products = gauss_newton_products(NET.apply, INIT, ONE, OTHER, INPUTS, **how)
    image = linearize.gauss_newton_product(NET.apply, INIT, ONE, INPUTS, **how)
    np.testing.assert_allclose(trees.dot(ONE, image), products.student, rtol=1e-12)
    np.testing.assert_allclose(trees.dot(OTHER, image), products.student_teacher, rtol=1e-12)
    assert drift.cosine(products) < 1


@each_loss
def test_weights_of_minus_the_gradient_in_the_outputs_make_the_step_of_gradient_descent(loss):
    targets = NET.apply(OTHER, INPUTS)[:, AUXILIARY]

    def mean_loss(params):
        return jnp.mean(loss(NET.apply(params, INPUTS)[:, AUXILIARY], targets))

    residuals = -jax.grad(lambda z: jnp.sum(loss(z, targets)))(
        NET.apply(INIT, INPUTS)[:, AUXILIARY]
    )
    step = linearize.transposed_product(NET.apply, INIT, residuals, INPUTS, outputs=AUXILIARY)
    assert_same(step, jax.tree.map(jnp.negative, jax.grad(mean_loss)(INIT)))


@pytest.mark.parametrize("chunk", [None, 1, 5, 6, 12, 100])
def test_compiled_and_in_chunks_the_products_are_the_same(chunk):
    assert_same(compiled(INPUTS, chunk), expected())


def test_chunks_bound_what_the_network_sees_at_once():
    seen = []

    def apply(params, inputs):
        seen.append(len(inputs))
        return NET.apply(params, inputs)

    jax.eval_shape(lambda: everything(INPUTS, 5, apply=apply))
    assert set(seen) == {5, 2}


def test_positions_of_a_row_are_averaged_like_rows():
    forward, back, image = compiled(INPUTS.reshape(4, 3, -1), 3, weights=WEIGHTS.reshape(4, 3, -1))
    assert forward.shape == (4, 3, 3)
    assert_same((forward.reshape(ROWS, 3), back, image), expected())


def test_inputs_may_be_a_tree():
    def apply(params, inputs):
        return NET.apply(params, inputs["features"]) * inputs["scales"][:, None]

    inputs = {"features": INPUTS, "scales": np.ones(ROWS)}
    assert_same(compiled(inputs, 5, apply=apply), expected())


def test_a_network_that_loops_over_its_layers_is_run_once():
    def deep(params, inputs):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), inputs, params)[0]

    params, inputs = np.ones((3, 4, 4)), np.ones((5, 4))
    program = jax.jit(
        lambda p, v, x: linearize.gauss_newton_product(deep, p, v, x, loss=mse)
    ).lower(params, params, inputs)
    assert program.as_text().count("stablehlo.tanh") == 1


def test_the_network_is_asked_for_the_highest_matmul_precision():
    kernel = jax.jit(lambda x: linearize.tangent_kernel(NET.apply, INIT, x)).lower(INPUTS)
    for program in (compiled.lower(INPUTS, 5), kernel):
        lines = [line for line in program.as_text().splitlines() if "stablehlo.dot_gen" in line]
        assert lines
        assert all("precision = [HIGHEST, HIGHEST]" in line for line in lines)


def test_half_precision_is_widened():
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), INIT)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
    inputs = INPUTS.astype(np.float32)

    @jax.jit
    def each(init, params):
        return (
            *everything(inputs, init=init),
            linearize.tangent_kernel(NET.apply, init, inputs[:4], outputs=AUXILIARY),
            linearize.linearized(NET.apply, init)(params, inputs),
        )

    with jax.enable_x64(False):
        found, known = (each(init, trees.sub(wide, ONE)) for init in (narrow, wide))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
    assert_same(found, known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_sharded_parameters_give_the_same_and_are_not_gathered(axis):
    shape = MLPConfig(inputs=8, hidden=(16, 24), auxiliary=4, activation="tanh")
    net, random = mlp(shape), np.random.default_rng(0)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def sharding(leaf):
        spec = ["x" if leaf.ndim == 2 and at == axis else None for at in range(leaf.ndim)]
        return NamedSharding(mesh, PartitionSpec(*spec))

    def products(init, direction, weights, inputs):
        how = {"outputs": shape.auxiliary_logits, "chunk": 5}
        return (
            linearize.jacobian_product(net.apply, init, direction, inputs, **how),
            linearize.transposed_product(net.apply, init, weights, inputs, **how),
            linearize.gauss_newton_product(net.apply, init, direction, inputs, loss=kl, **how),
        )

    init = jax.tree.map(lambda p: p + random.normal(size=p.shape), net.init(jax.random.key(0)))
    rest = random.normal(size=(ROWS, 4)), random.normal(size=(ROWS, 8))
    places = jax.tree.map(sharding, init)
    spread = jax.device_put(init, places)
    lowered = jax.jit(products, out_shardings=(None, places, places)).lower(spread, spread, *rest)
    program = lowered.compile()
    found = program(spread, spread, *rest)
    assert_same(found, jax.jit(products)(init, init, *rest))
    assert same_places(found[1], spread)
    assert same_places(found[2], spread)
    # Activations of 5 or 2 rows are, and biases, which every device has.
    gathered = re.findall(r"\w+\[([\d,]*)\]\S* all-gather\(", program.as_text())
    assert {size.split(",")[0] for size in gathered if "," in size} <= {"5", "2"}


def same_places(one, other):
    return jax.tree.all(
        jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), one, other)
    )


@each_choice
def test_the_tangent_kernel_is_the_product_of_two_jacobians(outputs):
    kernel = jax.jit(
        lambda *sets: linearize.tangent_kernel(NET.apply, INIT, *sets, outputs=outputs)
    )
    between = kernel(INPUTS[:5], OTHERS[:3])
    ours, theirs = jacobian()[:5, outputs], jacobian(True)[:3, outputs]
    written = np.einsum("rop,sqp->rosq", ours, theirs)
    np.testing.assert_allclose(between, written, rtol=1e-11, atol=1e-12)
    turned = np.asarray(kernel(OTHERS[:3], INPUTS[:5]))
    np.testing.assert_allclose(turned.transpose(2, 3, 0, 1), between, rtol=1e-11, atol=1e-12)
    square = np.asarray(kernel(INPUTS[:5])).reshape(ours.shape[0] * ours.shape[1], -1)
    np.testing.assert_allclose(square, square.T, rtol=1e-12, atol=1e-13)
    assert np.linalg.eigvalsh(square)[0] > 0


def test_the_linear_model_is_the_network_to_first_order():
    linear = linearize.linearized(NET.apply, INIT)
    np.testing.assert_array_equal(linear(INIT, INPUTS), NET.apply(INIT, INPUTS))

    def there(step):
        return jax.tree.map(lambda p, d: p + step * d, INIT, ONE)

    written = NET.apply(INIT, INPUTS) + 0.7 * jacobian() @ flat(ONE)
    np.testing.assert_allclose(linear(there(0.7), INPUTS), written, rtol=1e-12, atol=1e-12)
    errors = [
        np.linalg.norm(linear(there(step), INPUTS) - NET.apply(there(step), INPUTS))
        for step in (1e-3, 1e-4)
    ]
    assert errors[0] == pytest.approx(100 * errors[1], rel=0.02)


def test_the_linear_model_has_the_jacobian_of_the_initialisation_everywhere():
    linear = linearize.linearized(NET.apply, INIT)
    here, far = (
        jax.vjp(lambda p: linear(p, INPUTS)[:, AUXILIARY], params)[1](WEIGHTS / ROWS)[0]
        for params in (INIT, OTHER)
    )
    assert_same(here, far)
    assert_same(here, expected()[1])


@pytest.mark.parametrize(
    "measure",
    [
        lambda inputs, chunk: linearize.jacobian_product(NET.apply, INIT, ONE, inputs, chunk=chunk),
        lambda inputs, chunk: linearize.transposed_product(
            NET.apply, INIT, np.ones((len(inputs), 7)), inputs, chunk=chunk
        ),
        lambda inputs, chunk: linearize.gauss_newton_product(
            NET.apply, INIT, ONE, inputs, loss=mse, chunk=chunk
        ),
    ],
    ids=["jacobian", "transposed", "gauss_newton"],
)
def test_no_rows_and_chunks_of_none_are_refused(measure):
    with pytest.raises(InputError, match=r"^inputs has 0 rows; expected at least 1$"):
        measure(INPUTS[:0], None)
    with pytest.raises(InputError, match=r"^chunk is -1; expected at least 1$"):
        measure(INPUTS, -1)


def test_weights_that_are_not_those_of_the_outputs_are_refused():
    def product(weights):
        linearize.transposed_product(NET.apply, INIT, weights, INPUTS, outputs=AUXILIARY)

    with pytest.raises(InputError, match=r"^weights of a row have shape \(\); expected \(3,\), "):
        product(np.ones(ROWS))
    with pytest.raises(InputError, match=r"^weights of a row have shape \(7,\); expected \(3,\), "):
        product(np.ones((ROWS, 7)))
    with pytest.raises(InputError, match=r" have 12 and 13 rows; expected as many in every array$"):
        product(np.ones((ROWS + 1, 3)))


def test_the_tangent_kernel_of_rows_with_positions_is_refused():
    with pytest.raises(InputError, match=r"^outputs of shape \(4, 3, 7\); expected rows and "):
        linearize.tangent_kernel(NET.apply, INIT, INPUTS.reshape(4, 3, -1))
