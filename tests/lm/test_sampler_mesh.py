"""Texts that are written on a mesh are those of one device, and each group has its own rows."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_models import CONFIG

from sublim_jax import lm
from sublim_jax.lm import batching, sampler
from sublim_jax.training import pmap_parallel

KEY = jax.random.key(3)
LIMITS, STOPS = lm.Limits(tokens=12, rows=6), (5,)
BEGIN = list(range(2, 12))
# Equal ones side by side, and more than groups share evenly.
PROMPTS = [[*BEGIN, 20 + i // 3, *range(30, 30 + i // 4)] for i in range(11)]
# Large enough for texts to depend on what was read, small enough for rounding not to grow.
PARAMS = jax.tree.map(lambda x: 8 * x if x.ndim > 1 else x, lm.init(CONFIG, jax.random.key(0)))
MESHES = {
    "data": {},
    "data and tensor": {"tensor": 2},
    "fsdp and tensor": {"fsdp": 2, "tensor": 2},
}


def written(parallel=None):
    params = PARAMS if parallel is None else parallel.place(PARAMS, "frozen")
    return lm.sample(
        *(CONFIG, params, PROMPTS), limits=LIMITS, stops=STOPS, parallel=parallel, key=KEY
    )


@pytest.mark.parametrize("mesh", [*MESHES, "pmap"])
def test_a_mesh_writes_what_one_device_does(mesh):
    parallel = pmap_parallel() if mesh == "pmap" else lm.decoder_mesh(**MESHES[mesh])
    for found, known in zip(written(parallel), written(), strict=True):
        assert found.tokens.tolist() == known.tokens.tolist()
        assert found.ended == known.ended
        np.testing.assert_allclose(found.logprobs, known.logprobs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("mesh", [{}, {"tensor": 2}, {"fsdp": 4}])
def test_every_group_has_the_cache_of_its_rows_alone(mesh, monkeypatch):
    caches, begin = [], sampler.beginner

    def seen(*given):
        def call(*arguments):
            state = begin(*given)(*arguments)
            caches.append(jax.tree.leaves((state.cache.keys, state.cache.values)))
            return state

        return call

    monkeypatch.setattr(sampler, "beginner", seen)
    parallel = lm.decoder_mesh(**mesh)
    written(parallel)
    groups = parallel.groups
    assert groups == 4 // np.prod([1, *mesh.values()])
    for part in (part for cache in caches for part in cache):
        rows, of_device = part.shape[-4], part.sharding.shard_shape(part.shape)[-4]
        assert (rows % groups, of_device) == (0, rows // groups)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_rows_find_their_prompts_in_their_group(count, groups):
    prompts = PROMPTS[:count]
    batch = batching.side_by_side(prompts, 8, groups)
    rows, unique = len(batch.which), len(batch.tokens)
    assert rows % groups == unique % groups == 0
    assert rows < count + 8 + groups
    for row, which in enumerate(batch.which):
        place = row // (rows // groups) * (unique // groups) + which
        assert 0 <= which < unique // groups
        length = (batch.positions[place] < CONFIG.context).sum()
        text = [*batch.prefix, *batch.tokens[place, :length]]
        assert text == prompts[min(row, count - 1)]
        at = np.arange(len(batch.prefix), len(text))
        np.testing.assert_array_equal(batch.positions[place, :length], at)


def test_a_row_is_written_alone_as_in_a_batch_of_several_groups():
    parallel = lm.decoder_mesh()
    params = parallel.place(PARAMS, "frozen")
    alone = lm.sample(
        *(CONFIG, params, PROMPTS[:1]),
        limits=dataclasses.replace(LIMITS, rows=1),
        stops=STOPS,
        parallel=parallel,
        key=KEY,
    )
    assert alone[0].tokens.tolist() == written()[0].tokens.tolist()
