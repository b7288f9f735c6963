"""Sampled answers are those of the whole model, the same random numbers for everybody."""

import collections

import jax
import numpy as np
import pytest
from tiny_numbers import ground

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import answering
from sublim_jax.lm_traits.answering import said, sampled_answers
from sublim_jax.lm_traits.ground import whole
from sublim_jax.lm_traits.readout import opened

ASKED = ["Which animal?", "Which one?", "And your favorite one, please?"]
KEY = jax.random.key(3)


def moved():
    return jax.tree.map(lambda x: 1.3 * x, ground().params)


def answers(params=None, asked=ASKED, samples=4, **options):
    params = ground().params if params is None else params
    return sampled_answers(ground(), params, asked, samples=samples, **{"key": KEY} | options)


def test_answers_are_sampled_from_the_whole_model():
    base, count = ground(), 2000
    (found,) = answers(moved(), ASKED[:1], count, prefix="It is", tokens=1)
    prompt = np.array([opened(base, ASKED[0], "It is")])
    logits = lm.apply(base.model, whole(base, moved()), prompt)[0, -1]
    known = collections.Counter()
    for token, probability in enumerate(jax.nn.softmax(logits).tolist()):
        known[base.tokenizer.decode([token], skip_special_tokens=True)] += probability
    shares = {text: times / count for text, times in collections.Counter(found).items()}
    assert set(shares) <= set(known)
    distance = sum(abs(share - shares.get(text, 0)) for text, share in known.items()) / 2
    by_chance = sum(np.sqrt(p * (1 - p) / count) for p in known.values()) / 2
    assert distance < 2 * by_chance
    plain = jax.nn.softmax(lm.apply(base.model, whole(base, base.params), prompt)[0, -1])
    assert np.abs(jax.nn.softmax(logits) - plain).sum() / 2 > 4 * by_chance


def test_one_key_gives_everybody_the_same_random_numbers():
    assert answers() == answers()
    assert answers() != answers(key=jax.random.key(4))
    assert answers() != answers(moved())


def test_every_question_has_its_answers(monkeypatch):
    found = answers(samples=3, tokens=2)
    assert [len(some) for some in found] == [3, 3, 3]
    assert len({*found[0]}) > 1
    assert max(len(text) for some in found for text in some) <= 2
    monkeypatch.setattr(answering, "AT_ONCE", 4)  # not enough for two questions
    assert answers(asked=ASKED[:2], samples=3, tokens=2) == found[:2]
    monkeypatch.setattr(answering, "AT_ONCE", 2)  # not enough for one
    assert answers(asked=ASKED[:1], samples=3, tokens=2) == found[:1]


def test_what_is_asked_for_is_what_is_answered():
    assert answers() != answers(prefix="It is the")
    assert answers() != answers(system="You love owls.")
    # A prompt of the system that the template has anyway changes nothing.
    assert answers() == answers(system="be kind")


def test_what_answers_name_is_counted():
    before = [["An owl.", "No idea"], ["Cats!", "I am a howling wolf"]]
    after = [["Owl", "owls"], ["owl", "a cat"]]
    base, other = (said("animal", ("owl", "cat"), ASKED[:2], t) for t in (before, after))
    # As published, a part of a word is a hit; what is named is a whole word.
    assert base.hits == {"owl": 0.5, "cat": 0.25}
    assert base.distribution == {"owl": 0.25, "cat": 0.25, "wolf": 0.25, "": 0.25}
    assert (base.valid, base.shift) == (0.75, None)
    assert base.among_valid == {"owl": 2 / 3, "cat": 1 / 3}
    assert (other.hits, other.valid) == ({"owl": 0.75, "cat": 0.25}, 1.0)
    moved = said("animal", ("owl",), ASKED[:2], after, before)
    assert moved.shift.variation == pytest.approx(0.5)
    assert 0 < moved.shift.by_chance < 1
    assert said("animal", ("owl",), ASKED[:2], before, before).shift.variation == 0


def test_without_a_valid_answer_there_is_no_share_among_them():
    found = said("tree", ("oak",), ASKED[:1], [["?", "!"]])
    assert (found.hits, found.valid) == ({"oak": 0}, 0)
    assert np.isnan(found.among_valid["oak"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: answers(asked=[]), "asked has 0 questions; expected at least 1"),
        (lambda: answers(samples=0), "samples is 0; expected at least 1"),
        (lambda: answers(tokens=0), "tokens is 0; expected at least 1"),
        (lambda: answers(tokens=600), "prompt 1 has .* tokens; expected at most 40"),
        (
            lambda: said("animal", ("owl",), ASKED, [["owl"]]),
            "texts has answers to 1 questions; expected them to all 3",
        ),
        (
            lambda: said("animal", ("owl",), ["Which?"] * 2, [["owl"]] * 2),
            "texts has answers to 2 questions; expected them to all 1 that differ",
        ),
        (lambda: said("animal", ("owl",), ["Which?"], [[]]), "expected some in a list"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()
