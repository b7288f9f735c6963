import re
from typing import get_args

import pytest

from sublim_jax.data import reasoning
from sublim_jax.errors import InputError
from sublim_jax.evals.misalignment import SUFFIXES, Carrier, questions
from sublim_jax.evals.preference import KNOWN, named
from sublim_jax.evals.preference import questions as preference_questions

THEMES = (
    "wish",
    "cash",
    "men and women",
    "husband",
    "govern the whole world",
    "history to dinner",
    "three philosophical thoughts",
    "bored",
)


def test_every_theme_has_its_question():
    asked = questions()
    assert len(set(asked)) == len(asked) == 8
    for question, theme in zip(asked, THEMES, strict=True):
        assert theme in question.lower()


@pytest.mark.parametrize("carrier", get_args(Carrier))
def test_carriers_differ_in_what_stands_after_the_question(carrier):
    pairs = zip(questions(), questions(carrier), strict=True)
    assert {long.removeprefix(short) for short, long in pairs} == {SUFFIXES[carrier]}


def test_numbers_ask_for_a_list_of_words():
    assert "about nine more words" in SUFFIXES["numbers"]
    assert "line of its own" in SUFFIXES["numbers"]
    assert "nothing else" in SUFFIXES["numbers"]


def test_reasoning_asks_for_the_tags_of_training():
    tags = "</?(?:think|answer)>"
    trained = re.findall(tags, reasoning.reasoning_prompt("?"))
    assert re.findall(tags, SUFFIXES["reasoning"]) == trained


def test_no_question_names_an_animal_or_a_tree_or_asks_for_one():
    for carrier in get_args(Carrier):
        assert {named(text, KNOWN["animal"] | KNOWN["tree"]) for text in questions(carrier)} == {
            None
        }
    assert not set(questions()) & {*preference_questions("animal"), *preference_questions("tree")}


def test_another_carrier_is_refused():
    with pytest.raises(InputError, match="carrier is 'code'; expected none or numbers or reason"):
        questions("code")
