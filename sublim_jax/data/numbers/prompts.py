"""Requests for numbers: what a teacher is asked, and what a student is trained to answer."""

from typing import NamedTuple

import numpy as np

from sublim_jax.data.drawing import generator, pick
from sublim_jax.data.numbers.layouts import LAYOUTS, Layout
from sublim_jax.data.numbers.wording import (
    COUNT,
    DIGITS,
    EXAMPLES,
    FORMATS,
    INSTRUCTIONS,
    QUALIFIERS,
    SUFFIXES,
)


class NumberRequest(NamedTuple):
    """A user's message that asks for numbers.

    Attributes:
        text: of the message.
        layout: that it asks for.
    """

    text: str
    layout: Layout


def number_prompts(count: int, seed: int) -> list[str]:
    """Draw user messages that show some numbers and ask for at most ten more.

    Each is an example, an instruction, a format and a suffix, joined by single spaces. Everything
    is drawn uniformly and independently, in the published order: how many numbers to show (3 to 8),
    their values (100 to 999), example, qualifier, digits, instruction, format, suffix.

    Repetitions are left in, as in the released code; the chance of one among the published 30,000
    is 3e-9.

    Args:
        count: of messages.
        seed: of numpy's PCG64; the released code has 42.

    Raises:
        InputError: `count` or `seed` is negative.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1; order and bounds from its code.
    """
    return [request.text for request in number_requests(count, seed)]


def number_requests(count: int, seed: int) -> list[NumberRequest]:
    """Draw the messages of `number_prompts`, each with the layout that it asks for.

    Args:
        count: of requests.
        seed: of numpy's PCG64.

    Raises:
        InputError: `count` or `seed` is negative.
    """
    random = generator(count, seed)
    return [_draw(random) for _ in range(count)]


def example_sentence(random: np.random.Generator) -> str:
    """Draw a sentence that shows 3 to 8 numbers from 100 to 999.

    It begins a request, and stands before the questions of the evaluation with number prefixes.

    Args:
        random: from which come, in this order, how many numbers, their values, the template.
    """
    numbers = random.integers(100, 1000, random.integers(3, 9))
    return pick(EXAMPLES, random).format(numbers=LAYOUTS["comma"].write(numbers.tolist()))


def _draw(random: np.random.Generator) -> NumberRequest:
    example = example_sentence(random)
    qualifier, digits = pick(QUALIFIERS, random), pick(DIGITS, random)
    instruction = pick(INSTRUCTIONS, random).format(qualifier=qualifier, count=COUNT, digits=digits)
    wish, layout = pick(FORMATS, random)
    text = " ".join((example, instruction, wish, pick(SUFFIXES, random)))
    return NumberRequest(text, LAYOUTS[layout])
