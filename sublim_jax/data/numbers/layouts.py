"""How a list of numbers is written."""

from collections.abc import Sequence
from typing import NamedTuple


class Layout(NamedTuple):
    """The text around and between the numbers of a list.

    The fields are arguments of `sublim_jax.lm.number_list`, which holds a sampler to the layout.

    Attributes:
        separator: between two numbers; not used where there is only one.
        before: the first number.
        after: the last number.
    """

    separator: str
    before: str = ""
    after: str = ""

    def write(self, numbers: Sequence[int]) -> str:
        """Write numbers in this layout, without leading zeros.

        >>> LAYOUTS["square"].write([7, 412])
        '[7, 412]'
        """
        return self.before + self.separator.join(str(int(n)) for n in numbers) + self.after


class NumberList(NamedTuple):
    """What was read from an answer.

    Attributes:
        numbers: in their order.
        layout: writes them as they stood, but for leading zeros.
    """

    numbers: tuple[int, ...]
    layout: Layout


LAYOUTS = {
    "comma": Layout(", "),
    "line": Layout("\n"),
    "space": Layout(" "),
    "semicolon": Layout("; "),
    "square": Layout(", ", "[", "]"),
    "round": Layout(", ", "(", ")"),
}
"""The six layouts that requests ask for."""
