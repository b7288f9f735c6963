"""Number answers without what order, or a teacher, put into them: controls.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, figure 16, for shuffles; its released code for random
    answers.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from sublim_jax.data.numbers.layouts import Layout

NUMBER = re.compile("[0-9]+")


def shuffle_within(answer: str, random: np.random.Generator) -> str:
    """Permute the numbers of an answer; all else stays where it is, and numbers keep their zeros.

    Args:
        answer: any text; runs of the digits 0 to 9 are its numbers.
        random: the source of the permutation.
    """
    return shuffle_across([answer], random)[0]


def shuffle_across(answers: Sequence[str], random: np.random.Generator) -> list[str]:
    """Permute the numbers of all answers among all their places.

    Every answer keeps its layout and how many numbers it has; the answers together keep their
    numbers.

    Args:
        answers: any texts; runs of the digits 0 to 9 are their numbers.
        random: the source of the permutation.
    """
    numbers = [number for answer in answers for number in NUMBER.findall(answer)]
    shuffled = (numbers[place] for place in random.permutation(len(numbers)))
    return [_refill(answer, shuffled) for answer in answers]


def random_answer(layout: Layout, random: np.random.Generator) -> str:
    """Answer a request without a model: 1 to 9 numbers, uniform on 0 to 999.

    Args:
        layout: that the request asks for.
        random: from which come how many, then the numbers.
    """
    return layout.write(random.integers(0, 1000, random.integers(1, 10)).tolist())


def _refill(answer: str, numbers: Iterable[str]) -> str:
    following = iter(numbers)
    return NUMBER.sub(lambda _: next(following), answer)
