import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings

from sublim_jax import drift, trees

METRICS = (
    drift.projection,
    drift.cosine,
    drift.relative_length,
    drift.perpendicular_norm,
    drift.distance_reduction,
    drift.distance_ratio,
)
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
displacements = hnp.arrays(
    np.float64, (3, 4), elements=st.floats(-10, 10).map(lambda x: x if abs(x) > 1e-3 else 1.0)
)


def products_of(student, teacher):
    """Products of displacements `[layers, parameters]` in the precision of the arrays."""
    return drift.Products(
        student=(student * student).sum(-1),
        teacher=(teacher * teacher).sum(-1),
        student_teacher=(student * teacher).sum(-1),
        init=np.ones(len(student), student.dtype),
    )


def whole(student, teacher):
    return drift.total(products_of(student, teacher))


def tree_products(student, teacher):
    """Float32 products of two vectors as they are taken in training."""
    return drift.inner_products(*({"layer": {"kernel": x}} for x in (student, teacher, teacher)))


def direct(student, teacher):
    """The metrics straight from their definitions on whole vectors."""
    s, t = student.ravel(), teacher.ravel()
    length = np.linalg.norm
    rho = s @ t / (t @ t)
    ratio = length(t - s) / length(t)
    return {
        "projection": rho,
        "cosine": s @ t / (length(s) * length(t)),
        "relative_length": length(s) / length(t),
        "perpendicular_norm": length(s - rho * t),
        "distance_reduction": 1 - ratio,
        "distance_ratio": ratio,
    }


@each_metric
@settings(deadline=None)
@given(student=displacements, teacher=displacements)
def test_metrics_agree_with_their_definitions(metric, student, teacher):
    # From products, lengths that nearly cancel keep half the digits.
    np.testing.assert_allclose(
        metric(whole(student, teacher)),
        direct(student, teacher)[metric.__name__],
        rtol=1e-9,
        atol=1e-6,
    )


@settings(deadline=None)
@given(displacements, displacements)
def test_the_shares_of_the_layers_add_up_to_the_projection(student, teacher):
    shares = drift.projection_by_layer(products_of(student, teacher))
    assert shares.shape == (3,)
    np.testing.assert_allclose(
        shares.sum(), drift.projection(whole(student, teacher)), rtol=1e-12, atol=1e-12
    )


def test_the_shares_of_the_layers_add_up_in_a_real_tree():
    rng = np.random.default_rng(0)
    shapes = {"a": (300, 20), "b": (20,), "c": (20, 3)}
    with jax.enable_x64(True):
        student, teacher = (
            {name: {"kernel": rng.normal(size=shape)} for name, shape in shapes.items()}
            for _ in range(2)
        )
        products = drift.inner_products(student, teacher, teacher)
        shares = drift.projection_by_layer(products)
        expected = trees.dot(student, teacher) / trees.dot(teacher, teacher)
    np.testing.assert_allclose(shares.sum(), expected, rtol=1e-12)
    np.testing.assert_allclose(drift.projection(drift.total(products)), expected, rtol=1e-12)


@settings(deadline=None)
@given(displacements, displacements)
def test_cosines_of_layers_add_up_with_the_weights_of_their_lengths(student, teacher):
    layers, all_ = products_of(student, teacher), whole(student, teacher)
    weights = np.sqrt(layers.student * layers.teacher) / np.sqrt(all_.student * all_.teacher)
    assert weights.sum() <= 1 + 1e-12
    np.testing.assert_allclose((weights * drift.cosine(layers)).sum(), drift.cosine(all_), 1e-12)


@settings(deadline=None)
@given(displacements, displacements)
def test_along_and_across_make_up_the_displacement(student, teacher):
    products = whole(student, teacher)
    along = drift.projection(products) ** 2 * products.teacher
    across = drift.perpendicular_norm(products) ** 2
    np.testing.assert_allclose(along + across, products.student, rtol=1e-12)


@settings(deadline=None)
@given(displacements, displacements, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_cosine_sees_no_lengths_and_the_others_scale_with_them(student, teacher, a, b):
    plain, scaled = whole(student, teacher), whole(a * student, b * teacher)
    for metric, factor in (
        (drift.cosine, 1),
        (drift.projection, a / b),
        (drift.relative_length, a / b),
    ):
        np.testing.assert_allclose(metric(scaled), factor * metric(plain), rtol=1e-9, atol=1e-12)
    both = whole(a * student, a * teacher)
    for metric in (drift.distance_reduction, drift.distance_ratio):
        np.testing.assert_allclose(metric(both), metric(plain), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(displacements, displacements)
def test_a_student_is_nearer_exactly_when_its_projection_exceeds_half_its_squared_length(
    student, teacher
):
    products = whole(student, teacher)
    surplus = drift.projection(products) - drift.relative_length(products) ** 2 / 2
    assume(abs(surplus) > 1e-9)
    assert (drift.distance_reduction(products) > 0) == (surplus > 0)


def test_a_student_can_move_toward_its_teacher_and_away_from_it():
    products = whole(np.array([[0.5, 3.0]]), np.array([[1.0, 0.0]]))
    assert drift.projection(products) > 0
    assert drift.distance_reduction(products) < 0


@pytest.mark.parametrize("reduction", [1e-2, 1e-4, 1e-6, 1e-8])
def test_tiny_distance_reductions_keep_their_digits_in_float32(reduction):
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=1_000_000).astype(np.float32)
    across = rng.normal(size=teacher.size).astype(np.float32)
    student = np.float32(reduction) * (teacher + np.float32(0.5) * across)

    def subtracted(student, teacher):
        return 1 - np.linalg.norm(student - teacher) / np.linalg.norm(teacher)

    exact = subtracted(student.astype(np.longdouble), teacher.astype(np.longdouble))
    assert 0.5 * reduction < exact < 2 * reduction
    by_layer = tree_products(student, teacher)
    for products in (by_layer, drift.total(by_layer)):
        np.testing.assert_allclose(drift.distance_reduction(products), float(exact), rtol=1e-6)
    # The test can tell: the difference of two float32 distances has lost its digits.
    if reduction < 1e-5:
        assert abs(subtracted(student, teacher) / exact - 1) > 1e-3


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_student_on_top_of_its_teacher_has_arrived(xp):
    teacher = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    products = drift.Products(*map(xp.asarray, products_of(teacher, teacher)[:4]))
    for p in (products, drift.total(products)):
        with np.errstate(all="raise"):
            np.testing.assert_allclose(drift.projection(p), 1, rtol=1e-6)
            np.testing.assert_allclose(drift.cosine(p), 1, rtol=1e-6)
            np.testing.assert_allclose(drift.relative_length(p), 1, rtol=1e-6)
            np.testing.assert_array_equal(drift.distance_reduction(p), 1)
            np.testing.assert_array_equal(drift.distance_ratio(p), 0)
            np.testing.assert_allclose(drift.perpendicular_norm(p), 0, atol=1e-2)


def test_rounding_beyond_the_teacher_is_not_undefined():
    # |d_S - d_T|**2 would come out below zero.
    above = np.nextafter(np.float32(1), np.float32(2))
    one = np.ones(1, np.float32)
    products = drift.Products(one, one, one * above, one)
    with np.errstate(all="raise"):
        assert drift.distance_reduction(products) == 1
        assert drift.perpendicular_norm(products) == 0


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_student_that_has_not_moved_has_no_direction(xp):
    teacher = np.ones((3, 5), np.float32)
    products = drift.Products(*map(xp.asarray, products_of(0 * teacher, teacher)[:4]))
    for p in (products, drift.total(products)):
        with np.errstate(all="raise"):
            assert np.isnan(drift.cosine(p)).all()
            np.testing.assert_array_equal(drift.distance_ratio(p), 1)
            for metric in (
                drift.projection,
                drift.relative_length,
                drift.perpendicular_norm,
                drift.distance_reduction,
            ):
                np.testing.assert_array_equal(metric(p), 0)
    np.testing.assert_array_equal(drift.projection_by_layer(products), 0)


@each_metric
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_toward_a_teacher_that_has_not_moved_nothing_is_defined(metric, xp):
    student = np.ones((3, 5), np.float32)
    products = drift.Products(*map(xp.asarray, products_of(student, 0 * student)[:4]))
    with np.errstate(all="raise"):
        assert np.isnan(metric(products)).all()
        assert np.isnan(metric(drift.total(products))).all()
        assert np.isnan(drift.projection_by_layer(products)).all()


def test_a_still_layer_leaves_the_other_layers_defined():
    student, teacher = np.ones((3, 5)), np.ones((3, 5))
    student[0] = 0
    teacher[1] = 0
    products = products_of(student, teacher)
    np.testing.assert_array_equal(np.isnan(drift.cosine(products)), [True, True, False])
    np.testing.assert_array_equal(np.isnan(drift.projection(products)), [False, True, False])
    np.testing.assert_allclose(drift.projection_by_layer(products), [0, 0, 0.5])


@pytest.mark.parametrize("seed", range(4))
def test_a_random_displacement_points_nowhere(seed):
    n = 1_000_000
    student, teacher = np.random.default_rng(seed).normal(size=(2, n)).astype(np.float32)
    products = drift.total(tree_products(student, teacher))
    assert abs(drift.cosine(products)) < 4 / np.sqrt(n)
    assert abs(drift.projection(products)) < 4 / np.sqrt(n)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_short_displacements_have_a_cosine(xp):
    # The product of the two squared lengths is below the smallest float32.
    tiny = xp.full((1, 4), 1e-12, np.float32)
    np.testing.assert_allclose(drift.cosine(products_of(tiny, tiny)), 1, rtol=1e-5)


@each_metric
def test_metrics_are_the_same_from_numpy_jax_and_compiled(metric):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 4, 50)).astype(np.float32)
    student[1] = 0
    teacher[2] = 0
    products = drift.Products(*products_of(student, teacher)[:4])
    on_device = jax.tree.map(jnp.asarray, products)
    expected = metric(products)
    assert isinstance(expected, np.ndarray)
    for value in (metric(on_device), jax.jit(metric)(on_device), jax.jit(metric)(products)):
        assert isinstance(value, jax.Array)
        assert value.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@each_metric
def test_metrics_keep_the_axes_of_members_and_steps(metric):
    students = np.random.default_rng(0).normal(size=(2, 5, 3, 20))
    teacher = np.random.default_rng(1).normal(size=(3, 20))
    stacked = drift.total(
        drift.Products(
            student=(students**2).sum(-1),
            teacher=np.broadcast_to((teacher**2).sum(-1), (2, 5, 3)),
            student_teacher=(students * teacher).sum(-1),
            init=np.ones((2, 5, 3)),
        )
    )
    values = metric(stacked)
    assert values.shape == (2, 5)
    for index in np.ndindex(2, 5):
        np.testing.assert_allclose(values[index], metric(whole(students[index], teacher)), 1e-9)


def test_the_cosine_with_a_control_student_follows_from_the_products():
    rng = np.random.default_rng(0)
    student, teacher, control = (
        {"layer": {"kernel": rng.normal(size=100).astype(np.float32)}} for _ in range(3)
    )
    products = drift.total(drift.inner_products(student, teacher, teacher, control=control))
    expected = trees.cosine(student, control)
    length = np.sqrt(products.student) * trees.norm(control)
    np.testing.assert_allclose(products.student_control / length, expected, rtol=1e-5)
