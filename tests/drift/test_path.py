import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sublim_jax import trees
from sublim_jax.drift.path import barrier, interpolate, straight_path
from sublim_jax.errors import InputError

SHAPES = {"hidden": {"kernel": (8, 4), "bias": (4,)}, "head": {"kernel": (4, 3)}}


def draw(seed, *members):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=(*members, *shape)).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def evaluate(params):
    """Something that is not linear in the parameters: a scalar and a vector."""
    hidden = jnp.tanh(params["hidden"]["kernel"].sum(axis=0) + params["hidden"]["bias"])
    return {"loss": trees.dot(params, params), "outputs": hidden @ params["head"]["kernel"]}


START, END = draw(0), draw(1)


def test_the_ends_of_a_path_are_the_ends_to_the_bit():
    for fraction, end in ((0, START), (1, END)):
        jax.tree.map(np.testing.assert_array_equal, interpolate(START, end, fraction), end)
    for fraction, end in ((0.0, START), (1.0, END)):
        between = jax.jit(interpolate)(START, END, fraction)
        jax.tree.map(np.testing.assert_array_equal, between, end)


@pytest.mark.parametrize("points", [2, 5, 21])
def test_a_path_is_the_evaluation_of_each_of_its_points(points):
    values = jax.jit(lambda *ends: straight_path(evaluate, *ends, points=points))(START, END)
    assert values["loss"].shape == (points,)
    assert values["outputs"].shape == (points, 3)
    for row, a in enumerate(np.linspace(0, 1, points)):
        between = jax.tree.map(lambda x, y, a=a: np.float32((1 - a) * x + a * y), START, END)
        for name, value in evaluate(between).items():
            np.testing.assert_allclose(values[name][row], value, rtol=2e-5, atol=2e-6)


def test_members_are_mapped_over():
    starts, ends = draw(2, 3), draw(3, 3)
    stacked = jax.jit(jax.vmap(lambda *pair: straight_path(evaluate, *pair, points=4)))(
        starts, ends
    )
    for member in range(3):
        alone = straight_path(
            evaluate, trees.take(starts, member), trees.take(ends, member), points=4
        )
        for name, value in alone.items():
            np.testing.assert_allclose(stacked[name][member], value, rtol=1e-5, atol=1e-6)


def test_sharded_parameters_give_the_same_path():
    mesh = Mesh(np.array(jax.devices()[:4]), ("fsdp",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    run = jax.jit(lambda *ends: straight_path(evaluate, *ends, points=5))
    start, end = (jax.device_put(tree, rows) for tree in (START, END))
    assert not start["hidden"]["kernel"].is_fully_replicated
    for name, value in run(START, END).items():
        np.testing.assert_allclose(run(start, end)[name], value, rtol=1e-5, atol=1e-6)


def test_coarse_parameters_are_interpolated_finely():
    def low(tree):
        return jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tree)

    def wide(tree):
        return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)

    near, far = low(START), low(END)
    between = interpolate(near, far, 0.3)
    assert {leaf.dtype for leaf in jax.tree.leaves(between)} == {np.dtype(np.float32)}
    expected = jax.tree.map(lambda x, y: 0.7 * x + 0.3 * y, wide(near), wide(far))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), between, expected)


def test_paths_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="points is 1; expected at least 2"):
        straight_path(evaluate, START, END, points=1)
    short = {"bias": np.ones(1, np.float32)}
    long = {"bias": np.ones(4, np.float32)}
    with pytest.raises(InputError, match=r"end has a leaf of shape \(4,\); expected \(1,\)"):
        straight_path(lambda params: params["bias"].sum(), short, long)


def defined(losses):
    """The definition, path by path and point by point."""
    last = len(losses) - 1
    best = (0.0, np.nan)
    for i, loss in enumerate(losses):
        above = loss - ((1 - i / last) * losses[0] + i / last * losses[-1])
        if above > best[0]:
            best = (above, i / last)
    return best


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_barrier_is_its_definition_for_every_path(xp):
    losses = np.random.default_rng(0).normal(size=(21, 3, 2)).astype(np.float32)
    found = barrier(xp.asarray(losses))
    for i, j in np.ndindex(3, 2):
        height, place = defined(losses[:, i, j].astype(float))
        np.testing.assert_allclose(found.height[i, j], height, rtol=1e-5)
        np.testing.assert_allclose(found.place[i, j], place, rtol=1e-6)
    per_path = jax.vmap(barrier, in_axes=1)(jnp.asarray(losses[..., 0]))
    np.testing.assert_array_equal(per_path.height, barrier(jnp.asarray(losses[..., 0])).height)


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=30),
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.floats(0.1, 10),
)
def test_a_slope_and_an_offset_change_no_barrier_and_a_factor_scales_it(
    losses, slope, offset, factor
):
    losses = np.array(losses)
    tilted = factor * losses + slope * np.linspace(0, 1, len(losses)) + offset
    np.testing.assert_allclose(
        barrier(tilted).height, factor * barrier(losses).height, rtol=1e-9, atol=1e-9
    )


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_a_barrier_is_the_same_from_either_end_and_never_negative(losses):
    there, back = barrier(np.array(losses)), barrier(np.array(losses[::-1]))
    np.testing.assert_allclose(there.height, back.height, rtol=1e-9, atol=1e-9)
    assert there.height >= 0


def test_a_convex_loss_has_no_barrier_and_a_concave_one_has_its_sagitta():
    def convex(params):
        return trees.dot(params, params)

    losses = np.asarray(straight_path(convex, START, END))
    found = barrier(losses)
    assert found.height == 0
    assert np.isnan(found.place)
    # A parabola a(1 - a) k rises k/4 at the middle, k the squared distance of the ends.
    gap = float(trees.dot(trees.sub(END, START), trees.sub(END, START)))
    found = barrier(-losses)
    np.testing.assert_allclose(found.height, gap / 4, rtol=1e-5)
    assert found.place == 0.5


def test_frankles_own_definition_agrees_where_the_ends_are_equal():
    losses = np.random.default_rng(1).uniform(size=21)
    losses[-1] = losses[0]
    frankle = losses.max() - (losses[0] + losses[-1]) / 2
    np.testing.assert_allclose(barrier(losses).height, frankle, rtol=1e-12)


def test_what_is_undefined_stays_so():
    found = barrier(np.array([[0.0, 0.0], [np.nan, 1.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(found.height, [np.nan, 1])
    np.testing.assert_array_equal(found.place, [np.nan, 0.5])


@pytest.mark.parametrize("losses", [np.array(1.0), np.ones(1), np.ones((1, 4))])
def test_a_point_is_no_path(losses):
    with pytest.raises(InputError, match=r"losses has [01] points; expected at least 2"):
        barrier(losses)
