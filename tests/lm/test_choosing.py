"""How the next token is chosen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sublim_jax.errors import InputError
from sublim_jax.lm.choosing import Choice, _invert, choose

SIZES = (1, 2, 255, 256, 257, 49152)


@functools.cache
def chooser(choice, draws):
    """Choose many times from the same logits."""

    def many(logits, key):
        rows = jnp.broadcast_to(logits, (draws, logits.size))
        return choose(choice, rows, jax.random.split(key, draws))

    return jax.jit(many)


def drawn(choice, logits, draws=8_000, seed=0):
    """How often each token is chosen, and of how many draws."""
    found = chooser(choice, draws)(jnp.asarray(logits, jnp.float32), jax.random.key(seed))
    return np.bincount(np.asarray(found), minlength=len(logits))


def expected(choice, logits):
    """Probabilities by sorting, in float64."""
    scaled = np.asarray(logits, np.float32).astype(np.float64) / choice.temperature
    likely = np.exp(scaled - scaled.max())
    likely /= likely.sum()
    if choice.top_k is not None:
        least = np.sort(likely)[::-1][: choice.top_k][-1]
        likely = np.where(likely >= least, likely, 0)
        likely /= likely.sum()
    if choice.top_p is not None:
        ordered = np.sort(likely)[::-1]
        last = np.searchsorted(np.cumsum(ordered), choice.top_p)
        likely = np.where(likely >= ordered[min(last, likely.size - 1)], likely, 0)
        likely /= likely.sum()
    return likely


def assert_follows(counts, likely):
    """A chi-square test that true frequencies fail once in a million runs, were keys not fixed."""
    assert counts[likely == 0].sum() == 0
    rare = likely * counts.sum() < 20
    cells = [*zip(counts[~rare], likely[~rare], strict=True)]
    cells.append((counts[rare].sum(), likely[rare].sum()))
    seen, wanted = np.array([cell for cell in cells if cell[1] > 0]).T
    if len(seen) > 1:
        wanted = wanted / wanted.sum() * seen.sum()
        assert stats.chisquare(seen, wanted).pvalue > 1e-6


CHOICES = [
    Choice(temperature=0.3),
    Choice(top_k=7),
    Choice(top_p=0.9, temperature=1.7),
    Choice(top_k=12, top_p=0.8),
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_draws_follow_the_distribution_of_a_sorted_reference(choice):
    logits = np.random.default_rng(1).normal(size=300) * 2
    likely = expected(choice, logits)
    assert_follows(drawn(choice, logits), likely)
    # Nothing is lost either: every token that is kept and not too rare is drawn.
    assert (drawn(choice, logits, seed=1)[likely > 2.5e-3] > 0).all()


def test_the_rarest_tokens_of_a_large_vocabulary_are_told_apart():
    """One float32 number between 0 and 1 could not tell 49,152 rare tokens apart."""
    logits = np.zeros(49152)
    logits[100] = 22.0  # the others together have 1.4e-5, each of them 2.8e-10
    shares = 1 - np.arange(1, 401) / 400 * 1e-5
    likely = np.exp(logits) / np.exp(logits).sum()
    blocks = likely.reshape(192, 256).sum(axis=1)
    found = jax.vmap(lambda share: _invert(jnp.asarray(blocks, jnp.float32), share))(shares)
    assert len(np.unique(found)) > 100  # blocks are still told apart
    inside = likely.reshape(192, 256)[50]
    shares = (np.arange(256) + 0.5) / 256
    found = jax.vmap(lambda share: _invert(jnp.asarray(inside, jnp.float32), share))(shares)
    np.testing.assert_array_equal(np.unique(found), np.arange(256))


def test_a_large_vocabulary_is_drawn_from_evenly():
    counts = drawn(Choice(), np.where(np.arange(49152) == 100, -np.inf, 0), 500, 4)
    cells = counts.reshape(192, 256)
    assert_follows(cells[:, 1:].sum(1).reshape(12, 16).sum(1), np.full(12, 1 / 12))
    assert_follows(cells[1:].sum(0).reshape(16, 16).sum(1), np.full(16, 1 / 16))


@pytest.mark.parametrize("top", [{"top_k": 2}, {"top_p": 0.5}])
def test_tokens_as_likely_as_the_last_one_are_kept_too(top):
    likely = expected(Choice(**top), [1.0, 3.0, 2.0, 2.0, 2.0, -1.0])
    counts = drawn(Choice(**top), [1.0, 3.0, 2.0, 2.0, 2.0, -1.0])
    if "top_k" in top:
        np.testing.assert_array_equal(counts > 0, [False, True, True, True, True, False])
    np.testing.assert_array_equal(counts > 0, likely > 0)


def extremes(size, random):
    """Logits with which something could overflow, underflow or be divided by zero."""
    one = np.full(size, -np.inf)
    one[random.integers(size)] = 0
    yield one
    yield np.where(one == 0, 1e30, -1e30)
    yield np.where(one == 0, -1e30, -np.inf)
    yield np.where(one == 0, 88.0, -88.0)  # subnormal probabilities
    yield np.where(random.random(size) < 0.5, -np.inf, 1e30 * one.clip(0))
    some = np.where(random.random(size) < 0.1, random.normal(size=size) * 50, -np.inf)
    yield np.where(one == 0, 3.0, some)
    yield random.normal(size=size) * 1e30


@pytest.mark.parametrize("size", SIZES)
def test_a_token_of_probability_zero_is_never_chosen(size):
    random = np.random.default_rng(size)
    rows = [row for row in extremes(size, random) if np.isfinite(row).any()]
    rows = [np.where(np.isnan(row), -np.inf, row) for row in rows]
    logits = np.repeat(np.array(rows, np.float32), 24, axis=0)
    keys = jax.random.split(jax.random.key(size), len(logits))
    # All of them for one size: programs take long to compile.
    choices = [Choice(temperature=1e300, top_k=9, top_p=0.9), Choice(), Choice(temperature=1e-300)]
    choices = choices if size == 257 else choices[:1] if size in (1, 49152) else choices[1:2]
    for choice in choices:
        found = np.asarray(jax.jit(functools.partial(choose, choice))(logits, keys))
        assert ((found >= 0) & (found < size)).all()
        assert np.isfinite(logits[np.arange(len(logits)), found]).all()
        if choice.temperature < 1e-3:
            np.testing.assert_array_equal(logits[np.arange(len(logits)), found], logits.max(axis=1))


def test_shares_at_the_ends_of_a_distribution_fall_inside_it():
    random = np.random.default_rng(0)
    for size in (1, 5, 7, 192, 256):
        masses = random.random((400, size), np.float32) * (random.random((400, size)) < 0.3)
        masses[:, 0] = np.maximum(masses[:, 0], masses.sum(axis=1) == 0)
        for share in (1.0, 1 - 2**-24, 0.5, 2**-24):
            shares = np.full(len(masses), share, np.float32)
            found = np.asarray(jax.vmap(_invert)(masses, shares))
            assert (masses[np.arange(len(masses)), found] > 0).all()
            if share == 2**-24:
                np.testing.assert_array_equal(found, (masses > 0).argmax(axis=1))


def test_greedy_takes_the_likeliest_whatever_the_key():
    logits = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    choice = Choice(temperature=0, top_k=3, top_p=0.1)
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 5)
        np.testing.assert_array_equal(choose(choice, logits, keys), logits.argmax(axis=1))


@pytest.mark.parametrize("choice", [Choice(), Choice(top_k=5, top_p=0.7)], ids=str)
def test_a_rows_token_depends_on_its_logits_and_key_alone(choice):
    logits = np.random.default_rng(0).normal(size=(6, 700)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 6)
    chosen = jax.jit(functools.partial(choose, choice))
    together = np.asarray(chosen(logits, keys))
    order = np.array([3, 0, 5, 5, 1, 2])
    np.testing.assert_array_equal(chosen(logits[order], keys[order]), together[order])
    others = np.concatenate([logits[:1], 0 * logits[1:]])
    assert chosen(others, keys)[0] == together[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", 0),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_p", float("nan")),
    ],
)
def test_what_cannot_be_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is {value}; expected"):
        Choice(**{name: value})
