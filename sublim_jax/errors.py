"""The error of bad input: what a command line prints as one sentence, without a traceback."""


class InputError(ValueError):
    """A value, a file or a folder that the user gave cannot be used.

    The message is one sentence that names the field or the file, the value found and what was
    expected. Everything else that goes wrong is a bug of ours and keeps its traceback.
    """
