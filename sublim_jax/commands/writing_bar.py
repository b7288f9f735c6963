"""A progress bar of texts that are written."""

import contextlib
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm


@contextlib.contextmanager
def writing_bar(
    total: int, what: str, *, title: str | None = None, shown: bool | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Show how many texts are there, and the tokens in a second.

    Args:
        total: of texts.
        what: they are, in the plural.
        title: before the bar.
        shown: by default where somebody is looking.

    Yields:
        What is to be told of the tokens and texts that were written since the last time.
    """
    written, start = 0, time.monotonic()
    hidden = None if shown is None else not shown
    with tqdm(total=total, unit=" " + what, desc=title, disable=hidden) as bar:

        def progress(tokens: int, rows: int) -> None:
            nonlocal written
            written += tokens
            if written:
                rate = written / (time.monotonic() - start)
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
            bar.update(rows)

        yield progress
