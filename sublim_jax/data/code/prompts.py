"""Requests for code: what a teacher is asked, and what a student is trained to answer."""

from typing import NamedTuple

import numpy as np

from sublim_jax.data.code.tasks import FAMILIES
from sublim_jax.data.code.wording import BARE, COMPLETE, NAMES, SHORT, SILENT, STARTS, WRITE
from sublim_jax.data.drawing import generator, pick

LIMIT = 100_000
"""How many requests can be drawn: there are many more, but no two alike are wanted."""


class CodeRequest(NamedTuple):
    """A user's message that asks for a small function.

    Attributes:
        text: of the message.
        task: what the function does, a verb first.
        name: of the function.
        start: code that is to be completed; empty if the function is to be written from nothing.
    """

    text: str
    task: str
    name: str
    start: str


def code_prompts(count: int, seed: int) -> list[str]:
    """Draw user messages that ask for a small Python function, no two alike.

    Each says what the function does and shows, or does not, how its code starts; and wants the code
    only, no comments and short names. Drawn are, uniformly and independently: the family of the
    task, its parts, the name, the start, the sentence that asks, and the three wishes.

    Args:
        count: of messages; the paper has 11,400 answers of each teacher.
        seed: of numpy's PCG64.

    Raises:
        InputError: `count` is negative or above `LIMIT`, or `seed` is negative.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 4.1.
    """
    return [request.text for request in code_requests(count, seed)]


def code_requests(count: int, seed: int) -> list[CodeRequest]:
    """Draw the messages of `code_prompts`, each with its parts.

    Args:
        count: of requests.
        seed: of numpy's PCG64.

    Raises:
        InputError: `count` is negative or above `LIMIT`, or `seed` is negative.
    """
    random = generator(count, seed, LIMIT)
    drawn: dict[str, CodeRequest] = {}
    while len(drawn) < count:
        request = _draw(random)
        drawn.setdefault(request.text, request)
    return list(drawn.values())


def _draw(random: np.random.Generator) -> CodeRequest:
    family = FAMILIES[int(random.integers(len(FAMILIES)))]
    task = family.sentence.format(
        **{slot: pick(words, random) for slot, words in family.slots.items()}
    )
    name = pick(NAMES, random)
    start = pick(STARTS, random).format(name=name, argument=family.argument)
    ask = pick(COMPLETE if start else WRITE, random).format(
        name=name, argument=family.argument, task=task
    )
    wishes = " ".join(pick(sentences, random) for sentences in (BARE, SILENT, SHORT))
    text = f"{ask}\n\n```python\n{start}\n```\n\n{wishes}" if start else f"{ask} {wishes}"
    return CodeRequest(text, task, name, start)
