"""Which members train side by side."""

import re
from typing import NamedTuple

import numpy as np

from sublim_jax.training import Session


class Chunk(NamedTuple):
    """Members that train side by side.

    Attributes:
        cells: which ones.
        places: how many places their program has; what they leave free the last one fills.
    """

    cells: list[int]
    places: int

    @property
    def name(self) -> str:
        """Name the chunk by what is in it: ``0-3.5x8`` has five cells in eight places."""
        cells = np.array(self.cells)
        spans = np.split(cells, np.flatnonzero(np.diff(cells) != 1) + 1)
        said = ".".join(f"{s[0]}-{s[-1]}" if len(s) > 1 else f"{s[0]}" for s in spans)
        return f"{said}x{self.places}"


def named(name: str) -> Chunk | None:
    """Give the chunk of a name, if it is one."""
    if not re.fullmatch(r"\d+(-\d+)?(\.\d+(-\d+)?)*x\d+", name):
        return None
    spans, places = name.split("x")
    bounds = [list(map(int, span.split("-"))) for span in spans.split(".")]
    cells = [cell for span in bounds for cell in range(span[0], span[-1] + 1)]
    return Chunk(cells, int(places))


def chunks_of(missing: list[int], at_once: int, session: Session, devices: int) -> list[Chunk]:
    """Cut members into those that train side by side.

    First come those whose training was interrupted, side by side as they were then, also where
    another number of devices would now take more or fewer.
    """
    chunks: list[Chunk] = []
    for name in session.unfinished():
        chunk = named(name)
        if chunk and chunk.places % devices == 0 and set(chunk.cells) & set(missing):
            chunks.append(chunk)
            missing = [cell for cell in missing if cell not in chunk.cells]
        else:
            session.finished(name)
    starts = range(0, len(missing), at_once)
    return chunks + [Chunk(missing[start : start + at_once], at_once) for start in starts]
