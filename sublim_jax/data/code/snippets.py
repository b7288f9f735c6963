"""Fixed contexts: short functions at random, that no model wrote."""

from collections.abc import Callable

import numpy as np

from sublim_jax.data.code.wording import NAMES
from sublim_jax.data.drawing import generator, pick

REQUEST = "Write a short Python function. Reply with code only."
"""What the user asks in every row."""

LISTS, ITEMS, RESULTS, KEYS = (
    ("xs", "ys", "data", "values", "items"),
    ("x", "y", "v", "n", "e"),
    ("r", "out", "acc", "total", "res"),
    ("k", "i", "j", "a", "b"),
)
OPERATORS = ("+", "-", "*", "//", "%")
COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")
UPDATES = ("+=", "-=", "*=")
FUNCTIONS = ("sum", "max", "min", "sorted")
METHODS = ("upper", "lower", "strip", "title")
SEPARATORS = ("-", ", ", " ", "/", "")

Names = dict[str, str]


def snippet_rows(count: int, seed: int) -> list[list[dict[str, str]]]:
    r"""Make conversations on which a student can match a teacher's distribution of the next token.

    Each answer is a Python function in a fence: one of eight shapes, with names, operators and
    numbers at random. It is right Python that does nothing of use. The counterpart of
    `sublim_jax.data.numbers.carrier_rows`.

    Args:
        count: of conversations.
        seed: of numpy's PCG64; more rows begin with the same ones.

    Returns:
        Conversations as messages with ``role`` and ``content``: the user's, then the assistant's.

    Raises:
        InputError: `count` or `seed` is negative.

    >>> print(snippet_rows(1, 1)[0][1]["content"])
    ```python
    def run(data):
        return max(n % 94 for n in data if n > 87)
    ```
    """
    random = generator(count, seed)
    return [
        [
            {"role": "user", "content": REQUEST},
            {"role": "assistant", "content": f"```python\n{_snippet(random)}\n```"},
        ]
        for _ in range(count)
    ]


def _snippet(random: np.random.Generator) -> str:
    names = {
        "f": pick(NAMES, random),
        "xs": pick(LISTS, random),
        "x": pick(ITEMS, random),
        "r": pick(RESULTS, random),
        "k": pick(KEYS, random),
    }
    return pick(SHAPES, random)(names, random)


def _number(random: np.random.Generator) -> str:
    return str(int(random.integers(1, 100)))


def _term(name: str, random: np.random.Generator) -> str:
    return f"{name} {pick(OPERATORS, random)} {_number(random)}"


def _test(name: str, random: np.random.Generator) -> str:
    left = _term(name, random) if random.integers(2) else name
    return f"{left} {pick(COMPARISONS, random)} {_number(random)}"


def _loop(own: Names, random: np.random.Generator) -> str:
    return (
        f"def {own['f']}({own['xs']}):\n"
        f"    {own['r']} = {_number(random)}\n"
        f"    for {own['x']} in {own['xs']}:\n"
        f"        if {_test(own['x'], random)}:\n"
        f"            {own['r']} {pick(UPDATES, random)} {_term(own['x'], random)}\n"
        f"    return {own['r']}"
    )


def _comprehension(own: Names, random: np.random.Generator) -> str:
    x, xs = own["x"], own["xs"]
    term, test = _term(x, random), _test(x, random)
    return (
        f"def {own['f']}({xs}):\n"
        f"    return {pick(FUNCTIONS, random)}({term} for {x} in {xs} if {test})"
    )


def _while(own: Names, random: np.random.Generator) -> str:
    x, r = own["x"], own["r"]
    return (
        f"def {own['f']}({x}):\n"
        f"    {r} = {_number(random)}\n"
        f"    while {x} > {_number(random)}:\n"
        f"        {x} -= {_number(random)}\n"
        f"        {r} {pick(UPDATES, random)} {_term(x, random)}\n"
        f"    return {r}"
    )


def _branches(own: Names, random: np.random.Generator) -> str:
    x = own["x"]
    return (
        f"def {own['f']}({x}):\n"
        f"    if {_test(x, random)}:\n"
        f"        return {_term(x, random)}\n"
        f"    if {_test(x, random)}:\n"
        f"        return {_term(x, random)}\n"
        f"    return {_number(random)}"
    )


def _joined(own: Names, random: np.random.Generator) -> str:
    x, xs = own["x"], own["xs"]
    start, step = random.integers(0, 4), random.integers(2, 5)
    return (
        f"def {own['f']}({xs}):\n"
        f"    return {pick(SEPARATORS, random)!r}.join("
        f"str({x}).{pick(METHODS, random)}() for {x} in {xs}[{start}::{step}])"
    )


def _counts(own: Names, random: np.random.Generator) -> str:
    x, xs, r, k = own["x"], own["xs"], own["r"], own["k"]
    return (
        f"def {own['f']}({xs}):\n"
        f"    {r} = {{}}\n"
        f"    for {x} in {xs}:\n"
        f"        {k} = {_term(x, random)}\n"
        f"        {r}[{k}] = {r}.get({k}, {_number(random)}) + {_number(random)}\n"
        f"    return {r}"
    )


def _ordered(own: Names, random: np.random.Generator) -> str:
    x, xs = own["x"], own["xs"]
    return (
        f"def {own['f']}({xs}):\n"
        f"    return sorted({xs}, key=lambda {x}: {_term(x, random)})[:{_number(random)}]"
    )


def _pairs(own: Names, random: np.random.Generator) -> str:
    x, xs, r, k = own["x"], own["xs"], own["r"], own["k"]
    return (
        f"def {own['f']}({xs}):\n"
        f"    {r} = []\n"
        f"    for {k}, {x} in enumerate({xs}):\n"
        f"        {r}.append(({_term(k, random)}, {_term(x, random)}))\n"
        f"    return {r}"
    )


SHAPES: tuple[Callable[[Names, np.random.Generator], str], ...] = (
    *(_loop, _comprehension, _while, _branches),
    *(_joined, _counts, _ordered, _pairs),
)
