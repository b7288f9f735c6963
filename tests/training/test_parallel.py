import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from sublim_jax.errors import InputError
from sublim_jax.training import (
    Recipe,
    make_fit,
    mesh_parallel,
    one_device,
    padded,
    pmap_parallel,
)
from sublim_jax.training.parallel import rules, shard_by_shape


def mesh(fsdp, tensor):
    return mesh_parallel(fsdp=fsdp, tensor=tensor).mesh


@pytest.mark.parametrize(
    ("fsdp", "tensor", "shape", "spec"),
    [
        (1, 1, (8, 8), P(None, None)),
        (2, 1, (8, 16), P(None, "fsdp")),
        (2, 1, (16, 8), P("fsdp", None)),
        (2, 1, (8, 7), P("fsdp", None)),
        (2, 1, (7, 9), P(None, None)),
        (1, 2, (8, 16), P(None, "tensor")),
        (1, 2, (8, 7), P(None, None)),
        (2, 2, (8, 16), P("fsdp", "tensor")),
        (2, 2, (3, 8, 16), P(None, "fsdp", "tensor")),
        (2, 2, (3, 7, 16), P(None, None, "tensor")),
        (2, 2, (8, 7), P("fsdp", None)),
        (4, 1, (6, 8), P(None, "fsdp")),
        (2, 2, (8,), P(None)),
        (2, 2, (), P()),
    ],
)
def test_matrices_are_cut_where_they_divide_and_vectors_stay_whole(fsdp, tensor, shape, spec):
    assert shard_by_shape("any", shape, mesh(fsdp, tensor)) == spec


@given(
    st.lists(st.integers(1, 12), max_size=4).map(tuple),
    st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (1, 2)]),
)
def test_every_shape_can_be_cut_as_the_rule_says(shape, sizes):
    cut = mesh(*sizes)
    spec = shard_by_shape("any", shape, cut)
    named = [axis for axis in spec if axis]
    assert len(named) == len(set(named))
    part = jax.sharding.NamedSharding(cut, spec).shard_shape(shape)  # refuses what does not divide
    assert math.prod(shape) == math.prod(part) * math.prod(cut.shape[axis] for axis in named)


def test_the_first_pattern_that_matches_decides():
    rule = rules(
        (r"hidden_\d+/kernel", P("fsdp", "tensor")),
        (r"kernel$", P(None, "fsdp")),
        (r"bias", P("fsdp")),
    )
    cut = mesh(2, 2)
    assert rule("hidden_3/kernel", (4, 4), cut) == P("fsdp", "tensor")
    assert rule("head/kernel", (4, 4), cut) == P(None, "fsdp")
    assert rule("head/bias", (4,), cut) == P("fsdp")
    assert rule("scale", (4,), cut) == P()


def test_a_rule_sees_the_paths_of_parameters_and_their_moments():
    seen = set()

    def rule(path, shape, cut):
        seen.add((path, shape))
        return P("fsdp") if path.endswith("w") else P()

    parallel = mesh_parallel(fsdp=2, rule=rule)
    fit = make_fit(
        lambda p, x: x @ p["net"]["w"], Recipe(epochs=1, batch_size=2), parallel=parallel
    )
    params = {"net": {"w": jnp.ones(4)}}
    found = fit(params, jnp.ones((4, 4)), key=jax.random.key(0))
    assert found.params["net"]["w"].sharding.spec == P("fsdp")
    paths = [path for path, shape in seen if shape == (4,)]
    assert sum(path.endswith("net/w") for path in paths) >= 3  # parameters and two moments
    described = fit.described(params, jnp.ones((4, 4)))[0]
    cut = [leaf for leaf in jax.tree.leaves(described) if leaf.sharding.spec == P("fsdp")]
    assert len(cut) == 3


def test_networks_bring_rules_of_their_own_and_results_stay_the_same():
    def loss(params, batch):
        return jnp.square(jnp.tanh(batch @ params["w"]) @ params["v"] - 1)

    params = {"w": jnp.ones((4, 8)) / 8, "v": jnp.arange(8.0) / 8}
    rows = jax.random.normal(jax.random.key(1), (10, 4))
    recipe = Recipe(learning_rate=0.05, epochs=2, batch_size=4)
    rule = rules((r"w$", P("tensor", "fsdp")), (r"v$", P(("fsdp", "tensor"))))
    own, plain = (
        make_fit(loss, recipe, parallel=parallel)(params, rows, key=jax.random.key(0))
        for parallel in (mesh_parallel(fsdp=2, tensor=2, rule=rule), one_device())
    )
    assert own.params["v"].sharding.spec == P(("fsdp", "tensor"))
    assert len(own.params["w"].sharding.device_set) == 4
    chex.assert_trees_all_close(own, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fsdp", "tensor"), [(3, 1), (1, 3), (2, 4), (0, 1), (1, -1), (8, 1)])
def test_devices_that_make_no_such_mesh_are_refused(fsdp, tensor):
    with pytest.raises(
        InputError, match=f"fsdp is {fsdp} and tensor is {tensor}; expected .* the 4 devices"
    ):
        mesh_parallel(fsdp=fsdp, tensor=tensor)


@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_data_takes_what_the_other_axes_leave(fsdp):
    parallel = mesh_parallel(fsdp=fsdp)
    assert dict(parallel.mesh.shape) == {"data": 4 // fsdp, "fsdp": fsdp, "tensor": 1}
    assert parallel.batch_shards == 4
    assert mesh_parallel(fsdp=1, tensor=4).batch_shards == 1


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [mesh_parallel, pmap_parallel, lambda: mesh_parallel(fsdp=2)])
def test_devices_share_the_work_of_a_batch(kind, accumulate):
    """The rows of a batch are spread: nothing is computed on every device."""

    def operations(parallel):
        recipe = Recipe(epochs=1, batch_size=64)
        fit = make_fit(
            lambda params, batch: jnp.tanh(batch @ params["w"]).sum(-1),
            recipe,
            parallel=parallel,
            accumulate=accumulate,
        )
        described = fit.described(
            {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)},
            jax.ShapeDtypeStruct((128, 64), jnp.float32),
        )
        return fit.programs.advance.lower(*described).compile().cost_analysis()["flops"]

    assert operations(kind()) < operations(one_device()) / 3


@pytest.mark.parametrize("kind", [mesh_parallel, pmap_parallel, lambda: mesh_parallel(fsdp=2)])
@pytest.mark.parametrize("role", ["own", "shared", "state", "batches"])
def test_what_is_placed_is_as_described_and_stays_where_it_lies(kind, role):
    parallel = kind()
    tree = {"a": np.arange(24.0, dtype=np.float32).reshape(3, 8)}
    placed, described = parallel.place(tree, role)["a"], parallel.described(tree, role)["a"]
    assert (described.shape, described.dtype) == (placed.shape, placed.dtype)
    assert described.sharding == placed.sharding
    np.testing.assert_array_equal(np.reshape(placed, (3, 8)), tree["a"])
    if role == "batches":
        assert len({shard.data.tobytes() for shard in placed.addressable_shards}) == 4
    else:
        assert parallel.place({"a": placed}, role)["a"] is placed


def test_one_device_is_the_first():
    parallel = one_device()
    assert parallel.mesh.devices.flat[0] == jax.local_devices()[0]
    assert parallel.batch_shards == 1


@given(st.integers(1, 500), st.integers(1, 40))
def test_a_padded_batch_is_the_smallest_that_can_be_shared(rows, shards):
    assert padded(rows, shards) % shards == 0
    assert rows <= padded(rows, shards) < rows + shards
