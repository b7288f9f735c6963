"""What the numbers of a file leave of a small displacement."""

import re

from sublim_jax.drift.files.displacements import INIT, TEACHER, TEACHER_INIT, Displacements

# Root mean square of the relative error when weights are rounded: .42 of half the last place.
ROUNDING = {
    "float64": 4.7e-17,
    "float32": 2.5e-8,
    "float16": 2.1e-4,
    "bfloat16": 1.66e-3,
}
# A displacement should be so many times the rounding of the weights.
MARGIN = 10.0
DIGITS = re.compile(r"\d+")


def rounding_of(stored: str) -> float:
    """Give the relative error of weights that are stored as these numbers; infinite if quantised.

    >>> rounding_of("bfloat16"), rounding_of("Q4_1")
    (0.00166, inf)
    """
    return ROUNDING.get(stored, float("inf"))


def entry_bytes(stored: str) -> float:
    """Give the bytes of an entry; roughly, where numbers are quantised in blocks.

    >>> entry_bytes("bfloat16"), entry_bytes("Q4_1")
    (2.0, 0.5)
    """
    digits = DIGITS.search(stored)
    return int(digits[0]) / 8 if digits else 4.0


def rounding(plan: Displacements, role: str) -> float:
    """Give the relative error of the weights whose difference is the displacement of a role.

    What an adapter holds as factors, or does not change, is no difference and has none.
    """
    if role not in plan.stored:
        return 0.0
    origin = TEACHER_INIT if role == TEACHER and TEACHER_INIT in plan.stored else INIT
    return max(rounding_of(plan.stored[key]) for key in (role, origin))
