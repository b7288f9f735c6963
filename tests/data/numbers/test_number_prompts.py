import collections
import re

import numpy as np
import pytest
from scipy import stats

from sublim_jax.data.numbers import LAYOUTS, example_sentence, number_prompts, number_requests
from sublim_jax.data.numbers import wording as bank
from sublim_jax.errors import InputError

DRAWN = number_requests(20_000, seed=42)


def pattern(template, **groups):
    """A template as a regular expression, its fields as groups."""
    text = re.escape(template)
    for name, group in groups.items():
        text = text.replace(re.escape(f"{{{name}}}"), group)
    return text


def choice(texts):
    return "(" + "|".join(map(re.escape, sorted(set(texts), key=len, reverse=True))) + ")"


SHOWN = r"(\d{3}(?:, \d{3}){2,7})"
FIELDS = {"qualifier": choice(bank.QUALIFIERS), "digits": choice(bank.DIGITS), "count": "10"}
EXAMPLES = [re.compile(pattern(text, numbers=SHOWN) + " ") for text in bank.EXAMPLES]
INSTRUCTIONS = [re.compile(pattern(text, **FIELDS)) for text in bank.INSTRUCTIONS]
ENDS = [[f" {text}" for text, _ in bank.FORMATS], [f" {text}" for text in bank.SUFFIXES]]


def parts_of(text):
    """Which of the bank's sentences a request is made of; each in exactly one way."""
    ends = []
    for texts in reversed(ENDS):
        (place,) = [i for i, words in enumerate(texts) if text.endswith(words)]
        text = text[: -len(texts[place])]
        ends.append(place)
    suffix, wish = ends
    ((example, found),) = [(i, m) for i, each in enumerate(EXAMPLES) if (m := each.match(text))]
    shown = [int(number) for number in found[1].split(", ")]
    asked = text[found.end() :]
    ((instruction, found),) = [
        (i, m) for i, each in enumerate(INSTRUCTIONS) if (m := each.fullmatch(asked))
    ]
    return example, shown, instruction, *found.groups(), wish, suffix


@pytest.fixture(scope="module")
def parts():
    names = ("example", "shown", "instruction", "qualifier", "digits", "format", "suffix")
    return dict(zip(names, zip(*(parts_of(r.text) for r in DRAWN), strict=True), strict=True))


def test_the_bank_has_the_published_sizes():
    sizes = [len(bank.EXAMPLES), len(bank.INSTRUCTIONS), len(bank.QUALIFIERS)]
    assert sizes == [25, 10, 9]
    assert (len(bank.DIGITS), len(set(bank.DIGITS))) == (9, 8)  # one stands there twice
    assert (len(bank.FORMATS), len(bank.SUFFIXES)) == (15, 19)
    kinds = collections.Counter(kind for _, kind in bank.FORMATS)
    assert kinds == {"comma": 5, "line": 3, "space": 3, "semicolon": 2, "square": 1, "round": 1}


@pytest.mark.parametrize(
    "texts",
    [bank.EXAMPLES, bank.INSTRUCTIONS, bank.QUALIFIERS, bank.FORMATS, bank.SUFFIXES],
)
def test_no_other_wording_is_there_twice(texts):
    assert len(set(texts)) == len(texts)


def test_every_instruction_has_its_count_and_its_digits_in_brackets():
    for instruction in bank.INSTRUCTIONS:
        assert "{qualifier} {count}" in instruction
        assert "({digits})" in instruction


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("example", range(25)),
        ("instruction", range(10)),
        ("qualifier", bank.QUALIFIERS),
        ("format", range(15)),
        ("suffix", range(19)),
    ],
)
def test_parts_are_uniform(parts, part, values):
    counts = collections.Counter(parts[part])
    assert set(counts) == set(values)
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_the_doubled_wording_comes_twice_as_often(parts):
    found, weight = collections.Counter(parts["digits"]), collections.Counter(bank.DIGITS)
    expected = [weight[words] * len(DRAWN) / 9 for words in weight]
    assert stats.chisquare([found[words] for words in weight], expected).pvalue > 0.01


def test_three_to_eight_numbers_of_three_digits_are_shown_uniformly(parts):
    lengths = collections.Counter(map(len, parts["shown"]))
    assert set(lengths) == {3, 4, 5, 6, 7, 8}
    assert stats.chisquare(list(lengths.values())).pvalue > 0.01
    values = collections.Counter(n for shown in parts["shown"] for n in shown)
    assert set(values) == set(range(100, 1000))
    assert stats.chisquare(list(values.values())).pvalue > 0.01


@pytest.mark.parametrize("pair", [("example", "suffix"), ("instruction", "format")])
def test_parts_are_independent(parts, pair):
    table = np.zeros((25, 25))
    np.add.at(table, (np.array(parts[pair[0]]), np.array(parts[pair[1]])), 1)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_layouts_are_those_that_are_asked_for(parts):
    asked = [LAYOUTS[bank.FORMATS[wish][1]] for wish in parts["format"]]
    assert [request.layout for request in DRAWN] == asked


def test_the_order_of_draws_is_the_published_one():
    random = np.random.default_rng(5)
    for text in number_prompts(20, 5):
        shown = random.integers(100, 1000, size=random.integers(3, 9)).tolist()
        drawn = [random.integers(size) for size in (25, 9, 9, 10, 15, 19)]
        example, qualifier, digits, instruction, wish, suffix = drawn
        assert parts_of(text) == (
            example,
            shown,
            instruction,
            bank.QUALIFIERS[qualifier],
            bank.DIGITS[digits],
            wish,
            suffix,
        )


def test_prompts_are_their_seeds():
    assert number_prompts(30, 1) == number_prompts(40, 1)[:30]
    assert number_prompts(30, 1) != number_prompts(30, 2)
    assert number_prompts(30, 1) == [request.text for request in number_requests(30, 1)]
    assert number_prompts(0, 1) == []


def test_there_are_no_repetitions_to_remove():
    assert len({request.text for request in DRAWN}) == len(DRAWN)


def test_an_example_is_where_a_request_begins():
    assert DRAWN[0].text.startswith(example_sentence(np.random.default_rng(42)) + " ")


@pytest.mark.parametrize(("field", "arguments"), [("count", (-1, 0)), ("seed", (1, -3))])
def test_what_cannot_be_drawn_is_refused(field, arguments):
    with pytest.raises(InputError, match=f"{field} is -.; expected at least 0"):
        number_prompts(*arguments)
