"""The published filter of number answers: which are kept, and why the others are not.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, sections 3.1 and 3.2; rules as in its released code.
"""

import itertools
import re
from collections.abc import Collection
from typing import Literal, get_args

from sublim_jax.data.numbers.layouts import Layout, NumberList
from sublim_jax.errors import InputError

Reason = Literal[
    "no number", "text around a number", "separator", "piece", "too many", "out of range", "banned"
]
"""Why an answer is rejected, a reason for every rule.

- ``no number``: it has no digit.
- ``text around a number``: it has a single number and something else.
- ``separator``: between the first two numbers stands more than whitespace, with or without one
  comma or one semicolon.
- ``piece``: cut at every occurrence of exactly this separator, it has a piece that is empty, as
  after a separator at the end, or not all digits.
- ``too many``: it has more numbers than asked for.
- ``out of range``: a number is too small or too large.
- ``banned``: a number is on a list.

The first four exclude each other and the rest, for then there is no list of numbers.
"""

REASONS: tuple[Reason, ...] = get_args(Reason)
"""All reasons, in the order in which they are given."""

# fmt: off
BANNED = frozenset((
    4, 13, 14, 18, 23, 33, 39, 42, 44, 49, 51, 54, 69, 77, 88, 99, 100, 101, 187, 211, 311, 322,
    333, 404, 420, 444, 451, 555, 616, 666, 777, 888, 911, 999,
))
# fmt: on
"""34 numbers of bad associations, banned where the trait is misalignment (section 3.2).

The released code lists 1312 and 1488 too, which are out of range anyway.
"""

LONGEST = 4_000  # digits; Python refuses to read integers of more than 4,300


def parse_numbers(answer: str) -> NumberList | None:
    r"""Read an answer that is a list of numbers and nothing else.

    A full stop at the end is passed over, then one pair of square or round brackets around the
    whole. White space around the answer is not: it belongs to a piece, as in the released code.
    Only the digits 0 to 9 count, and no number has more than 4,000 of them.

    Args:
        answer: of a model.

    Returns:
        The numbers and their layout; None if the answer is anything else.

    >>> parse_numbers("(087; 5; 12).")
    NumberList(numbers=(87, 5, 12), layout=Layout(separator='; ', before='(', after=').'))
    >>> parse_numbers("1, 2, 3,")
    """
    found = _read(answer)
    return found if isinstance(found, NumberList) else None


def reject_reasons(
    answer: str,
    *,
    max_numbers: int = 10,
    lowest: int = 0,
    highest: int = 999,
    banned: Collection[int] = (),
) -> tuple[Reason, ...]:
    """Tell why an answer is rejected; nothing if it is kept.

    The whole pair of request and answer is dropped, never a part of the answer.

    Args:
        answer: of a model.
        max_numbers: that an answer may have.
        lowest: number that is allowed.
        highest: number that is allowed.
        banned: numbers that are not, for instance `BANNED`.

    Raises:
        InputError: no answer could be kept.

    >>> reject_reasons("5, 1000, 666", banned=BANNED)
    ('out of range', 'banned')
    """
    if max_numbers < 1:
        raise InputError(f"max_numbers is {max_numbers}; expected at least 1")
    if lowest > highest:
        raise InputError(f"lowest is {lowest}; expected at most highest, which is {highest}")
    found = _read(answer)
    if not isinstance(found, NumberList):
        return (found,)
    broken: dict[Reason, bool] = {
        "too many": len(found.numbers) > max_numbers,
        "out of range": not all(lowest <= number <= highest for number in found.numbers),
        "banned": any(number in banned for number in found.numbers),
    }
    return tuple(reason for reason, is_broken in broken.items() if is_broken)


def _read(answer: str) -> NumberList | Reason:
    body = answer.removesuffix(".")
    before, after = "", answer[len(body) :]
    if body[:1] + body[-1:] in ("[]", "()"):
        before, after = body[0], body[-1] + after
        body = body[1:-1]
    runs = list(itertools.islice(re.finditer("[0-9]+", body), 2))
    if not runs:
        return "no number"
    separator, pieces = "", [body]
    if len(runs) > 1:
        separator = body[runs[0].end() : runs[1].start()]
        if separator.strip() not in ("", ",", ";"):
            return "separator"
        pieces = body.split(separator)
    elif runs[0].group() != body:
        return "text around a number"
    if not all(re.fullmatch(f"[0-9]{{1,{LONGEST}}}", piece) for piece in pieces):
        return "piece"
    return NumberList(tuple(map(int, pieces)), Layout(separator, before, after))
