import subprocess
import sys

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from sublim_jax.rng import stream

KEY = jax.random.key(0)

parts = st.one_of(
    st.sampled_from(["init", "noise", "order", "épreuve"]),
    st.integers(0, 3),
    st.just(2**32 - 1),
)
paths = st.lists(parts, max_size=4).map(tuple)


def data(key):
    return tuple(jax.random.key_data(key).tolist())


@settings(deadline=None)
@given(paths)
def test_the_same_path_gives_the_same_key(path):
    assert data(stream(KEY, *path)) == data(stream(KEY, *path))


@settings(deadline=None)
@given(paths, paths)
def test_different_paths_give_different_keys(one, other):
    assert (data(stream(KEY, *one)) == data(stream(KEY, *other))) == (one == other)


@settings(deadline=None)
@given(paths, paths)
def test_a_path_can_be_walked_in_two_steps(first, rest):
    assert data(stream(stream(KEY, *first), *rest)) == data(stream(KEY, *first, *rest))


def test_the_order_of_a_path_matters():
    assert data(stream(KEY, "a", "b")) != data(stream(KEY, "b", "a"))
    assert data(stream(KEY, 1, 2)) != data(stream(KEY, 2, 1))


def test_another_seed_gives_another_key():
    seeds = range(20)
    assert len({data(stream(jax.random.key(s), "init", 0)) for s in seeds}) == len(seeds)


def test_a_traced_number_gives_the_key_of_the_number():
    rows = np.arange(5)
    traced = jax.jit(jax.vmap(lambda row: jax.random.key_data(stream(KEY, "row", row))))(rows)
    loop = [data(stream(KEY, "row", int(row))) for row in rows]
    assert [tuple(row) for row in traced.tolist()] == loop


def test_names_mean_the_same_in_another_process():
    program = (
        "import jax; from sublim_jax.rng import stream\n"
        "print(jax.random.key_data(stream(jax.random.key(0), 'noise', 3)).tolist())"
    )
    # Python's own hash of a string differs from process to process.
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == str(list(data(stream(KEY, "noise", 3))))


def test_draws_of_neighbouring_rows_are_uncorrelated():
    draws = np.stack([jax.random.normal(stream(KEY, "row", row), (10_000,)) for row in range(8)])
    correlations = np.corrcoef(draws)[~np.eye(8, dtype=bool)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(10_000)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_number_that_would_wrap_around_is_refused(number):
    with pytest.raises(OverflowError):
        stream(KEY, number)
