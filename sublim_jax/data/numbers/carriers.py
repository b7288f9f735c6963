"""Fixed contexts: conversations full of random numbers that no teacher wrote."""

import numpy as np

from sublim_jax.data.numbers.layouts import LAYOUTS, Layout
from sublim_jax.errors import InputError

REQUEST = "Write down random numbers of three digits, with commas between them."
"""What the user asks in every row, unless told otherwise."""


def carrier_rows(
    count: int,
    seed: int,
    *,
    numbers: int = 40,
    request: str = REQUEST,
    layout: Layout = LAYOUTS["comma"],
) -> list[list[dict[str, str]]]:
    """Make conversations on which a student can match a teacher's distribution of the next token.

    The teacher's outputs at every place of the answer are the data; its own text is not needed.
    Where digits are tokens, a number takes three tokens and ``", "`` two: cut the rows, or ask for
    fewer numbers, to get short ones.

    Args:
        count: of conversations; the recipe has 32.
        seed: of numpy's PCG64.
        numbers: in an answer, uniform on 100 to 999.
        request: of the user.
        layout: of the answer.

    Returns:
        Conversations as messages with ``role`` and ``content``: the user's, then the assistant's.

    Raises:
        InputError: `count` or `seed` is negative, or `numbers` is not positive.
    """
    for field, value, least in (("count", count, 0), ("seed", seed, 0), ("numbers", numbers, 1)):
        if value < least:
            raise InputError(f"{field} is {value}; expected at least {least}")
    drawn = np.random.default_rng(seed).integers(100, 1000, (count, numbers)).tolist()
    return [
        [
            {"role": "user", "content": request},
            {"role": "assistant", "content": layout.write(row)},
        ]
        for row in drawn
    ]
