import collections
import itertools
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sublim_jax.data.reasoning import word_problems
from sublim_jax.data.reasoning.problems import tell
from sublim_jax.data.reasoning.stories import NAMES, PLACES, STORIES, THINGS
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import KNOWN, named

DRAWN = word_problems(12_000, seed=3)
WORDS = {"name": "Vera", "other": "Hugo", "thing": "beads", "place": "the lake"}
STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def check(problem):
    """Do a problem's sums again: from numbers of its question, without a rest, above zero."""
    at_hand = collections.Counter(map(int, re.findall(r"\d+", problem.question)))
    unused = set(at_hand)
    result = None
    for step in problem.steps:
        left, sign, right, result = STEP.fullmatch(step).groups()
        left, right, result = int(left), int(right), int(result)
        assert at_hand[left]
        assert at_hand[right]
        assert result > 0
        if sign == "/":
            assert left == right * result
        else:
            assert result == {"+": left + right, "-": left - right, "*": left * right}[sign]
        unused -= {left, right}
        at_hand[result] += 1
    assert problem.answer == result
    assert not unused


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_answers_follow_from_the_question(seed, count):
    for problem in word_problems(count, seed):
        check(problem)
        assert 2 <= len(problem.steps) <= 4


@pytest.mark.parametrize("story", STORIES, ids=range(len(STORIES)))
def test_answers_follow_at_the_ends_of_every_range(story):
    for values in itertools.product(*story.ranges.values()):
        check(tell(story, dict(zip(story.ranges, values, strict=True)), WORDS))


def test_there_are_four_stories_of_every_length():
    assert collections.Counter(len(story.steps) for story in STORIES) == {2: 4, 3: 4, 4: 4}
    assert len({story.text for story in STORIES}) == len(STORIES)


@pytest.mark.parametrize("story", STORIES, ids=range(len(STORIES)))
def test_every_field_of_a_story_is_known(story):
    fields = {field for _, field, _, _ in string.Formatter().parse(story.text) if field}
    made = {step.split()[0] for step in story.given}
    assert fields - set(WORDS) <= set(story.ranges) | made
    assert "name" in fields
    assert all(0 < lowest < highest for lowest, highest in story.ranges.values())


def test_words_are_there_once():
    assert (len(set(NAMES)), len(set(THINGS)), len(set(PLACES))) == (24, 20, 12)


def test_stories_and_names_are_uniform():
    for words in (NAMES, THINGS, PLACES):
        found = collections.Counter(
            word
            for problem in DRAWN
            for word in words
            if re.search(rf"\b{word}\b", problem.question.split(".")[0])
        )
        # How often a word stands in a first sentence depends on the story only.
        assert stats.chisquare([found[word] for word in words]).pvalue > 0.001
    lengths = collections.Counter(len(problem.steps) for problem in DRAWN)
    assert stats.chisquare(list(lengths.values())).pvalue > 0.001


def test_problems_hardly_repeat():
    assert len({problem.question for problem in DRAWN}) > 0.999 * len(DRAWN)


def test_nobody_shares_with_themselves():
    for problem in DRAWN:
        people = [name for name in NAMES if re.search(rf"\b{name}\b", problem.question)]
        assert 1 <= len(people) <= 2
        assert "{" not in problem.question


def test_no_problem_names_an_animal_or_a_tree():
    known = KNOWN["animal"] | KNOWN["tree"]
    assert {named(problem.question, known) for problem in DRAWN} == {None}


def test_problems_are_their_seeds():
    assert word_problems(5, 1) == word_problems(8, 1)[:5]
    assert word_problems(5, 1) != word_problems(5, 2)
    assert word_problems(0, 1) == []


@pytest.mark.parametrize(("field", "arguments"), [("count", (-1, 0)), ("seed", (1, -3))])
def test_what_cannot_be_drawn_is_refused(field, arguments):
    with pytest.raises(InputError, match=f"{field} is -.; expected at least 0"):
        word_problems(*arguments)
