import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import drift
from sublim_jax.drift import low_rank
from sublim_jax.drift.low_rank import LowRank, low_rank_products, subspace_overlap
from sublim_jax.errors import InputError

D_IN, D_OUT = 30, 20
both_precisions = pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])


def draw(seed, rank, *, shape=(D_IN, D_OUT), scale=0.7):
    rng = np.random.default_rng(seed)
    return LowRank(rng.normal(size=(shape[0], rank)), rng.normal(size=(rank, shape[1])), scale)


def merged(x):
    """The dense matrix in float64."""
    return float(x.scale) * np.asarray(x.a, np.float64) @ np.asarray(x.b, np.float64)


def float32(x):
    return LowRank(*(np.asarray(leaf, np.float32) for leaf in x))


def inner(x, y):
    return np.sum(merged(x) * merged(y))


def rotated(x, seed=9):
    """The same product from other factors."""
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(x.a.shape[1],) * 2))[0]
    return LowRank(x.a @ q, q.T @ x.b, x.scale)


@both_precisions
@pytest.mark.parametrize("ranks", [(1, 1), (4, 4), (2, 5), (25, 3)])
def test_everything_equals_what_the_merged_matrices_give(ranks, x64):
    x, y = draw(0, ranks[0]), draw(1, ranks[1], scale=-2.5)
    length_x, length_y = np.linalg.norm(merged(x)), np.linalg.norm(merged(y))
    tolerance = 1e-12 if x64 else 1e-6
    with jax.enable_x64(x64):
        dense, dot, norm, distance, apart = jax.jit(
            lambda x, y: (
                low_rank.dense(x),
                low_rank.dot(x, y),
                low_rank.norm(x),
                low_rank.distance(x, y),
                low_rank.difference(x, y),
            )
        )(x, y)
    np.testing.assert_allclose(dense, merged(x), rtol=0, atol=10 * tolerance)
    assert abs(float(dot) - inner(x, y)) < tolerance * length_x * length_y
    np.testing.assert_allclose(norm, length_x, rtol=tolerance)
    far = np.linalg.norm(merged(x) - merged(y))
    np.testing.assert_allclose(distance, far, rtol=tolerance)
    assert apart.a.shape[1] == 2 * max(ranks)
    np.testing.assert_allclose(merged(apart), merged(x) - merged(y), rtol=0, atol=30 * tolerance)


@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-6])
def test_a_short_distance_keeps_the_digits_that_a_difference_of_squares_loses(step):
    x, moved = draw(0, 4), draw(1, 4)
    x = float32(x)
    y = float32(LowRank(x.a + step * moved.a, x.b + step * moved.b, x.scale))
    exact = np.linalg.norm(merged(x) - merged(y))
    length = np.linalg.norm(merged(x))
    np.testing.assert_allclose(low_rank.distance(x, y), exact, rtol=1e-6)
    # The tests can tell: the difference of squares is rounding, and even the merged matrices are.
    squares = low_rank.dot(x, x) - 2 * low_rank.dot(x, y) + low_rank.dot(y, y)
    if step <= 1e-4:
        assert abs(np.sqrt(max(float(squares), 0.0)) / exact - 1) > 0.01
    if step <= 1e-6:
        dense = np.linalg.norm(np.asarray(low_rank.dense(x) - low_rank.dense(y), np.float64))
        assert abs(dense / exact - 1) > 1e-4
    assert exact / length < 10 * step


def test_the_distance_of_rotated_factors_is_rounding_of_the_factors():
    x = float32(draw(0, 4))
    y = float32(rotated(x))
    length = np.linalg.norm(merged(x))
    assert low_rank.distance(x, y) < 1e-6 * length


def test_a_matrix_is_at_no_distance_from_itself():
    x = float32(draw(0, 4))
    assert low_rank.distance(x, x) == 0


@both_precisions
def test_rotating_the_rank_space_changes_nothing_although_the_factors_are_others(x64):
    x, y = draw(0, 4), draw(1, 4)
    same = rotated(x)
    factors = np.sum(x.a * same.a) / np.sum(x.a**2)
    assert abs(factors) < 0.9
    tolerance = 1e-12 if x64 else 1e-6
    with jax.enable_x64(x64):
        for f in (low_rank.dot, low_rank.distance):
            np.testing.assert_allclose(f(same, y), f(x, y), rtol=10 * tolerance)
        products = low_rank_products({"layer": x}, {"layer": same})
        assert drift.cosine(drift.total(products)) == pytest.approx(1, abs=tolerance)
        for overlap in (subspace_overlap(x.a, same.a), subspace_overlap(x.b.T, same.b.T)):
            assert overlap.value == pytest.approx(1, abs=10 * tolerance)


def tree_of(seed, ranks):
    return {
        "block_1": {
            "up": draw(seed, ranks[0], shape=(10, 16)),
            "down": draw(seed + 1, ranks[1], shape=(16, 10)),
        },
        "block_0": {"attention": {"query": draw(seed + 2, ranks[2], shape=(10, 12))}},
    }


def merged_tree(tree):
    return jax.tree.map(merged, tree, is_leaf=lambda x: isinstance(x, LowRank))


@both_precisions
def test_products_of_trees_are_those_of_the_merged_displacements(x64):
    student, teacher, control = (
        tree_of(0, (2, 3, 1)),
        tree_of(10, (2, 3, 1)),
        tree_of(20, (1, 4, 2)),
    )
    init = merged_tree(tree_of(30, (5, 5, 5)))
    with jax.enable_x64(x64):
        products = jax.jit(low_rank_products)(student, teacher, init=init, control=control)
        expected = drift.inner_products(
            *map(merged_tree, (student, teacher)), init, control=merged_tree(control)
        )
    for field in drift.Products._fields:
        np.testing.assert_allclose(
            getattr(products, field), getattr(expected, field), rtol=1e-12 if x64 else 2e-5
        )
    np.testing.assert_allclose(
        drift.cosine(drift.total(products)),
        drift.cosine(drift.total(expected)),
        atol=1e-12 if x64 else 1e-6,
    )


def test_without_frozen_matrices_there_is_no_scale_and_without_a_control_no_product():
    products = low_rank_products(tree_of(0, (2, 3, 1)), tree_of(10, (2, 3, 1)))
    assert np.isnan(products.init).all()
    assert products.init.shape == (2,)
    assert products.student_control is None
    assert np.isfinite(drift.distance_reduction(drift.total(products)))


def test_an_adapter_that_has_not_moved_has_no_direction():
    still = jax.tree.map(
        lambda x: LowRank(x.a, 0 * x.b, x.scale),
        tree_of(0, (2, 3, 1)),
        is_leaf=lambda x: isinstance(x, LowRank),
    )
    whole = drift.total(low_rank_products(still, tree_of(10, (2, 3, 1))))
    assert np.isnan(drift.cosine(whole))
    assert drift.projection(whole) == 0


def test_an_adapter_that_starts_from_another_has_their_difference_as_displacement():
    start, end, teacher = ({"layer": draw(seed, 3)} for seed in range(3))
    with jax.enable_x64(True):
        moved = {"layer": low_rank.difference(end["layer"], start["layer"])}
        products = low_rank_products(moved, teacher)
    way = merged(end["layer"]) - merged(start["layer"])
    np.testing.assert_allclose(products.student, [np.sum(way * way)], rtol=1e-12)
    np.testing.assert_allclose(
        products.student_teacher, [np.sum(way * merged(teacher["layer"]))], rtol=1e-11
    )


def test_half_precision_factors_are_widened_before_they_are_multiplied():
    x, y = (LowRank(*(jnp.asarray(f, jnp.bfloat16) for f in draw(i, 3)[:2]), 0.7) for i in range(2))
    assert low_rank.dot(x, y).dtype == low_rank.distance(x, y).dtype == jnp.float32
    np.testing.assert_allclose(low_rank.dot(x, y), inner(x, y), rtol=1e-5)


def test_matrices_are_never_merged_and_multiplied_in_the_highest_precision():
    def everything(x, y):
        return low_rank.dot(x, y), low_rank.distance(x, y), low_rank_products({"l": x}, {"l": y})

    x, y = float32(draw(0, 2)), float32(draw(1, 2))
    program = jax.jit(everything).lower(x, y).as_text()
    assert f"{D_IN}x{D_OUT}x" not in program
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
    merging = jax.jit(low_rank.dense).lower(x).as_text()
    assert f"{D_IN}x{D_OUT}x" in merging
    assert "precision = [HIGHEST, HIGHEST]" in merging


def random_basis(rng, d, rank):
    return np.linalg.qr(rng.normal(size=(d, rank)))[0]


def test_the_overlap_is_the_mean_squared_cosine_of_the_principal_angles():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 6))
    bases = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    with jax.enable_x64(True):
        np.testing.assert_allclose(subspace_overlap(x, y).value, np.mean(cosines**2), rtol=1e-12)
        np.testing.assert_allclose(subspace_overlap(y, x).value, np.mean(cosines**2), rtol=1e-12)
        inside = y @ rng.normal(size=(6, 2))
        np.testing.assert_allclose(subspace_overlap(inside, y).value, 1, rtol=1e-12)
        across = np.eye(30)
        assert subspace_overlap(across[:, :3], across[:, 3:8]).value == 0


@pytest.mark.parametrize(("d", "r1", "r2"), [(300, 8, 8), (40, 3, 9), (12, 1, 1), (10, 8, 7)])
def test_the_null_of_the_overlap_is_that_of_random_subspaces(d, r1, r2):
    draws = 1000
    rng = np.random.default_rng(0)
    values = [
        np.sum((random_basis(rng, d, r1).T @ random_basis(rng, d, r2)) ** 2) / min(r1, r2)
        for _ in range(draws)
    ]
    overlap = subspace_overlap(random_basis(rng, d, r1), random_basis(rng, d, r2))
    sd = np.std(values)
    assert abs(np.mean(values) - overlap.null_mean) < 4 * sd / np.sqrt(draws)
    heavy = np.mean(((values - np.mean(values)) / sd) ** 4)
    np.testing.assert_allclose(sd, overlap.null_sd, rtol=4 * np.sqrt((heavy - 1) / 4 / draws))
    if r1 == r2:
        assert overlap.null_mean == r1 / d
        formula = np.sqrt(2) * (d - r1) / (d * np.sqrt((d - 1) * (d + 2)))
        assert overlap.null_sd == pytest.approx(formula, rel=1e-12)


def test_whole_spaces_always_overlap():
    overlap = subspace_overlap(np.eye(1), np.eye(1))
    assert overlap == (1, 1, 0)


@pytest.mark.parametrize("case", ["zero", "repeated"])
def test_columns_that_span_no_space_of_their_number_have_no_overlap(case):
    x, y = draw(0, 3).a.astype(np.float32), draw(1, 3).a
    x = 0 * x if case == "zero" else np.stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 1]], axis=1)
    assert np.isnan(subspace_overlap(x, y).value)
    assert np.isnan(subspace_overlap(y, x).value)


def test_bad_adapters_are_refused_with_what_was_expected():
    x = draw(0, 2)
    other = draw(1, 2, shape=(D_IN, 7))
    for f in (low_rank.dot, low_rank.distance, low_rank.difference):
        with pytest.raises(
            InputError, match=r"^merged matrix has shape \(30, 7\); expected \(30, 20\)$"
        ):
            f(x, other)
    with pytest.raises(InputError, match=r"^b has rank 3; expected that of a, 2$"):
        low_rank.norm(LowRank(x.a, draw(0, 3).b))
    with pytest.raises(
        InputError, match=r"^teacher has adapters b\['up'\]; expected those of student, a\['up'\]$"
    ):
        low_rank_products({"a": {"up": x}}, {"b": {"up": x}})
    with pytest.raises(InputError, match=r"^control has a ndarray at a\['up'\]; expected LowRank$"):
        low_rank_products({"a": {"up": x}}, {"a": {"up": x}}, control={"a": {"up": x.a}})
    with pytest.raises(InputError, match=r"^columns have shapes \(30, 2\) and \(20, 2\); expected"):
        subspace_overlap(x.a, x.b.T)
    with pytest.raises(InputError, match=r"^columns have shapes \(2, 20\) and \(2, 20\); expected"):
        subspace_overlap(x.b, x.b)
