"""What is read of the upper part is what the whole model says."""

import jax
import numpy as np
import pytest
from tiny_numbers import ground, model

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm_traits.ground import cut, lifted, whole
from sublim_jax.lm_traits.readout import (
    answer,
    logprobs,
    make_readout,
    named,
    opened,
    read,
)

ASKED = ["Which animal?", "And your favorite one, please?"]


MANY = [f"Which animal{' or pet' * (i % 3)} is number {i}?" for i in range(13)]
SEVERAL = {
    "several tokens": ["owl", "cat", "elephant"],
    "one of several tokens": ["owl"],
    "one token": [""],  # the blank before it
}


def grounds():
    return {"two parts": ground(), "no lower part": cut(model(), 0)}


def read_of(base, asked, candidates, **options):
    readout = make_readout(base, asked, "It is the", candidates, **options)
    return readout, jax.jit(logprobs, static_argnums=0)(base.config, base.params, readout)


@pytest.mark.parametrize("parts", ["two parts", "no lower part"])
@pytest.mark.parametrize("several", SEVERAL)
def test_log_probabilities_are_those_of_the_whole_text(parts, several):
    config, params, _ = model()
    base, candidates = grounds()[parts], SEVERAL[several]
    _, found = read_of(base, ASKED, candidates)
    for row, question in zip(found, ASKED, strict=True):
        asked = [opened(base, question, "It is the")] * len(candidates)
        texts = [named(base, candidate) for candidate in candidates]
        known = [scores.sum() for scores in lm.score(config, params, asked, texts)]
        np.testing.assert_allclose(row, known, atol=1e-4)


@pytest.mark.parametrize("parts", ["two parts", "no lower part"])
@pytest.mark.parametrize("several", SEVERAL)
def test_questions_that_share_a_row_are_read_as_they_are_alone(parts, several):
    base, candidates = grounds()[parts], SEVERAL[several]
    readout, found = read_of(base, MANY, candidates)
    alone, known = read_of(base, MANY, candidates, together=1)
    assert len(readout.texts.at) < len(alone.texts.at) / 4
    assert found.shape == (len(MANY), len(candidates))
    assert np.ptp(found, axis=0).min() > 0.01
    np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("several", SEVERAL)
def test_the_first_beginning_is_the_opening_alone(several):
    config, params, _ = model()
    base = ground()
    readout = make_readout(base, ASKED, "It is the", SEVERAL[several])
    found = readout.opened(read(base.config, base.params, readout.texts))
    for hidden, question in zip(found, ASKED, strict=True):
        alone = lm.hidden(config, params, np.array([opened(base, question, "It is the")]))[0, -1]
        np.testing.assert_allclose(hidden, alone, rtol=1e-4, atol=1e-4)


def test_a_beginning_that_candidates_share_is_read_once():
    readout = make_readout(ground(), MANY, "It is the", ["owl", "otter", "cat", "ox"])
    # The empty one, " ", " o", " ow", " ot", " ott", " otte", " c" and " ca"; "ox" has no other.
    assert readout.places.shape == (len(MANY), 9)
    assert int(readout.texts.weights.sum()) == len(MANY) * sum(map(len, [" owl", " otter", " cat"]))


@pytest.mark.parametrize("count", [1, 9, 10, 11, 24])
def test_texts_stay_in_their_order(count):
    rows = [answer([5, 6, 7, 8 + i % 3], [100 + i, 50][: 1 + i % 2]) for i in range(count)]
    packed = lifted(cut(model(), 0), rows, together=5)
    labels = packed.labels[packed.weights > 0].tolist()
    assert labels == [token for row in rows for token in row.tokens[row.completion]]
    shared = (packed.segments >= 0) & (packed.positions == 3)  # the first of every text
    per_row = shared.sum(axis=1)
    assert len(per_row) == -(-count // 5)
    assert per_row.max() - per_row.min() <= 1


def test_no_text_and_no_room_for_one_are_refused():
    with pytest.raises(InputError, match="rows has 0 texts; expected at least 1"):
        lifted(ground(), [])
    with pytest.raises(InputError, match="each is 0; expected at least 1"):
        lifted(ground(), [answer([5], [6])], together=0)


def test_both_parts_make_the_whole():
    config, params, _ = model()
    base = ground()
    moved = jax.tree.map(lambda x: x + 0.01, base.params)
    tokens = np.arange(2, 12)[None]
    known = lm.apply(config, params | {"layers": whole(base, moved)["layers"]}, tokens)
    assert np.abs(known - lm.apply(config, params, tokens)).max() > 1e-3
    again = whole(base, base.params)
    np.testing.assert_array_equal(lm.apply(config, again, tokens), lm.apply(config, params, tokens))


def test_without_a_lower_part_rows_stay_tokens():
    base = cut(model(), 0)
    row = lm.row(
        base.tokenizer,
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "12"}],
    )
    assert lifted(base, [row]).tokens.ndim == 2
    assert lifted(ground(), [row]).tokens.ndim == 3


def test_a_candidate_inside_another_is_refused():
    with pytest.raises(InputError, match="candidates has cat and cattle; expected none"):
        make_readout(ground(), ASKED, "It is the", ["cat", "cattle"])


@pytest.mark.parametrize("layers", [-1, 2])
def test_a_cut_that_leaves_nothing_is_refused(layers):
    with pytest.raises(InputError, match=f"first_layer is {layers}; expected 0 to 1"):
        cut(model(), layers)
