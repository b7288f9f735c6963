"""Reading with a cache is reading the whole text at once."""

import functools

import jax
import numpy as np
import pytest
from decoders import NAMES, TOKENS, golden

from sublim_jax.lm import cache as caching
from sublim_jax.lm import decoder
from sublim_jax.lm.attention import NOWHERE

FEW = ("llama, grouped, tied", "gemma3", "neox")
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def read(config, params, cache, tokens, start, pieces):
    """Read tokens in pieces; returns their logits and the cache."""
    extend = jax.jit(functools.partial(caching.extend, config), donate_argnums=3)
    found, at = [], 0
    for count in pieces:
        part = tokens[:, at : at + count]
        positions = np.broadcast_to(start + at + np.arange(count), part.shape)
        hidden, cache = extend(params, part, positions, cache)
        found.append(decoder.logits(config, params, hidden))
        at += count
    return np.concatenate(found, axis=1), cache


@pytest.mark.parametrize(
    "name",
    [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_piece_by_piece_is_at_once(name):
    case = golden()[name]
    cache = caching.empty(case.config, 2, 26)
    found, cache = read(case.config, case.params, cache, TOKENS, 0, (22, 1, 1))
    assert cache.filled == 24
    np.testing.assert_allclose(found, case.logits, **CLOSE)


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("name", FEW)
def test_what_rows_share_is_read_once(name, stacked):
    config, params = golden()[name].config, golden()[name].params
    params = params if stacked else decoder.unrolled(params)
    tokens = np.concatenate([np.tile(TOKENS[:1, :9], (2, 1)), TOKENS[:, 9:]], axis=1)
    known = decoder.apply(config, params, tokens)

    shared = caching.empty(config, 1, 9, stacked=stacked)
    first, shared = read(config, params, shared, tokens[:1, :9], 0, (9,))
    rest = caching.empty(config, 2, 16, stacked=stacked, shared=shared)
    found, _ = read(config, params, rest, tokens[:, 9:], 9, (13, 1, 1))
    np.testing.assert_allclose(first[0], known[0, :9], **CLOSE)
    np.testing.assert_allclose(found, known[:, 9:], **CLOSE)


@pytest.mark.parametrize("name", FEW)
def test_a_query_that_sees_nothing_of_what_is_shared_reads_its_own_alone(name):
    config, params = golden()[name].config, golden()[name].params
    hidden = caching.empty(config, 1, 9)
    _, hidden = read(config, params, hidden, TOKENS[:1, :9], 0, (9,))
    hidden = hidden._replace(positions=np.full((1, 9), NOWHERE, np.int32))
    rest = caching.empty(config, 2, 15, shared=hidden)
    found, _ = read(config, params, rest, TOKENS[:, 9:], 0, (14, 1))
    np.testing.assert_allclose(found, decoder.apply(config, params, TOKENS[:, 9:]), **CLOSE)
