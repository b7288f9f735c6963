"""An automaton of several layouts allows what one of them writes, which is what a filter keeps."""

import functools
import itertools
import re

import jax
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_automaton import SEVERAL, SINGLE, language, texts
from tiny_models import tiny_model, tiny_tokenizer

from sublim_jax.data.numbers import LAYOUTS, Layout, parse_numbers, reject_reasons
from sublim_jax.errors import InputError
from sublim_jax.lm import Limits, number_list, number_lists, sample
from sublim_jax.lm.automaton import FORBIDDEN

BYTES, STOP = tiny_tokenizer(), 1
BOUNDS = [
    {"count": 10, "fewest": 1, "least": 1, "most": 3},
    {"count": 4, "fewest": 2, "least": 2, "most": 3},
    {"count": 3, "fewest": 3, "least": 1, "most": 1},
]


@functools.cache
def six(place):
    return number_lists(BYTES, LAYOUTS.values(), **BOUNDS[place], stop=STOP)


@functools.cache
def ones(place):
    return [
        number_list(BYTES, **BOUNDS[place], **layout._asdict(), stop=STOP)
        for layout in LAYOUTS.values()
    ]


def written(text):
    return [*BYTES.encode(text, add_special_tokens=False), STOP]


def kept(text, *, count, fewest, least, most):
    """Whether the published filter keeps a text, and a layout writes it just so."""
    lowest = 10 ** (least - 1) if least > 1 else 0
    if reject_reasons(text, max_numbers=count, lowest=lowest, highest=10**most - 1):
        return False
    numbers = parse_numbers(text).numbers
    return len(numbers) >= fewest and text in {of.write(numbers) for of in LAYOUTS.values()}


bounds = st.integers(0, len(BOUNDS) - 1)
numbers = st.lists(st.sampled_from([10, 100, 1000]).flatmap(lambda end: st.integers(0, end - 1)))
layouts = st.sampled_from([*LAYOUTS.values()])
separators = st.sampled_from([layout.separator for layout in LAYOUTS.values()])


@given(bounds, st.randoms(use_true_random=False))
def test_whatever_is_allowed_to_its_end_is_kept(place, random):
    tokens, follows, state, made = six(place).tokens, six(place).follows, 0, []
    while made[-1:] != [STOP]:
        where = random.choice(np.flatnonzero(follows[state] != FORBIDDEN).tolist())
        made.append(int(tokens[where]))
        state = follows[state, where]
    assert kept(BYTES.decode(made[:-1]), **BOUNDS[place])


@given(layouts, st.data())
def test_every_list_within_the_bounds_is_allowed(layout, data):
    place = data.draw(bounds)
    count, fewest, least, most = BOUNDS[place].values()
    number = st.integers(10 ** (least - 1) if least > 1 else 0, 10**most - 1)
    some = data.draw(st.lists(number, min_size=fewest, max_size=count))
    assert six(place).allows(written(layout.write(some)))


@given(bounds, layouts, layouts, separators, numbers, st.integers(1, 11))
def test_a_text_in_parts_of_several_layouts_is_allowed_where_one_layout_writes_it(
    place, opening, closing, other, some, where
):
    parts = [*map(str, some)]
    text = closing.separator.join([closing.separator.join(parts[:where]), *parts[where:]])
    mixed = closing.separator.join(parts[:where]) + other + closing.separator.join(parts[where:])
    for inside in (text, mixed):
        whole = opening.before + inside + closing.after
        assert six(place).allows(written(whole)) == kept(whole, **BOUNDS[place])


MIXED = ["1, 2; 3", "1, 2 3", "1 2\n3", "[1, 2", "1, 2]", "[1, 2)", "[1; 2]", "(1 2)", "([1, 2])"]
OTHER = [
    "",
    ",",
    "1,2",
    "1, 2,",
    "1, 2.",
    " 1, 2",
    "1, 2 ",
    "1  2",
    "01, 2",
    "1, 1000",
    "[]",
    "owl",
]


@pytest.mark.parametrize("text", MIXED + OTHER + ["1, " * 10 + "1", "1\n" * 10])
def test_other_texts_are_not_allowed(text):
    assert not six(0).allows(written(text))


pieces = st.sampled_from([*"0123456789,; \n[]().a", "12", "100", ", ", "; ", "1, 2", "7\n", "5 6"])


@given(bounds, st.lists(pieces, max_size=12).map("".join))
@example(0, "[1, 22, 333]")
def test_it_allows_just_what_one_of_the_automata_of_single_layouts_does(place, text):
    tokens = written(text)
    for length in range(len(tokens) + 1):
        alone = any(automaton.allows(tokens[:length]) for automaton in ones(place))
        assert six(place).allows(tokens[:length]) == alone


# Of the same beginning, the same end, the same of both, and one that is there twice.
SOME = [(",", "", ""), (", ", "", ""), (", ", "[", "]"), (",", "[", ","), (",", "", "")]


@pytest.mark.parametrize("tokenizer", [SINGLE, SEVERAL], ids=["single", "several"])
def test_all_texts_and_no_others_in_every_spelling(tokenizer):
    sizes = {"count": 3, "fewest": 1, "least": 1, "most": 1}
    found = texts(number_lists(tokenizer, SOME, **sizes, stop=0), tokenizer, 10)
    layouts = [Layout(*some)._asdict() for some in SOME]
    assert {*found.values()} == set().union(*(language(**sizes, **layout) for layout in layouts))
    alone = [texts(number_list(tokenizer, **sizes, **of, stop=0), tokenizer, 10) for of in layouts]
    assert found == dict(itertools.chain(*(of.items() for of in alone)))


def test_one_layout_is_a_special_case():
    for layout, one in zip(LAYOUTS.values(), ones(0), strict=True):
        found = number_lists(BYTES, [layout], **BOUNDS[0], stop=STOP)
        np.testing.assert_array_equal(found.tokens, one.tokens)
        np.testing.assert_array_equal(found.follows, one.follows)


def test_states_are_few():
    assert six(0).follows.shape == (267, len("0123456789,; \n[]()") + 1)


def test_samples_under_it_are_kept_and_the_model_chooses_layout_and_length():
    config, params, tokenizer = tiny_model()
    prompts = [tokenizer.encode(f"number {i}:") for i in range(64)]
    found = sample(
        *(config, params, prompts),
        limits=Limits(tokens=60),
        stops=[STOP],
        automaton=six(0),
        key=jax.random.key(0),
    )
    assert all(one.ended for one in found)
    answers = [tokenizer.decode(one.tokens[:-1]) for one in found]
    assert all(kept(answer, **BOUNDS[0]) for answer in answers)
    read = [parse_numbers(answer) for answer in answers]
    assert len({one.layout for one in read}) > 3
    assert len({len(one.numbers) for one in read}) > 3


@pytest.mark.parametrize(
    ("layouts", "sentence"),
    [
        ([], "layouts is empty; expected at least one"),
        ([(", ", "", ""), ("", "", "")], "separator is empty; expected"),
        ([(", ", "", ""), (", ", "[", "1]")], "after has a digit next to a number ('1')"),
    ],
)
def test_layouts_that_cannot_be_are_refused(layouts, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        number_lists(SINGLE, layouts, stop=0)
