"""Automata over tokens allow exactly the texts of a layout, in every spelling."""

import itertools
import re

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from sublim_jax.errors import InputError
from sublim_jax.lm.automaton import END, FORBIDDEN, lifted, number_list, spellings

DIGITS, FINAL = "0123456789", "<end>"


def tokenizer_of(*words, decoder=None):
    """A tokenizer with these tokens, after ``<end>``, which is token 0."""
    vocabulary = {word: place for place, word in enumerate([FINAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=FINAL))
    tokenizer.decoder = decoder or decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=FINAL)


SINGLE = tokenizer_of(*DIGITS, *",; [].", "a", "owl")
SEVERAL = tokenizer_of(
    *DIGITS, *",; [].", "12", "00", "123", ", ", " 1", "1,", "2; 3", "a1", "1234"
)


def texts(automaton, tokenizer, length):
    """All sequences of at most so many tokens that end with the end, and what they write."""
    found, open_ones = {}, [((), 0)]
    while open_ones:
        sequence, state = open_ones.pop()
        for token, after in zip(automaton.tokens.tolist(), automaton.follows[state], strict=True):
            if after == FORBIDDEN:
                continue
            longer = (*sequence, token)
            if token == 0:
                raws = tokenizer.convert_ids_to_tokens(list(sequence))
                found[longer] = "".join(raws)
            elif len(longer) < length:
                open_ones.append((longer, after))
    return found


def language(*, count, least, most, separator, before="", after="", fewest=None):
    """All texts of a layout."""
    numbers = [str(number) for number in range(10**most)]
    numbers = [number for number in numbers if least <= len(number)]
    counts = range(fewest or count, count + 1)
    lists = [some for n in counts for some in itertools.product(numbers, repeat=n)]
    return {before + separator.join(some) + after for some in lists}


LAYOUTS = [
    {"count": 1, "least": 1, "most": 1, "separator": ","},
    {"count": 1, "least": 1, "most": 3, "separator": ","},
    {"count": 1, "least": 3, "most": 3, "separator": ","},
    {"count": 2, "least": 1, "most": 1, "separator": "; "},
    {"count": 3, "least": 1, "most": 1, "separator": ",", "before": "["},
    {"count": 2, "least": 1, "most": 2, "separator": ",", "after": "."},
    {"count": 1, "least": 2, "most": 2, "separator": ",", "before": "[", "after": "]."},
    {"count": 2, "fewest": 1, "least": 1, "most": 2, "separator": "; "},
    {"count": 3, "fewest": 2, "least": 1, "most": 1, "separator": ",", "after": "."},
    # A text that may end and one that may go on look the same for a while.
    {"count": 2, "fewest": 1, "least": 1, "most": 1, "separator": ", ", "after": ",."},
    {"count": 2, "fewest": 1, "least": 2, "most": 2, "separator": ",", "after": ","},
]


@pytest.mark.parametrize("given", LAYOUTS, ids=str)
def test_the_texts_are_those_of_the_layout(given):
    found = [*texts(number_list(SINGLE, **given, stop=0), SINGLE, 9).values()]
    assert sorted(found) == sorted(language(**given))  # each in one spelling


def test_no_more_states_than_there_are_ways_to_go_on():
    # Before a number, after one digit, two and three (or a 0), after a comma: 5 for each number
    # but the last, whose comma is the end.
    assert len(number_list(SINGLE, stop=0).follows) == 50
    assert len(number_list(SINGLE, fewest=1, stop=0).follows) == 50


@pytest.mark.parametrize("given", LAYOUTS, ids=str)
def test_every_spelling_is_allowed_where_tokens_write_several_characters(given):
    found = texts(number_list(SEVERAL, **given, stop=0), SEVERAL, 9)
    assert {*found.values()} == language(**given)
    raws = dict(enumerate(SEVERAL.convert_ids_to_tokens(range(len(SEVERAL)))))

    def ways(text):
        if not text:
            return 1
        return sum(ways(text[len(raw) :]) for i, raw in raws.items() if i and text.startswith(raw))

    assert len(found) == sum(map(ways, language(**given)))


def test_a_text_and_its_beginnings_are_allowed_and_no_others():
    automaton = number_list(SINGLE, count=2, most=2, separator=", ", stop=0)
    spelt = SINGLE.convert_tokens_to_ids
    whole = [*spelt([*"10, 7"]), 0]
    assert all(automaton.allows(whole[:length]) for length in range(len(whole) + 1))
    for other in ("10,7", "01, 7", "100", "10, 7,", ",", "owl", "10, 7, 7"):
        assert not automaton.allows(spelt([other] if other == "owl" else [*other]))
    assert not automaton.allows([*whole, 0])
    assert not automaton.allows([*spelt([*"10"]), 0])


def test_only_tokens_that_are_ever_allowed_are_listed():
    automaton = number_list(SEVERAL, count=2, most=2, stop=0)
    written = SEVERAL.convert_ids_to_tokens(automaton.tokens.tolist())
    assert {*written} == {*DIGITS, *", ", "12", ", ", " 1", "1,", FINAL}
    assert automaton.follows.shape[1] == len(automaton.tokens)
    assert (automaton.follows < len(automaton.follows)).all()


def test_blanks_are_not_lost_where_a_decoder_takes_them_from_the_beginning():
    decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = tokenizer_of(*DIGITS, ",", "▁", "▁7", "▁▁", decoder=decoder)
    found = spellings(tokenizer, {*DIGITS, ",", " ", END})
    names = {tokenizer.convert_ids_to_tokens(token): text for token, text in found.items()}
    assert names == {**{c: c for c in DIGITS}, ",": ",", "▁": " ", "▁7": " 7", "▁▁": "  "}
    automaton = number_list(tokenizer, count=2, most=1, stop=0)
    assert automaton.allows([*tokenizer.convert_tokens_to_ids(["1", ",", "▁7"]), 0])


def test_an_automaton_of_ones_own():
    states = [{"a": 1, "o": 2}, {END: 4}, {"w": 3}, {"l": 1}, {}]
    automaton = lifted(states, {13: "a", 5: "o", 6: "ow", 7: "wl", 8: "l", 9: "b"}, stop=0)
    assert {*automaton.tokens.tolist()} == {13, 5, 6, 7, 8, 0}
    assert automaton.allows([6, 8, 0])
    assert automaton.allows([5, 7, 0])
    assert not automaton.allows([6, 7])
    assert not automaton.allows([9])
    np.testing.assert_array_equal(automaton.follows[4], FORBIDDEN)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"count": 0}, "count is 0; expected at least 1"),
        ({"fewest": 0}, "fewest is 0; expected 1 to 10, which is count"),
        ({"count": 3, "fewest": 4}, "fewest is 4; expected 1 to 3, which is count"),
        ({"least": 0}, "least is 0 and most is 3; expected 1 <= least <= most"),
        ({"least": 4}, "least is 4 and most is 3; expected"),
        ({"separator": ""}, "separator is empty; expected"),
        ({"separator": "1,"}, "separator has a digit next to a number ('1,'); expected none"),
        ({"separator": ", 1"}, "separator has a digit"),
        ({"before": "no. 1"}, "before has a digit next to a number ('1')"),
        ({"after": "0."}, "after has a digit next to a number ('0')"),
        ({"separator": "|"}, "the tokenizer has no token for '|'; expected one"),
    ],
)
def test_what_cannot_be_is_refused(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        number_list(SINGLE, **given, stop=0)
