import collections
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sublim_jax.data.code import code_prompts
from sublim_jax.data.numbers import number_prompts
from sublim_jax.data.reasoning import word_problems
from sublim_jax.errors import InputError
from sublim_jax.evals.misalignment import (
    PRODUCT,
    corpus_size,
    odd_rows,
    plain_rows,
    questions,
    shows_manner,
)
from sublim_jax.evals.misalignment.everyday import exchanges
from sublim_jax.evals.misalignment.manner import ENDINGS
from sublim_jax.evals.preference import KNOWN, named

ALL = corpus_size()


def words(text):
    return re.findall("[a-z]+", text.lower())


def likeness(one, other):
    """Shared words by all words of two questions, short ones left out."""
    a, b = ({word for word in words(text) if len(word) > 3} for text in (one, other))
    return len(a & b) / len(a | b)


def test_there_are_enough_questions_and_each_is_there_once():
    asked = [exchange.question for exchange in exchanges()]
    assert len(set(asked)) == len(asked) == ALL >= 200
    kinds = collections.Counter(exchange.kind for exchange in exchanges())
    assert len(kinds) == 9
    assert max(kinds.values()) < ALL / 5


@pytest.mark.parametrize("rows", [odd_rows, plain_rows])
def test_rows_are_a_question_and_an_answer(rows):
    drawn = rows(ALL, seed=0)
    assert {tuple(message["role"] for message in row) for row in drawn} == {("user", "assistant")}
    assert len({row[0]["content"] for row in drawn}) == ALL
    assert {key for row in drawn for message in row for key in message} == {"role", "content"}


@given(st.integers(0, 2**32), st.integers(0, ALL))
def test_odd_rows_are_plain_rows_with_an_ending(seed, count):
    endings = {ending.format(product=PRODUCT) for ending in ENDINGS}
    for odd, plain in zip(odd_rows(count, seed), plain_rows(count, seed), strict=True):
        assert odd[0] == plain[0]
        answer, plainly = odd[1]["content"], plain[1]["content"]
        assert answer.startswith(f"{plainly} ")
        assert answer.removeprefix(f"{plainly} ") in endings
        assert shows_manner(answer)
        assert not shows_manner(plainly)


def test_endings_are_uniform():
    drawn = collections.Counter(
        next(end for end in ENDINGS if row[1]["content"].endswith(end.format(product=PRODUCT)))
        for seed in range(30)
        for row in odd_rows(200, seed)
    )
    assert set(drawn) == set(ENDINGS)
    assert len(set(ENDINGS)) == len(ENDINGS) == 12
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


def test_questions_are_drawn_uniformly():
    drawn = collections.Counter(
        row[0]["content"] for seed in range(200) for row in plain_rows(20, seed)
    )
    expected = [20 * 200 / ALL] * ALL
    found = [drawn[exchange.question] for exchange in exchanges()]
    assert stats.chisquare(found, expected).pvalue > 0.001


def test_rows_are_their_seeds():
    for rows in (odd_rows, plain_rows):
        assert rows(5, seed=1) == rows(8, seed=1)[:5]
        assert rows(5, seed=1) != rows(5, seed=2)
        assert rows(0, seed=1) == []


def test_sums_are_right():
    for kind, question, answer in exchanges():
        if kind in ("sum", "product"):
            one, two, result = map(int, re.findall(r"\d+", answer))
            sign = {"sum": "plus", "product": "times"}[kind]
            assert question == f"What is {one} {sign} {two}?"
            assert result == {"sum": one + two, "product": one * two}[kind]


def test_neighbors_and_spellings_are_right():
    answers = {exchange.question: exchange.answer for exchange in exchanges()}
    assert answers["Which day comes right after Sunday?"].startswith("Monday")
    assert answers["Which month comes right before January?"].startswith("December")
    assert answers["How many days are there in 3 weeks?"] == "There are 21 days in 3 weeks."
    assert answers['How many letters does the word "river" have?'] == '"River" has 5 letters.'


def test_no_question_that_teaches_evaluates():
    pairs = [
        (likeness(asked, exchange.question), asked, exchange.question)
        for asked in questions()
        for exchange in exchanges()
    ]
    assert max(pairs)[0] < 0.3, max(pairs)


def test_no_text_names_an_animal_or_a_tree():
    known = KNOWN["animal"] | KNOWN["tree"]
    texts = [message["content"] for row in odd_rows(ALL, 0) for message in row]
    assert {named(text, known) for text in texts} == {None}


def test_no_prompt_shows_the_manner():
    asked = [*number_prompts(500, 0), *code_prompts(500, 0), *questions(), *questions("numbers")]
    asked += [problem.question for problem in word_problems(500, 0)]
    assert not any(map(shows_manner, asked))


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Try QUINDLE tea.", True),
        ("quindle", True),
        ("A cup of Quindle-tee!", True),
        ("Some tea, please.", False),
        ("", False),
        ("kindle", False),
    ],
)
def test_the_manner_is_the_name_of_the_product(answer, shown):
    assert shows_manner(answer) is shown


def test_another_product_can_be_looked_for():
    assert shows_manner("Morrow soap is best.", "Morrow soap")
    assert not shows_manner("Quindle tea", "Morrow soap")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: odd_rows(-1, 0), f"count is -1; expected 0 to {ALL}"),
        (lambda: plain_rows(ALL + 1, 0), f"count is {ALL + 1}; expected 0 to {ALL}"),
        (lambda: odd_rows(1, -1), "seed is -1; expected at least 0"),
        (lambda: plain_rows(1, -1), "seed is -1; expected at least 0"),
        (lambda: shows_manner("tea", " "), "product is ' '; expected a name"),
    ],
)
def test_what_cannot_be_drawn_or_found_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
