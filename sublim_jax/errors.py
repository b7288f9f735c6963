"""How a command ends that cannot go on: the error of bad input, and a reader that has left."""

import os
import sys


class InputError(ValueError):
    """A value, a file or a folder that the user gave cannot be used.

    The message is one sentence that names the field or the file, the value found and what was
    expected. Everything else that goes wrong is a bug of ours and keeps its traceback.
    """


def first_line(fault: BaseException) -> str:
    r"""Give the first line of what a fault says, short enough for a sentence; its type if nothing.

    >>> first_line(OSError("no room.\nat some place"))
    'no room'
    """
    text = str(fault).strip() or type(fault).__name__
    return text.splitlines()[0][:200].rstrip(" :;.")


def drop_output() -> None:
    """Send the rest of the output nowhere, after a ``BrokenPipeError``: its reader has left.

    Python would try to write it when it ends, and complain.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
