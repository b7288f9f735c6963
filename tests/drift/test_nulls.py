import jax
import numpy as np
import pytest

from sublim_jax import drift, trees
from sublim_jax.drift.nulls import (
    isotropic_null,
    parameter_counts,
    sign_concentration,
    sign_null,
    z_scores,
)
from sublim_jax.errors import InputError

SHAPES = {"wide": {"kernel": (12, 5), "bias": (5,)}, "head": {"kernel": (5, 3)}}
COUNTS = np.array([15, 65])
DRAWS = 20_000


def draw(seed, members=()):
    """Entries of very different sizes, so that signs and rotations do not agree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: (rng.normal(size=(*members, *shape)) ** 3).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def vectors(tree):
    """Float64 vectors of the layers, in the order of the products."""
    return [
        np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree[name])])
        for name in sorted(tree)
    ]


def products_of(student, teacher):
    return drift.inner_products(student, teacher, teacher)


def assert_sd(null_cosine, null_projection, draws, teacher):
    """The spread over `draws [draws, n]` of one displacement is that of the closed form."""
    inner, square = draws @ teacher, teacher @ teacher
    for sd, values in (
        (null_cosine, inner / np.sqrt((draws**2).sum(-1) * square)),
        (null_projection, inner / square),
    ):
        # The sd of a sample sd is near sd * sqrt((kurtosis - 1) / 4 / draws).
        heavy = np.mean((values / values.std()) ** 4)
        np.testing.assert_allclose(
            np.sqrt(np.mean(values**2)), sd, rtol=4 * np.sqrt((heavy - 1) / 4 / DRAWS)
        )
        assert abs(values.mean()) < 4 * sd / np.sqrt(DRAWS)


def test_the_isotropic_null_is_that_of_random_directions():
    student, teacher = draw(0), draw(1)
    null = isotropic_null(products_of(student, teacher), COUNTS)
    rng = np.random.default_rng(2)

    def rotated(vector):
        directions = rng.normal(size=(DRAWS, vector.size))
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.linalg.norm(vector) * directions

    s, t = vectors(student), vectors(teacher)
    for i in range(2):
        assert_sd(null.layer_cosine[i], null.layer_projection[i], rotated(s[i]), t[i])
    assert_sd(null.cosine, null.projection, rotated(np.concatenate(s)), np.concatenate(t))


def test_the_null_of_signs_is_that_of_random_signs():
    student, teacher = draw(0), draw(1)
    null = sign_null(products_of(student, teacher), sign_concentration(student, teacher))
    rng = np.random.default_rng(2)

    def flipped(vector):
        return vector * rng.choice([-1.0, 1.0], size=(DRAWS, vector.size))

    s, t = vectors(student), vectors(teacher)
    for i in range(2):
        assert_sd(null.layer_cosine[i], null.layer_projection[i], flipped(s[i]), t[i])
    assert_sd(null.cosine, null.projection, flipped(np.concatenate(s)), np.concatenate(t))
    # The two nulls can be told apart here.
    assert abs(null.cosine * np.sqrt(80) - 1) > 0.2


def test_for_entries_of_one_size_the_two_nulls_are_the_same():
    student, teacher = (jax.tree.map(np.sign, draw(seed)) for seed in (0, 1))
    products = products_of(student, teacher)
    signs = sign_null(products, sign_concentration(student, teacher))
    for one, other in zip(signs, isotropic_null(products, COUNTS), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_displacement_of_a_million_parameters_is_within_both_nulls(seed):
    student, teacher = (
        {"layer": {"kernel": x}}
        for x in np.random.default_rng(seed).normal(size=(2, 1000, 1000)).astype(np.float32)
    )
    products = products_of(student, teacher)
    counts = parameter_counts(student)
    assert counts.tolist() == [1_000_000]
    whole = drift.total(products)
    for null in (
        isotropic_null(products, counts),
        sign_null(products, sign_concentration(student, teacher)),
    ):
        assert null.cosine == pytest.approx(1e-3, rel=0.01)
        assert abs(drift.cosine(whole)) < 4 * null.cosine
        assert abs(drift.projection(whole)) < 4 * null.projection


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_null_of_signs_does_not_depend_on_the_size_of_the_steps(scale):
    # Fourth powers of the small ones are far below the smallest float32.
    student, teacher = draw(0), draw(1)
    scaled = jax.tree.map(lambda x: np.float32(scale) * x, student)
    np.testing.assert_allclose(
        sign_concentration(scaled, scaled), sign_concentration(student, student), rtol=1e-5
    )
    np.testing.assert_allclose(
        sign_concentration(scaled, teacher), sign_concentration(student, teacher), rtol=1e-5
    )


def test_one_entry_alone_has_a_cosine_of_plus_or_minus_one():
    one = {"layer": {"kernel": np.array([0.0, 3.0, 0.0], np.float32)}}
    assert sign_concentration(one, one) == 1


def test_a_layer_that_has_not_moved_has_no_null_and_leaves_the_others_theirs():
    student, teacher = draw(0), draw(1)
    student["head"] = {"kernel": np.zeros((5, 3), np.float32)}
    products = products_of(student, teacher)
    with np.errstate(all="raise"):
        isotropic = isotropic_null(products, COUNTS)
        signs = sign_null(products, sign_concentration(student, teacher))
    for null in (isotropic, signs):
        for values in null[2:]:
            np.testing.assert_array_equal(np.isnan(values), [True, False])
    assert isotropic.cosine == pytest.approx(1 / np.sqrt(80))
    s, t = (np.concatenate(vectors(tree)) for tree in (student, teacher))
    expected = np.linalg.norm(s * t) / np.linalg.norm(s) / np.linalg.norm(t)
    assert signs.cosine == pytest.approx(expected, rel=1e-6)


def test_nothing_moved_is_nothing_defined():
    still = jax.tree.map(np.zeros_like, draw(0))
    products = products_of(still, draw(1))
    with np.errstate(all="raise"):
        for null in (
            isotropic_null(products, COUNTS),
            sign_null(products, sign_concentration(still, draw(1))),
        ):
            for values in null:
                assert np.isnan(values).all()


def test_stacked_members_have_the_null_of_each():
    student, teacher = draw(0, (3,)), draw(1, (3,))
    products = jax.vmap(products_of)(student, teacher)
    concentration = jax.jit(jax.vmap(sign_concentration))(student, teacher)
    stacked = sign_null(products, concentration)
    isotropic = isotropic_null(products, COUNTS)
    assert isotropic.layer_cosine.shape == (3, 2)
    assert isotropic.cosine.shape == (3,)
    for i in range(3):
        one, other = (trees.take(tree, i) for tree in (student, teacher))
        alone = sign_null(products_of(one, other), sign_concentration(one, other))
        for a, b in zip(stacked, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5)


def test_parameters_are_counted_in_the_order_of_the_products():
    assert parameter_counts(draw(0)).tolist() == COUNTS.tolist()
    assert parameter_counts(jax.eval_shape(lambda: draw(0))).tolist() == COUNTS.tolist()


def test_z_scores_are_those_of_each_value_among_its_controls():
    rng = np.random.default_rng(0)
    values, controls = rng.normal(size=(2, 3)), rng.normal(size=(20, 2, 3))
    scores = z_scores(values, controls)
    for i in np.ndindex(2, 3):
        column = [control[i] for control in controls]
        mean = sum(column) / 20
        sd = (sum((c - mean) ** 2 for c in column) / 19) ** 0.5
        np.testing.assert_allclose([s[i] for s in scores], [(values[i] - mean) / sd, mean, sd])


def test_z_scores_of_controls_among_themselves_follow_students_t():
    # What the docstring says of few controls: the variance of t with 9 degrees of freedom is 9/7.
    draws = np.random.default_rng(0).normal(size=(11, 40_000))
    z = z_scores(draws[0], draws[1:]).z / np.sqrt(1 + 1 / 10)
    assert np.var(z) == pytest.approx(9 / 7, rel=0.05)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_controls_say_nothing(count):
    with np.errstate(all="raise"):
        scores = z_scores(np.ones(2), np.full((count, 2), 0.5))
    assert np.isnan(scores.z).all()
    assert np.isnan(scores.sd).all()
    np.testing.assert_array_equal(scores.mean, 0.5 if count else np.nan)


def test_controls_that_are_all_the_same_say_nothing():
    # Rounding gives three times 0.1 a standard deviation of 1e-17.
    with np.errstate(all="raise"):
        scores = z_scores([0.5, 0.5], [[0.1, 0.1], [0.1, 0.2], [0.1, 0.3]])
    np.testing.assert_array_equal(np.isnan(scores.z), [True, False])
    assert scores.sd[0] == 0


def test_an_undefined_control_makes_an_undefined_score():
    assert np.isnan(z_scores(0.5, [0.1, np.nan, 0.2]).z)


@pytest.mark.parametrize("controls", [0.1, np.ones((20, 3)), np.ones(20)])
def test_controls_of_another_shape_are_refused(controls):
    with pytest.raises(
        InputError, match=r"^controls has shape .*; expected \(controls, \*\(2,\)\)$"
    ):
        z_scores(np.ones(2), controls)


def test_counts_and_concentrations_of_other_layers_are_refused():
    products = products_of(draw(0), draw(1))
    with pytest.raises(InputError, match=r"^counts has shape \(3,\); expected one count .*\(2,\)$"):
        isotropic_null(products, np.ones(3))
    with pytest.raises(InputError, match=r"^concentration has shape \(3,\); expected .*\(2,\)$"):
        sign_null(products, np.ones(3))
