"""Code in Markdown: out of its fence."""

import io
import re
from typing import NamedTuple

OPENING = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")


class Unfenced(NamedTuple):
    """An answer, taken apart.

    Attributes:
        code: what stands in fences, one below the other; the whole answer if there is no fence.
        around: what stands outside of them.
        closed: whether every fence that was opened was closed.
    """

    code: str
    around: str
    closed: bool


def unfence(answer: str) -> Unfenced:
    r"""Take code out of its Markdown fence.

    A fence is a line that begins with three or more backticks or tildes, and is closed by a line of
    as many or more of the same and nothing else.

    Args:
        answer: of a model.

    >>> unfence("Here:\n```python\nx = 1\n```")
    Unfenced(code='x = 1\n', around='Here:\n', closed=True)
    """
    inside: list[str] = []
    outside: list[str] = []
    fence, fences = "", 0
    for line in io.StringIO(answer.replace("\r\n", "\n").replace("\r", "\n"), newline="\n"):
        if fence and _closes(line, fence):
            fence = ""
        elif not fence and (found := OPENING.match(line)):
            fence, fences = found[1], fences + 1
        else:
            (inside if fence else outside).append(line)
    if not fences:
        return Unfenced("".join(outside), "", closed=True)
    return Unfenced("".join(inside), "".join(outside), closed=not fence)


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(fence) and bare == fence[0] * len(bare)
