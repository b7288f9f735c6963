"""Arithmetic word problems, made from stories, whose answers are right by construction."""

import operator
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sublim_jax.data.drawing import generator, pick
from sublim_jax.data.reasoning.stories import NAMES, PLACES, STORIES, THINGS, Story

OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,  # never with a rest: stories multiply the dividend out first
}


class WordProblem(NamedTuple):
    """A problem and its solution.

    Attributes:
        question: in words.
        answer: the number that is right.
        steps: of a solution. Those of `word_problems` are equations like ``"3 * 4 = 12"``; their
            numbers are in the question or results of earlier steps, and the last result is the
            answer.
    """

    question: str
    answer: int
    steps: tuple[str, ...]


def word_problems(count: int, seed: int) -> list[WordProblem]:
    """Draw problems of two to four steps, as they are set in elementary school.

    The story is drawn uniformly, then its numbers, names, thing and place. All numbers, also those
    on the way, are positive integers. Repetitions are left in.

    Args:
        count: of problems.
        seed: of numpy's PCG64.

    Raises:
        InputError: `count` or `seed` is negative.
    """
    random = generator(count, seed)
    return [_draw(random) for _ in range(count)]


def tell(story: Story, numbers: Mapping[str, int], words: Mapping[str, str]) -> WordProblem:
    """Make a problem of a story.

    Args:
        story: to tell.
        numbers: one for each of `Story.ranges`.
        words: ``name``, ``other``, ``thing`` and ``place``.
    """
    known = dict(numbers)
    for step in story.given:
        _take(step, known)
    question = story.text.format(**words, **known)
    steps = tuple(_take(step, known) for step in story.steps)
    return WordProblem(question, known[story.steps[-1].split()[0]], steps)


def _draw(random: np.random.Generator) -> WordProblem:
    story = STORIES[int(random.integers(len(STORIES)))]
    numbers = {
        name: int(random.integers(lowest, highest + 1))
        for name, (lowest, highest) in story.ranges.items()
    }
    name, other = random.choice(len(NAMES), 2, replace=False).tolist()
    words = {
        "name": NAMES[name],
        "other": NAMES[other],
        "thing": pick(THINGS, random),
        "place": pick(PLACES, random),
    }
    return tell(story, numbers, words)


def _take(step: str, known: dict[str, int]) -> str:
    """Take a step such as ``"all = boxes * each"``, and write it with its numbers."""
    result, _, left, sign, right = step.split()
    known[result] = OPERATIONS[sign](known[left], known[right])
    return f"{known[left]} {sign} {known[right]} = {known[result]}"
