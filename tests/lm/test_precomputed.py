"""What is computed once for every row lies, and is computed, where the row is."""

import jax
import numpy as np
import pytest
from tuning import model, moved, texts

from sublim_jax.lm import decoder, precomputed
from sublim_jax.lm.packing import Packed, pack
from sublim_jax.training import mesh_parallel, one_device, pmap_parallel

SOME = pack(texts(), together=False)
ROWS = len(SOME.tokens)


def found(parallel, packed=SOME):
    config, params = model("gemma3")
    return (
        precomputed.streams(*decoder.lower(config, params, 2), packed, parallel),
        precomputed.hidden_at(config, moved(params), packed, parallel),
    )


@pytest.mark.parametrize("kind", ["mesh of data", "mesh of all", "pmap"])
def test_devices_agree(kind):
    parallel = {
        "mesh of data": mesh_parallel,
        "mesh of all": lambda: mesh_parallel(fsdp=2, tensor=2),
        "pmap": pmap_parallel,
    }[kind]()
    for array, expected in zip(found(parallel), found(one_device()), strict=True):
        np.testing.assert_allclose(array[:ROWS], expected[:ROWS], atol=1e-5)
        here = array.addressable_shards[0].data.shape[0]
        assert here * parallel.row_shards == len(array) < ROWS + parallel.row_shards


def test_rows_a_few_at_a_time_are_rows_at_once(monkeypatch):
    whole = found(mesh_parallel())
    monkeypatch.setattr(precomputed, "AT_ONCE", SOME.tokens.shape[1])
    for array, expected in zip(found(mesh_parallel()), whole, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5)


def test_rows_stay_on_their_devices():
    config, params = model("gemma3")
    many = Packed(*(np.concatenate([part] * 8) for part in SOME))
    config, params = decoder.lower(config, params, 2)
    parallel = mesh_parallel()
    program = precomputed._program(precomputed._stream, config, parallel, 3)
    args = parallel.place(params, "frozen"), parallel.place(many, "rows")
    text = jax.jit(program).lower(*args).compile().as_text()
    for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert word not in text
