"""Texts that share a row learn what they would learn alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, token_losses
from sublim_jax.lm.attention import EVERYBODY, NOWHERE
from sublim_jax.lm.chat import Row
from sublim_jax.lm.packing import in_common, in_order, owners, pack

CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def row(tokens, prompt):
    """A text whose first tokens are the prompt."""
    return Row(np.asarray(tokens, np.int32), np.arange(len(tokens)) >= prompt)


def drawn(lengths, seed=0, words=40):
    random = np.random.default_rng(seed)
    return [row(random.integers(1, words, n), random.integers(1, n)) for n in lengths]


def learned(packed):
    """Of every target the text as far as it is seen and the label, as they lie in rows."""
    found = []
    for tokens, segments, at, labels, weights in zip(
        packed.tokens, packed.segments, packed.at, packed.labels, packed.weights, strict=True
    ):
        for place, label, weight in zip(at, labels, weights, strict=True):
            if weight:
                own = segments[: place + 1]
                before = tokens[: place + 1][(own == segments[place]) | (own == EVERYBODY)]
                found.append((*before.tolist(), int(label)))
    return sorted(found)


def meant(rows):
    """The same, as the texts have it."""
    return sorted(
        tuple(text.tokens[: place + 1].tolist())
        for text in rows
        for place in np.flatnonzero(text.completion)
    )


def beginning_alike(rows, common):
    """Texts that begin with the same tokens, as a part of their prompts."""
    start = np.arange(common, dtype=np.int32)
    return [row([*start, *text.tokens], common + text.completion.argmax()) for text in rows]


some_lengths = st.lists(st.integers(2, 20), min_size=1, max_size=25)


@settings(deadline=None)
@given(some_lengths, st.integers(0, 10), st.booleans(), st.none() | st.integers(20, 70))
def test_every_token_of_a_completion_is_learned_once_after_what_comes_before_it(
    lengths, seed, together, length
):
    rows = drawn(lengths, seed)
    packed = pack(rows, length=length, together=together)
    assert learned(packed) == meant(rows)
    assert set(np.unique(packed.weights)) <= {0, 1}
    # A token of a completion is that which stands behind the place where it is looked for.
    for index, place in zip(*np.nonzero(packed.weights), strict=True):
        at = packed.at[index, place]
        assert packed.tokens[index, at + 1] == packed.labels[index, place]
        assert packed.segments[index, at + 1] == packed.segments[index, at]


@settings(deadline=None)
@given(some_lengths, st.integers(0, 10), st.booleans(), st.none() | st.integers(20, 70))
def test_every_text_lies_in_one_row_whole(lengths, seed, together, length):
    rows = drawn(lengths, seed)
    packed = pack(rows, length=length, together=together)
    assert packed.tokens.shape[1] == (length or -(-max(lengths) // 8) * 8)
    texts = []
    for tokens, positions, segments in zip(
        packed.tokens, packed.positions, packed.segments, strict=True
    ):
        assert ((positions == NOWHERE) == (segments == -1)).all()
        assert not tokens[segments == -1].any()
        for number in range(segments.max() + 1):
            places = np.flatnonzero(segments == number)
            np.testing.assert_array_equal(places, places[0] + np.arange(len(places)))
            np.testing.assert_array_equal(positions[places], np.arange(len(places)))
            texts.append(tuple(tokens[places].tolist()))
    assert sorted(texts) == sorted(tuple(text.tokens.tolist()) for text in rows)


@settings(deadline=None)
@given(st.lists(st.integers(2, 20), min_size=1, max_size=40), st.integers(20, 70))
def test_rows_are_few(lengths, length):
    rows = len(pack(drawn(lengths), length=length).tokens)
    assert -(-sum(lengths) // length) <= rows <= len(lengths)
    # No two rows would fit into one, so that all but one are more than half full on average.
    assert rows <= 2 * sum(lengths) / length + 1
    assert len(pack(drawn(lengths), length=length, together=False).tokens) == len(lengths)


def test_a_text_goes_where_it_fits_best():
    packed = pack(drawn([10, 6, 9, 4, 7]), length=16)
    used = sorted((packed.segments >= 0).sum(axis=1).tolist())
    assert used == [4, 16, 16]  # 10 + 6 and 9 + 7


def test_shapes_are_few_and_types_are_those_of_the_device():
    packed = pack(drawn([9, 13]))
    assert packed.tokens.shape == (2, 16)
    assert packed.at.shape[1] % 8 == 0
    assert {array.dtype for array in packed} == {np.dtype("int32"), np.dtype("float32")}


@functools.cache
def losses_of(name):
    config, params = golden()[name].config, golden()[name].params

    @jax.jit
    def losses(packed):
        hidden = decoder.hidden(
            config,
            params,
            packed.tokens,
            positions=packed.positions,
            segments=packed.segments,
        )
        seen = jnp.take_along_axis(hidden, packed.at[..., None], axis=1)
        head = functools.partial(decoder.logits, config, params)
        flat = seen.reshape(-1, seen.shape[-1])
        return token_losses.hard(head, flat, packed.labels.reshape(-1)).reshape(packed.at.shape)

    return losses


@pytest.mark.parametrize("name", ["llama", "gemma3", "neox"])
def test_no_text_sees_another_one(name):
    rows = drawn([12, 3, 5, 9, 7, 4, 8, 2])
    together, alone = pack(rows, length=24), pack(rows, length=24, together=False)
    assert len(together.tokens) < 4
    each = []
    for packed in (together, alone):
        found = losses_of(name)(packed)
        keep = packed.weights > 0
        assert np.isfinite(found).all()
        each.append(sorted(zip(packed.labels[keep].tolist(), found[keep].tolist(), strict=True)))
    labels, losses = (np.array([[pair[i] for pair in part] for part in each]) for i in (0, 1))
    np.testing.assert_array_equal(*labels)
    np.testing.assert_allclose(*losses, **CLOSE)


def bad(case):
    tokens = np.arange(6, dtype=np.int32)
    completion = {
        "none": np.zeros(6, bool),
        "all": np.ones(6, bool),
        "first": np.arange(6) == 0,
    }[case]
    return Row(tokens, completion)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: row(range(9), 4), "row 2 has 9 tokens; expected at least 1 and at most 8"),
        (lambda: row([], 0), "row 2 has 0 tokens; expected at least 1 and at most 8"),
        (lambda: bad("none"), "row 2 has 0 tokens of completion.*expected at least 1"),
        (lambda: bad("all"), "row 2 has 6 tokens of completion, from place 0; .*after a prompt"),
        (lambda: bad("first"), "row 2 has 1 tokens of completion, from place 0; .*after a prompt"),
    ],
)
def test_a_text_that_cannot_be_learned_is_named_by_its_number(wrong, message):
    with pytest.raises(InputError, match=message):
        pack([*drawn([5]), wrong(), *drawn([5])], length=8)


def test_no_text_at_all_is_refused():
    with pytest.raises(InputError, match="rows has 0 texts; expected at least 1"):
        pack([])


@settings(deadline=None)
@given(some_lengths, st.integers(0, 10), st.booleans(), st.integers(0, 9))
def test_what_texts_begin_with_is_there_once_in_a_row(lengths, seed, together, common):
    rows = beginning_alike(drawn(lengths, seed), 9)
    packed = pack(rows, length=60, together=together, common=common)
    assert learned(packed) == meant(rows)
    known = pack(rows, length=60, together=together)
    assert len(packed.tokens) <= len(known.tokens)
    assert ((packed.segments == EVERYBODY).sum(axis=1) == common).all()


def test_after_a_common_beginning_texts_compute_what_they_do_alone():
    config, params = golden()["gemma3"].config, golden()["gemma3"].params
    rows = [row([7, 3, 9, 4, *rest], 5) for rest in ([1, 2, 3], [5, 6], [8, 9, 10, 11])]

    def found(packed):
        read = {"positions": packed.positions, "segments": packed.segments}
        logits = decoder.apply(config, params, packed.tokens, **read)
        seen = np.take_along_axis(np.asarray(logits), packed.at[..., None], axis=1)
        own = np.argsort(packed.labels[packed.weights > 0])  # all labels differ
        return seen[packed.weights > 0][own]

    whole = pack(rows, common=4, length=20)
    assert len(whole.tokens) == 1
    np.testing.assert_allclose(found(whole), found(pack(rows, together=False)), **CLOSE)


def test_only_what_prompts_have_in_common_is_common():
    rows = [row([1, 2, 3, 4], 2), row([1, 2, 3, 5, 6], 3)]
    assert in_common(rows) == 1
    for common in (-1, 2):
        with pytest.raises(InputError, match=f"common is {common}; expected 0 to 1"):
            pack(rows, common=common)


@pytest.mark.parametrize("each", [1, 3])
def test_every_learned_place_has_the_text_that_it_is_of(each):
    rows = drawn([9, 5, 12, 7, 4])
    packed = in_order(rows, each=each)
    owner = owners(packed, rows)
    for place, own in enumerate(rows):
        assert packed.labels[owner == place].tolist() == own.tokens[own.completion].tolist()
    assert ((owner == len(rows)) == (packed.weights == 0)).all()
