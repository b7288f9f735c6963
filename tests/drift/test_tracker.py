import jax
import numpy as np
import pytest

from sublim_jax import drift, trees

SHAPES = {"hidden": {"kernel": (7, 5), "bias": (5,)}, "head": {"kernel": (5, 3), "bias": (3,)}}


def draw(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


INIT, OTHER_INIT, TEACHER, STUDENT = map(draw, range(4))
OBSERVERS = {
    "shared": drift.tracker(init=INIT, teacher=TEACHER, teacher_init=INIT),
    "other": drift.tracker(init=INIT, teacher=TEACHER, teacher_init=OTHER_INIT),
}
each_observer = pytest.mark.parametrize("observe", OBSERVERS.values(), ids=OBSERVERS.keys())


def assert_same(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def test_toward_is_the_teachers_own_way_and_gap_the_way_to_the_teacher():
    seen = OBSERVERS["other"](STUDENT)
    moved = trees.sub(STUDENT, INIT)
    assert_same(seen.toward, drift.inner_products(moved, trees.sub(TEACHER, OTHER_INIT), INIT))
    assert_same(seen.gap, drift.inner_products(moved, trees.sub(TEACHER, INIT), INIT))
    assert not np.allclose(seen.toward.teacher, seen.gap.teacher)


def test_with_a_shared_initialisation_the_two_are_one():
    seen = OBSERVERS["shared"](STUDENT)
    jax.tree.map(np.testing.assert_array_equal, seen.toward, seen.gap)
    assert seen.pull is None


def test_the_gap_measures_the_distance_to_the_teacher():
    gap = drift.total(OBSERVERS["other"](STUDENT).gap)
    expected = trees.norm(trees.sub(STUDENT, TEACHER)) / trees.norm(trees.sub(INIT, TEACHER))
    np.testing.assert_allclose(drift.distance_ratio(gap), expected, rtol=1e-5)


@each_observer
def test_a_student_at_its_start_has_not_moved(observe):
    for products in observe(INIT)[:2]:
        np.testing.assert_array_equal(products.student, 0)
        whole = drift.total(products)
        assert drift.projection(whole) == drift.distance_reduction(whole) == 0
        assert np.isnan(drift.cosine(whole))


@each_observer
def test_a_student_at_its_teacher_has_no_distance_left(observe):
    gap = drift.total(observe(TEACHER).gap)
    assert drift.projection(gap) == 1
    assert drift.cosine(gap) == pytest.approx(1, abs=1e-12)
    assert drift.distance_reduction(gap) == 1


def test_a_teacher_that_stays_at_another_start_gives_no_direction():
    observe = drift.tracker(init=INIT, teacher=OTHER_INIT, teacher_init=OTHER_INIT)
    seen = observe(STUDENT)
    assert np.isnan(drift.cosine(drift.total(seen.toward)))
    assert np.isfinite(drift.distance_reduction(drift.total(seen.gap)))


@each_observer
def test_tracking_compiles_to_the_same_numbers(observe):
    assert_same(jax.jit(observe)(STUDENT), observe(STUDENT), rtol=1e-5, atol=1e-5)


def test_a_tracker_can_be_made_and_used_inside_a_scan():
    def walk(init, teacher, teacher_init, step):
        observe = drift.tracker(init=init, teacher=teacher, teacher_init=teacher_init)

        def advance(student, _):
            student = jax.tree.map(lambda s, d: s + d, student, step)
            return student, observe(student)

        return jax.lax.scan(advance, init, length=3)

    last, seen = jax.jit(walk)(INIT, TEACHER, OTHER_INIT, STUDENT)
    assert {leaf.shape for leaf in jax.tree.leaves(seen)} == {(3, len(SHAPES))}
    final = jax.tree.map(lambda array: array[-1], seen)
    assert_same(final, OBSERVERS["other"](last), rtol=1e-4, atol=1e-3)
    # A steady walk: three steps have three times the projection of one.
    projection = drift.projection(drift.total(seen.toward))
    np.testing.assert_allclose(projection, projection[0] * np.arange(1, 4), rtol=1e-4)


def test_only_the_students_displacement_changes_on_the_way():
    one, other = (OBSERVERS["other"](student) for student in (STUDENT, TEACHER))
    for field in ("teacher", "init"):
        for a, b in zip(one[:2], other[:2], strict=True):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize("teacher_init", [INIT, OTHER_INIT], ids=["shared", "other"])
def test_the_pull_is_of_the_step_since_the_observation_before(teacher_init):
    before = draw(9)
    observe = drift.tracker(init=INIT, teacher=TEACHER, teacher_init=teacher_init, before=before)
    expected = trees.cosine(trees.sub(STUDENT, before), trees.sub(TEACHER, before))
    pull = drift.total(observe(STUDENT).pull)
    np.testing.assert_allclose(drift.cosine(pull), expected, rtol=1e-5)
    assert drift.cosine(drift.total(observe(TEACHER).pull)) == pytest.approx(1, abs=1e-6)
    assert np.isnan(drift.cosine(drift.total(observe(before).pull)))


def test_trait_gains_along_a_path_add_up_to_the_change_of_the_trait():
    def trait(params):
        return sum(jax.numpy.sum(jax.numpy.tanh(leaf)) for leaf in jax.tree.leaves(params))

    def error(steps):
        way = [
            jax.tree.map(lambda a, b, t=t: a + t * (b - a), INIT, TEACHER)
            for t in np.linspace(0, 1, steps + 1)
        ]
        gradients = [jax.grad(trait)(params) for params in way]
        gains = [
            drift.trait_gain(trees.sub(way[i + 1], way[i]), gradients[i], gradients[i + 1])
            for i in range(steps)
        ]
        return abs(sum(gains) - (trait(TEACHER) - trait(INIT)))

    # Of second order in the distance of observations.
    assert error(64) < 2e-3
    assert error(8) / error(32) == pytest.approx(16, rel=0.3)
