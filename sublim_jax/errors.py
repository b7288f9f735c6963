"""The error of bad input: what a command line prints as one sentence, without a traceback."""


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
