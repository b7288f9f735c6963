"""How the parameters of a decoder lie on a mesh, and that this changes no result."""

import jax
import numpy as np
import pytest
from decoders import NAMES, TOKENS, Held, golden
from jax.sharding import AbstractMesh, PartitionSpec

from sublim_jax.lm import decoder, weights
from sublim_jax.lm.sharding import decoder_mesh, shard_decoder
from sublim_jax.lm.sizes import SIZES, shape_of

MESH = AbstractMesh((1, 4, 2), ("data", "fsdp", "tensor"))


def specs(config):
    shapes = jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            leaf.shape,
            shard_decoder(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, MESH),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }


@pytest.mark.parametrize("name", ["qwen2.5-7b", "llama3.1-8b", "gemma3-1b", "pythia-1b"])
def test_every_matrix_is_cut_over_both_axes(name):
    for path, (shape, spec) in specs(shape_of(name)).items():
        if path.endswith(("kernel", "table")):
            assert {"fsdp", "tensor"} <= set(spec), (path, shape, spec)
        assert len(spec) <= len(shape)


def test_no_matrix_of_any_size_is_forgotten():
    known = ("kernel", "table", "bias", "scale")
    for name in SIZES:
        for path, (_, spec) in specs(shape_of(name)).items():
            assert path.endswith(known)
            if path.endswith(("scale", "norm/bias")):
                assert spec == PartitionSpec()


def test_thin_matrices_and_moments_lie_like_the_matrix_beside_them():
    assert shard_decoder("mu/attention/query/a", (2, 16, 8), MESH) == PartitionSpec(
        None, "fsdp", None
    )
    assert shard_decoder("attention/output/b", (2, 8, 16), MESH) == PartitionSpec(
        None, None, "fsdp"
    )
    assert shard_decoder("0/mu/layers/mlp/down/kernel", (2, 16, 8), MESH) == PartitionSpec(
        None, "tensor", "fsdp"
    )


def test_what_does_not_divide_stays_whole():
    assert shard_decoder("layers/mlp/up/kernel", (2, 6, 8), MESH) == PartitionSpec(
        None, None, "tensor"
    )
    assert shard_decoder("count", (), MESH) == PartitionSpec()


@pytest.mark.parametrize("name", [NAMES[1], NAMES[5], NAMES[7]])
def test_logits_on_a_mesh_are_those_of_one_device(name):
    case = golden()[name]
    parallel = decoder_mesh(jax.devices()[:4], fsdp=2, tensor=2)
    placed = parallel.place(case.params, "state")
    cut = [leaf for leaf in jax.tree.leaves(placed) if not leaf.sharding.is_fully_replicated]
    assert len(cut) >= 4
    found = jax.jit(lambda params: decoder.apply(case.config, params, TOKENS))(placed)
    np.testing.assert_allclose(found, case.logits, rtol=1e-5, atol=2e-5)


def test_weights_are_read_onto_a_mesh_as_they_lie_there():
    case = golden()[NAMES[1]]
    parallel = decoder_mesh(jax.devices()[:4], fsdp=2, tensor=2)
    found = weights.read(case.config, Held(case.tensors), parallel=parallel)
    wanted = parallel.shardings(case.params, "frozen")
    assert jax.tree.map(lambda a: a.sharding, found) == wanted
    jax.tree.map(np.testing.assert_array_equal, found, case.params)
