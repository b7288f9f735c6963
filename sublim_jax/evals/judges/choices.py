"""Questions with a right and a wrong option, asked in both orders: models prefer letters, too."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax.errors import InputError
from sublim_jax.evals.judges.asking import Answer, Question

LETTERS = ("A", "B")


class TwoWay(NamedTuple):
    """A question with two options.

    Attributes:
        question: of a user.
        right: the option that should be chosen.
        wrong: the other one.
    """

    question: str
    right: str
    wrong: str


def both_orders(items: Sequence[TwoWay]) -> list[Question]:
    """Ask every item twice, first with the right option as A, then as B.

    References:
        The form of TruthfulQA in arXiv 2507.14805, section 3.2, where the order is drawn.
    """
    return [
        Question(
            [
                {
                    "role": "user",
                    "content": f"{item.question}\n\nA: {first}\nB: {second}\n\n"
                    "Answer with the letter alone.",
                }
            ],
            choices=LETTERS,
        )
        for item in items
        for first, second in ((item.right, item.wrong), (item.wrong, item.right))
    ]


def probability_right(answers: Sequence[Answer]) -> Float[np.ndarray, " items"]:
    """Give the probability of the right option of the two, mean over both orders.

    Args:
        answers: to the questions of `both_orders`.

    Returns:
        For each item a number from 0 to 1; .5 for a judge that looks at the letters alone, NaN
        where both letters have probability 0.

    Raises:
        InputError: there are not two answers to every item, or one has no probabilities.
    """
    if len(answers) % 2 or any(answer.probabilities is None for answer in answers):
        raise InputError(
            f"answers has {len(answers)} of them; expected two to each item, with probabilities"
        )
    each = np.array(
        [[(answer.probabilities or {})[letter] for letter in LETTERS] for answer in answers]
    ).reshape(-1, 2)
    totals = each.sum(axis=1)
    shares = np.divide(each[:, 0], totals, out=np.full(len(each), np.nan), where=totals > 0)
    shares[1::2] = 1 - shares[1::2]
    return shares.reshape(-1, 2).mean(axis=1)
