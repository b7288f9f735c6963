"""The metrics of drift against plain float64 numpy that loops over leaves and shares no code."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sublim_jax import drift, trees

TREES = {
    "perceptron": {
        "hidden": {"kernel": (40, 16), "bias": (16,)},
        "head": {"kernel": (16, 4), "bias": (4,)},
    },
    "deep": {
        "embedding": {"table": (32, 8)},
        "block": {"attention": {"query": (8, 4, 4), "key": (8, 4, 4)}, "scale": (8,)},
        "bias": {"value": (2,)},
    },
}
each_tree = pytest.mark.parametrize("name", TREES)


def draw(name, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: scale * rng.normal(size=shape),
        TREES[name],
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def parameters(name, seed):
    """Student, teacher and initialisation; the student has gone some of the way."""
    init, teacher, across = (draw(name, 3 * seed + i) for i in range(3))
    student = jax.tree.map(lambda i, t, a: i + 0.3 * (t - i) + 0.2 * a, init, teacher, across)
    return student, teacher, init


def leaves_of(tree):
    """All numbers of a tree, one after the other, by recursion over its dicts."""
    if isinstance(tree, dict):
        for name in sorted(tree):
            yield from leaves_of(tree[name])
    else:
        yield from np.asarray(tree, np.float64).reshape(-1).tolist()


def way(end, start):
    return [e - s for e, s in zip(leaves_of(end), leaves_of(start), strict=True)]


def inner(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def length(a):
    return math.sqrt(inner(a, a))


def reference(student, teacher, init):
    """Every metric of one parameter vector from its definition in the parameters."""
    moved, toward = way(student, init), way(teacher, init)
    along = inner(moved, toward) / inner(toward, toward)
    return {
        "projection": along,
        "cosine": inner(moved, toward) / (length(moved) * length(toward)),
        "relative_length": length(moved) / length(toward),
        "perpendicular_norm": length([m - along * t for m, t in zip(moved, toward, strict=True)]),
        "distance_reduction": 1 - length(way(student, teacher)) / length(way(init, teacher)),
        "distance_ratio": length(way(student, teacher)) / length(way(init, teacher)),
    }


def products_of(student, teacher, init):
    return drift.inner_products(trees.sub(student, init), trees.sub(teacher, init), init)


@pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("seed", range(3))
@each_tree
def test_the_metrics_agree_with_loops_over_the_parameters(name, seed, x64):
    student, teacher, init = parameters(name, seed)
    with jax.enable_x64(x64):
        by_layer = products_of(student, teacher, init)
        by_layer = drift.Products(*(None if p is None else np.asarray(p) for p in by_layer))
    tolerance = 1e-12 if x64 else 1e-5
    whole = drift.total(by_layer)
    for metric, expected in reference(student, teacher, init).items():
        np.testing.assert_allclose(
            getattr(drift, metric)(whole), expected, rtol=tolerance, err_msg=metric
        )
    for i, layer in enumerate(sorted(init)):
        expected = reference(student[layer], teacher[layer], init[layer])
        for metric, value in expected.items():
            np.testing.assert_allclose(
                getattr(drift, metric)(by_layer)[i], value, rtol=10 * tolerance, err_msg=metric
            )


@each_tree
def test_the_shares_of_the_layers_are_those_of_the_loops_and_add_up(name):
    student, teacher, init = parameters(name, 0)
    with jax.enable_x64(True):
        shares = np.asarray(drift.projection_by_layer(products_of(student, teacher, init)))
    toward = way(teacher, init)
    expected = [
        inner(way(student[layer], init[layer]), way(teacher[layer], init[layer]))
        / inner(toward, toward)
        for layer in sorted(init)
    ]
    np.testing.assert_allclose(shares, expected, rtol=1e-12)
    projection = reference(student, teacher, init)["projection"]
    np.testing.assert_allclose(shares.sum(), projection, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_reduction_of_a_hundred_millionth_is_right_to_rounding_from_float32(seed):
    rng = np.random.default_rng(seed)
    shapes = {"hidden": (512, 256), "middle": (256, 256), "head": (256, 10)}

    def layers(scale):
        return {
            name: (scale * rng.normal(size=shape)).astype(np.float32)
            for name, shape in shapes.items()
        }

    teacher, across = layers(1.0), layers(1.0)
    student = {
        name: np.float32(1e-8) * (teacher[name] + np.float32(0.5) * across[name]) for name in shapes
    }
    products = drift.total(drift.inner_products(student, teacher, teacher))
    # 1 - sqrt(1 + q) without the subtraction: q is the change of the squared distance.
    s, t = (np.concatenate([tree[name].ravel() for name in shapes]) for tree in (student, teacher))
    s, t = s.astype(np.longdouble), t.astype(np.longdouble)
    q = (s @ s - 2 * (s @ t)) / (t @ t)
    exact = -q / (1 + np.sqrt(1 + q))
    assert 0.5e-8 < exact < 2e-8
    np.testing.assert_allclose(drift.distance_reduction(products), float(exact), rtol=2e-7)


@pytest.mark.parametrize(("axes", "sizes"), [(("rows",), (4,)), (("rows", "columns"), (2, 2))])
def test_sharded_parameters_have_the_same_products(axes, sizes):
    mesh = jax.make_mesh(sizes, axes, axis_types=(AxisType.Auto,) * len(axes))

    def sharded(leaf):
        # Vectors of a length that the devices cannot share stay whole.
        fits = [a if n % s == 0 else None for a, n, s in zip(axes, leaf.shape, sizes, strict=False)]
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*fits)))

    plain = jax.tree.map(lambda leaf: leaf.astype(np.float32), parameters("perceptron", 0))
    spread = jax.tree.map(sharded, plain)
    kernel = spread[0]["hidden"]["kernel"]
    assert {shard.data.size for shard in kernel.addressable_shards} == {kernel.size // 4}
    compiled = jax.jit(products_of).lower(*spread).compile()
    for one, other in zip(compiled(*spread)[:4], products_of(*plain)[:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
        assert one.sharding.is_fully_replicated
    # A few numbers travel between the devices, never a parameter.
    assert "all-gather" not in compiled.as_text()
