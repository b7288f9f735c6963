import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sublim_jax import drift, trees
from sublim_jax.drift.plane import coordinates, plane_point, plane_through, plane_values
from sublim_jax.errors import InputError

SHAPES = {"hidden": {"kernel": (40, 20), "bias": (20,)}, "head": {"kernel": (20, 3)}}


def draw(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def mix(*terms):
    """A sum of trees with coefficients, in the precision of the trees."""
    return jax.tree.map(
        lambda *leaves: sum(np.float32(c) * x for (c, _), x in zip(terms, leaves, strict=True)),
        *(tree for _, tree in terms),
    )


INIT, TEACHER, STUDENT, ELSEWHERE = map(draw, range(4))
PLANE = plane_through(INIT, TEACHER, STUDENT)
UNIT = np.linalg.norm(flat(TEACHER) - flat(INIT))


def test_the_axes_are_those_of_gram_and_schmidt():
    toward, moved = flat(TEACHER) - flat(INIT), flat(STUDENT) - flat(INIT)
    first = toward / np.linalg.norm(toward)
    second = moved - moved @ first * first
    np.testing.assert_allclose(PLANE.unit, UNIT, rtol=1e-6)
    np.testing.assert_allclose(flat(PLANE.first), first, atol=1e-7)
    np.testing.assert_allclose(flat(PLANE.second), second / np.linalg.norm(second), atol=1e-7)
    jax.tree.map(np.testing.assert_array_equal, PLANE.origin, INIT)
    assert abs(flat(PLANE.first) @ flat(PLANE.second)) < 1e-7


def test_the_three_points_have_their_coordinates_and_lie_in_the_plane():
    products = drift.total(
        drift.inner_products(trees.sub(STUDENT, INIT), trees.sub(TEACHER, INIT), INIT)
    )
    student = drift.projection(products), drift.perpendicular_norm(products) / UNIT
    for params, expected in ((INIT, (0, 0)), (TEACHER, (1, 0)), (STUDENT, student)):
        np.testing.assert_allclose(coordinates(PLANE, params), (*expected, 0), atol=2e-6)
    assert coordinates(PLANE, STUDENT).y > 0


def test_distances_are_those_of_the_parameters():
    points = [INIT, TEACHER, STUDENT, mix((0.3, INIT), (0.5, TEACHER), (0.2, STUDENT))]
    places = [np.array(coordinates(PLANE, params)) for params in points]
    for i in range(4):
        for j in range(i):
            np.testing.assert_allclose(
                UNIT * np.linalg.norm(places[i] - places[j]),
                np.linalg.norm(flat(points[i]) - flat(points[j])),
                rtol=1e-5,
            )


def test_whatever_is_off_the_plane_is_said_to_be():
    x, y, off = coordinates(PLANE, ELSEWHERE)
    away = flat(ELSEWHERE) - flat(INIT)
    np.testing.assert_allclose(UNIT**2 * (x**2 + y**2 + off**2), away @ away, rtol=1e-5)
    basis = np.stack([flat(PLANE.first), flat(PLANE.second)])
    expected = np.linalg.norm(away - basis.T @ (basis @ away))
    np.testing.assert_allclose(UNIT * off, expected, rtol=1e-5)


def test_a_small_distance_off_the_plane_keeps_its_digits():
    # Squared lengths that nearly cancel would have lost them.
    nudged = mix((1, STUDENT), (1e-4, ELSEWHERE))
    _, _, off = coordinates(PLANE, nudged)
    way = flat(nudged) - flat(INIT)
    basis = np.stack([flat(PLANE.first), flat(PLANE.second)])
    exact = np.linalg.norm(way - basis.T @ (basis @ way))
    np.testing.assert_allclose(UNIT * off, exact, rtol=1e-2)


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 0.0), (0.4, -1.3), (-2.0, 0.7)])
def test_a_point_has_the_coordinates_that_it_was_made_from(place):
    found = coordinates(PLANE, plane_point(PLANE, *place))
    np.testing.assert_allclose(found, (*place, 0), atol=3e-6)


def evaluate(params):
    return {
        "loss": jnp.tanh(params["hidden"]["kernel"]).sum(),
        "outputs": params["hidden"]["bias"] @ params["head"]["kernel"],
    }


def test_a_grid_is_the_evaluation_of_each_of_its_points():
    xs, ys = np.linspace(-0.2, 1.2, 4), np.linspace(-1, 1, 3)
    values = jax.jit(lambda plane: plane_values(evaluate, plane, xs, ys))(PLANE)
    assert values["loss"].shape == (3, 4)
    assert values["outputs"].shape == (3, 4, 3)
    basis = np.stack([flat(PLANE.first), flat(PLANE.second)])
    shapes, structure = [x.shape for x in jax.tree.leaves(INIT)], jax.tree.structure(INIT)
    cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    for row, column in np.ndindex(3, 4):
        params = flat(INIT) + UNIT * np.array([xs[column], ys[row]]) @ basis
        parts = [p.reshape(s) for p, s in zip(np.split(params, cuts), shapes, strict=True)]
        expected = evaluate(jax.tree.unflatten(structure, [np.float32(p) for p in parts]))
        for name, value in expected.items():
            np.testing.assert_allclose(values[name][row, column], value, rtol=1e-4, atol=1e-4)


def test_a_grid_meets_its_three_points():
    student = coordinates(PLANE, STUDENT)
    values = plane_values(evaluate, PLANE, jnp.array([0, 1, student.x]), jnp.array([0, student.y]))
    for params, at in ((INIT, (0, 0)), (TEACHER, (0, 1)), (STUDENT, (1, 2))):
        np.testing.assert_allclose(values["loss"][at], evaluate(params)["loss"], rtol=1e-4)


def test_sharded_parameters_make_the_same_plane():
    mesh = Mesh(np.array(jax.devices()[:4]), ("fsdp",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    split = [jax.device_put(tree, rows) for tree in (INIT, TEACHER, STUDENT)]
    plane = plane_through(*split)
    np.testing.assert_allclose(plane.unit, UNIT, rtol=1e-6)
    np.testing.assert_allclose(
        coordinates(plane, split[2]), coordinates(PLANE, STUDENT), rtol=1e-5, atol=1e-6
    )


def test_members_have_coordinates_along_their_paths():
    steps = [mix((1 - a, INIT), (a, STUDENT)) for a in (0, 0.5, 1)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
    places = jax.jit(jax.vmap(coordinates, in_axes=(None, 0)))(PLANE, stacked)
    for row, params in enumerate(steps):
        np.testing.assert_allclose(
            [x[row] for x in places], coordinates(PLANE, params), rtol=1e-5, atol=2e-6
        )


def test_coarse_parameters_are_taken_wide():
    low = [jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), t) for t in (INIT, TEACHER)]
    plane = plane_through(*low, STUDENT)
    assert {leaf.dtype for leaf in jax.tree.leaves(plane)} == {np.dtype(np.float32)}
    exact = np.linalg.norm(flat(low[1]) - flat(low[0]))
    np.testing.assert_allclose(plane.unit, exact, rtol=1e-6)


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.3, 1.0, 2.5])
def test_a_student_on_the_line_makes_no_plane(share):
    on_the_line = mix((1 - share, INIT), (share, TEACHER))
    with pytest.raises(InputError, match=r"student is \S+ off the line .*; expected more than"):
        plane_through(INIT, TEACHER, on_the_line)


def test_a_student_that_is_barely_off_the_line_makes_one():
    near = mix((0.7, INIT), (0.3, TEACHER), (1e-4, ELSEWHERE))
    plane = plane_through(INIT, TEACHER, near)
    assert abs(flat(plane.first) @ flat(plane.second)) < 1e-6
    np.testing.assert_allclose(np.linalg.norm(flat(plane.second)), 1, rtol=1e-6)


def test_points_that_make_no_plane_are_refused():
    with pytest.raises(InputError, match=r"teacher is 0.0e\+00 away from the initialisation"):
        plane_through(INIT, INIT, STUDENT)
    gone = jax.tree.map(lambda x: np.full_like(x, np.nan), STUDENT)
    with pytest.raises(InputError, match=r"student is nan away .*; expected a finite distance"):
        plane_through(INIT, TEACHER, gone)
    with pytest.raises(InputError, match="teacher is nan away"):
        plane_through(INIT, gone, STUDENT)
