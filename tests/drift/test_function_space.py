import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sublim_jax import drift, trees
from sublim_jax.drift.function_space import (
    function_products,
    gauss_newton_products,
    weighted_products,
)
from sublim_jax.errors import InputError
from sublim_jax.losses import IMITATION_LOSSES, hessian_product, kl, mse
from sublim_jax.nets.mlp import MLPConfig, mlp

CONFIG = MLPConfig(inputs=6, hidden=(7, 5), classes=4, auxiliary=3, activation="tanh")
NET = mlp(CONFIG)
AUXILIARY, ROWS = CONFIG.auxiliary_logits, 12
CHOICES = {"all": slice(None), "auxiliary": AUXILIARY, "scattered": np.array([0, 6, 2])}
each_choice = pytest.mark.parametrize("outputs", CHOICES.values(), ids=CHOICES.keys())
each_loss = pytest.mark.parametrize("loss", IMITATION_LOSSES.values(), ids=IMITATION_LOSSES.keys())


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: scale * rng.normal(size=leaf.shape), shapes)


INIT, STUDENT, TEACHER = draw(0, 0.5), draw(1, 0.3), draw(2, 0.3)
INPUTS = np.random.default_rng(3).normal(size=(ROWS, CONFIG.inputs))


def moved(displacement, scale=1.0):
    return jax.tree.map(lambda p, d: p + scale * d, INIT, displacement)


def outputs_of(params, outputs):
    """An independent forward pass in float64."""
    x = INPUTS
    for name in ("hidden_0", "hidden_1"):
        x = np.tanh(x @ params[name]["kernel"] + params[name]["bias"])
    heads = (params["head_classes"], params["head_auxiliary"])
    return np.concatenate([x @ h["kernel"] + h["bias"] for h in heads], axis=-1)[:, outputs]


def assert_products(products, *, vectors, inner, rtol):
    student, teacher, init = vectors
    expected = {
        "student": inner(student, student),
        "teacher": inner(teacher, teacher),
        "student_teacher": inner(student, teacher),
        "init": inner(init, init),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(products, name), value, rtol=rtol, err_msg=name)
    assert products.student_control is None


@each_choice
def test_function_products_are_means_over_rows_of_the_changes_of_outputs(outputs):
    at_init = outputs_of(INIT, outputs)
    changes = [outputs_of(moved(d), outputs) - at_init for d in (STUDENT, TEACHER)]

    def inner(a, b):
        return sum(a[i] @ b[i] for i in range(ROWS)) / ROWS

    for x64, rtol in ((True, 1e-12), (False, 1e-5)):
        with jax.enable_x64(x64):
            products = jax.jit(
                lambda: function_products(
                    NET.apply, INIT, moved(STUDENT), moved(TEACHER), INPUTS, outputs=outputs
                )
            )()
            assert products.student.dtype == (jnp.float64 if x64 else jnp.float32)
        assert_products(products, vectors=(*changes, at_init), inner=inner, rtol=rtol)


@pytest.fixture(scope="module")
def jacobian():
    """Of all outputs in all parameters, `[rows, outputs, parameters]`, in float64."""
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(INIT)
        return np.asarray(jax.jit(jax.jacrev(lambda p: NET.apply(unravel(p), INPUTS)))(flat))


def hessian_of(loss, logits):
    """The textbook Hessians, `[rows, outputs, outputs]`."""
    k = logits.shape[-1]
    if loss is mse:
        return np.broadcast_to(2 / k * np.eye(k), (len(logits), k, k))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return p[:, :, None] * np.eye(k) - p[:, :, None] * p[:, None, :]


@each_loss
@each_choice
def test_gauss_newton_products_are_those_of_explicit_jacobians_and_hessians(
    loss, outputs, jacobian
):
    at_init = outputs_of(INIT, outputs)
    hessians = hessian_of(loss, at_init)
    with jax.enable_x64(True):
        products = jax.jit(
            lambda: gauss_newton_products(
                NET.apply, INIT, STUDENT, TEACHER, INPUTS, loss=loss, outputs=outputs
            )
        )()
        vectors = [
            jacobian[:, outputs] @ np.asarray(ravel_pytree(d)[0]) for d in (STUDENT, TEACHER)
        ]

    def inner(a, b):
        return np.mean(np.einsum("ri,rij,rj->r", a, hessians, b))

    assert_products(products, vectors=(*vectors, at_init), inner=inner, rtol=1e-10)


@each_loss
def test_the_squared_length_is_twice_the_loss_to_second_order(loss):
    def relative_error(eps):
        target, displaced = (outputs_of(moved(STUDENT, e), AUXILIARY) for e in (0.0, eps))
        twice = 2 * np.mean(loss(displaced, target))
        return abs(twice / (eps**2 * squared) - 1)

    with jax.enable_x64(True):
        squared = gauss_newton_products(
            NET.apply, INIT, STUDENT, TEACHER, INPUTS, loss=loss, outputs=AUXILIARY
        ).student
        errors = [float(relative_error(eps)) for eps in (1e-2, 1e-3)]
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)


def test_the_first_step_of_imitation_is_the_gauss_newton_product_with_the_teacher():
    eps = 1e-4
    with jax.enable_x64(True):
        targets = NET.apply(moved(TEACHER, eps), INPUTS)[:, AUXILIARY]

        @jax.jit
        @jax.grad
        def gradient(params):
            return jnp.mean(kl(NET.apply(params, INPUTS)[:, AUXILIARY], targets))

        descent = jax.tree.map(jnp.negative, gradient(INIT))
        products = measures(INPUTS)[1]
        # <d_S, u> = eps <d_T, u>_G for any u: here u = TEACHER and u = STUDENT.
        for field, u in (("teacher", TEACHER), ("student_teacher", STUDENT)):
            np.testing.assert_allclose(
                trees.dot(descent, u), eps * getattr(products, field), rtol=1e-3
            )


@each_loss
def test_the_metric_is_symmetric_and_never_negative(loss):
    @jax.jit
    @jax.vmap
    def products_of(a, b):
        return gauss_newton_products(NET.apply, INIT, a, b, INPUTS, loss=loss, outputs=AUXILIARY)

    def stacked(seeds):
        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(draw, seeds))

    with jax.enable_x64(True):
        a, b = stacked(range(10, 20)), stacked(range(20, 30))
        one, other = (jax.tree.map(np.asarray, p) for p in (products_of(a, b), products_of(b, a)))
    np.testing.assert_allclose(one.student_teacher, other.student_teacher, rtol=1e-10)
    np.testing.assert_allclose([one.student, one.teacher], [other.teacher, other.student], 1e-12)
    assert (one.student >= 0).all()
    assert (np.abs(drift.cosine(one)) <= 1).all()


def test_softmax_does_not_see_a_shift_of_all_logits():
    shift = jax.tree.map(np.zeros_like, INIT)
    shift["head_auxiliary"]["bias"] = np.full(3, 0.7)
    with jax.enable_x64(True):
        seen = {
            loss: gauss_newton_products(
                NET.apply, INIT, shift, TEACHER, INPUTS, loss=loss, outputs=AUXILIARY
            )
            for loss in (kl, mse)
        }
        one_logit = gauss_newton_products(
            NET.apply, INIT, STUDENT, TEACHER, INPUTS, loss=kl, outputs=slice(4, 5)
        )
    assert abs(float(seen[kl].student)) < 1e-15
    np.testing.assert_allclose(seen[mse].student, 2 * 0.7**2, rtol=1e-12)
    np.testing.assert_array_equal(one_logit[:4], 0)


def test_a_teacher_that_moved_only_its_class_head_is_invisible_to_imitation():
    invisible = jax.tree.map(np.zeros_like, TEACHER) | {"head_classes": TEACHER["head_classes"]}
    function = function_products(
        NET.apply, INIT, moved(STUDENT), moved(invisible), INPUTS, outputs=AUXILIARY
    )
    linear = gauss_newton_products(
        NET.apply, INIT, STUDENT, invisible, INPUTS, loss=mse, outputs=AUXILIARY
    )
    for products in (function, linear):
        assert products.teacher == products.student_teacher == 0
        assert np.isnan(drift.projection(products))


def test_the_function_pull_of_a_student_at_its_teacher_is_one():
    products = function_products(NET.apply, INIT, moved(TEACHER), moved(TEACHER), INPUTS)
    for metric in (drift.projection, drift.cosine, drift.distance_reduction):
        assert metric(products) == pytest.approx(1, abs=1e-6)


@functools.partial(jax.jit, static_argnames=("chunk", "apply"))
def measures(inputs, chunk=None, apply=NET.apply):
    init, student, teacher = INIT, moved(STUDENT), moved(TEACHER)
    return (
        function_products(apply, init, student, teacher, inputs, outputs=AUXILIARY, chunk=chunk),
        gauss_newton_products(
            apply, init, STUDENT, TEACHER, inputs, loss=kl, outputs=AUXILIARY, chunk=chunk
        ),
    )


@pytest.fixture(scope="module")
def expected():
    """Both measures in float64, all rows at once, not compiled."""
    with jax.enable_x64(True):
        return measures.__wrapped__(INPUTS)


def assert_same(one, other, rtol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol), one, other)


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_rows_in_chunks_give_the_same_products(chunk, expected):
    with jax.enable_x64(True):
        assert_same(measures(INPUTS, chunk), expected, rtol=1e-12)


def test_chunks_bound_what_the_network_sees_at_once():
    seen = []

    def apply(params, inputs):
        seen.append(len(inputs))
        return NET.apply(params, inputs)

    jax.eval_shape(lambda: measures(INPUTS, 5, apply))
    assert set(seen) == {5, 2}


def test_stacked_students_have_the_products_of_each():
    students = jax.tree.map(lambda *leaves: np.stack(leaves), STUDENT, TEACHER, draw(9))

    def both(student):
        there = jax.tree.map(jnp.add, INIT, student)
        return (
            function_products(NET.apply, INIT, there, moved(TEACHER), INPUTS, chunk=5),
            gauss_newton_products(NET.apply, INIT, student, TEACHER, INPUTS, loss=kl, chunk=5),
        )

    with jax.enable_x64(True):
        stacked = jax.jit(jax.vmap(both))(students)
        compiled = jax.jit(both)
        for i in range(3):
            alone = compiled(trees.take(students, i))
            assert_same(trees.take(stacked, i), alone, rtol=1e-12)


def test_positions_within_a_row_are_averaged_like_rows(expected):
    with jax.enable_x64(True):
        assert_same(measures(INPUTS.reshape(4, 3, -1), 3), expected, rtol=1e-12)


def test_inputs_may_be_a_tree(expected):
    def apply(params, inputs):
        return NET.apply(params, inputs["features"]) * inputs["weights"][:, None]

    inputs = {"features": INPUTS, "weights": np.ones(ROWS)}
    with jax.enable_x64(True):
        assert_same(measures(inputs, 5, apply), expected, rtol=1e-12)


def test_half_precision_is_widened_before_anything_is_subtracted():
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), INIT)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)

    @jax.jit
    def both(init, there):
        return (
            function_products(NET.apply, init, there, there, INPUTS),
            gauss_newton_products(NET.apply, init, STUDENT, STUDENT, INPUTS, loss=mse),
        )

    def displaced(init):
        return jax.tree.map(lambda p, d: p.astype(jnp.float32) + 1e-4 * d, init, STUDENT)

    for init in (narrow, wide):
        there = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), displaced(init))
        products = both(init, there)
        if init is narrow:
            expected = products
    assert_same(products, expected, rtol=1e-6)
    assert products[0].student.dtype == jnp.float32


def test_the_network_is_asked_for_the_highest_matmul_precision():
    function, linear = (
        jax.jit(lambda x, i=i: measures(x, 5)[i]).lower(INPUTS.astype(np.float32)).as_text()
        for i in range(2)
    )
    for program in (function, linear):
        products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
        assert products
        assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


@pytest.mark.parametrize(
    "measure", [function_products, functools.partial(gauss_newton_products, loss=kl)]
)
def test_no_rows_and_chunks_of_none_are_refused(measure):
    with pytest.raises(InputError, match=r"^inputs has 0 rows; expected at least 1$"):
        measure(NET.apply, INIT, STUDENT, TEACHER, INPUTS[:0])
    with pytest.raises(InputError, match=r"^chunk is 0; expected at least 1$"):
        measure(NET.apply, INIT, STUDENT, TEACHER, INPUTS, chunk=0)


@each_loss
def test_the_hessian_product_is_that_of_the_explicit_hessian(loss):
    y, v = np.random.default_rng(0).normal(size=(2, 4, 3))
    with jax.enable_x64(True):
        product = jax.jit(hessian_product, static_argnums=0)(loss, y, v)
    np.testing.assert_allclose(product, np.einsum("rij,rj->ri", hessian_of(loss, y), v), 1e-12)


def test_weighted_products_are_weighted_sums_in_each_layer():
    weights = jax.tree.map(np.abs, draw(5))
    for x64, rtol in ((True, 1e-12), (False, 1e-5)):
        with jax.enable_x64(x64):
            products = jax.jit(weighted_products)(STUDENT, TEACHER, INIT, weights)
        pairs = {
            "student": (STUDENT, STUDENT),
            "teacher": (TEACHER, TEACHER),
            "student_teacher": (STUDENT, TEACHER),
            "init": (INIT, INIT),
        }
        for field, (a, b) in pairs.items():
            expected = [
                sum((weights[name][k] * a[name][k] * b[name][k]).sum() for k in ("kernel", "bias"))
                for name in trees.layers(INIT)
            ]
            np.testing.assert_allclose(getattr(products, field), expected, rtol=rtol)


def test_with_weights_of_one_the_metric_is_euclidean():
    ones = jax.tree.map(np.ones_like, INIT)
    assert_same(
        weighted_products(STUDENT, TEACHER, INIT, ones),
        drift.inner_products(STUDENT, TEACHER, INIT),
        rtol=1e-6,
    )


def test_a_preconditioned_step_points_to_the_teacher_in_the_metric_of_its_weights():
    # The two-dimensional example in which it points away in the Euclidean one.
    visible, teacher = np.array([1.0, 0.1]), np.array([1.0, -5.0])
    gradient = visible * (visible @ teacher)
    weights = np.abs(gradient)
    trees_of = [{"layer": {"kernel": x}} for x in (gradient / weights, teacher, teacher, weights)]
    with jax.enable_x64(True):
        assert drift.inner_products(*trees_of[:3]).student_teacher == pytest.approx(-4)
        assert weighted_products(*trees_of).student_teacher == pytest.approx(0.25)
