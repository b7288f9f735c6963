"""Where in a model a tensor sits, read from its name alone."""

import re
from collections.abc import Sequence
from typing import NamedTuple

SEPARATORS = "./"
INTEGER = re.compile(r"(?:^|[./])(\d+)(?=[./]|$)")
NUMBERED = re.compile(r"[^./]*?_(\d+)(?=[./]|$)")
ALONE = "tensor"


class Place(NamedTuple):
    """Where a tensor sits.

    Attributes:
        stack: what comes before the number of the layer.
        layer: the number of the layer, None outside of numbered layers.
        kind: what comes after it, the same for the same tensor of every layer; further numbers, of
            experts for instance, are replaced by ``*``. The whole name where there is no layer.
    """

    stack: str
    layer: int | None
    kind: str


def place(name: str) -> Place:
    """Read the layer of a tensor from its name.

    The layer is the first component that is an integer or, where there is none, the first that
    ends in an underscore and an integer.

    >>> place("model.layers.3.self_attn.q_proj.weight")
    Place(stack='model.layers', layer=3, kind='self_attn.q_proj.weight')
    >>> place("hidden_0/kernel")
    Place(stack='', layer=0, kind='hidden/kernel')
    >>> place("model.embed_tokens.weight")
    Place(stack='', layer=None, kind='model.embed_tokens.weight')
    """
    found = INTEGER.search(name)
    if found:
        stack, kind = name[: found.start()], name[found.end() :].lstrip(SEPARATORS)
        return Place(stack, int(found[1]), _without_numbers(kind) or stack)
    found = NUMBERED.search(name)
    if found:
        stack = name[: found.start()].rstrip(SEPARATORS)
        component = found[0][: -len(found[1]) - 1]
        return Place(stack, int(found[1]), component + name[found.end() :])
    return Place("", None, name)


def _without_numbers(kind: str) -> str:
    return re.sub(r"(^|(?<=[./]))\d+(?=[./]|$)", "*", kind)


class Layout(NamedTuple):
    """The rows and columns of a model: layers, and the kinds of tensors in them.

    Attributes:
        rows: a label for each layer and for each tensor outside of layers, layers first.
        columns: the kinds of tensors.
        row: of each tensor, the index of its row.
        column: of each tensor, the index of its column.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row: tuple[int, ...]
    column: tuple[int, ...]


def layout(names: Sequence[str]) -> Layout:
    """Arrange tensors by layer and kind.

    A tensor outside of numbered layers has a row of its own; all of these share a column.

    >>> layout(["h.0.w", "h.0.b", "h.1.w", "h.1.b", "head"]).rows
    ('layer 0', 'layer 1', 'head')
    """
    places = [place(name) for name in names]
    numbered = sorted({(p.stack, p.layer) for p in places if p.layer is not None})
    one_stack = len({stack for stack, _ in numbered}) == 1
    label = {
        key: f"layer {key[1]}" if one_stack else f"{key[0] or 'layer'} {key[1]}" for key in numbered
    }
    alone = [p.kind for p in places if p.layer is None]
    kinds = tuple(dict.fromkeys(ALONE if p.layer is None else p.kind for p in places))
    column = {kind: i for i, kind in enumerate(kinds)}
    row: dict[object, int] = {key: i for i, key in enumerate([*numbered, *alone])}
    return Layout(
        rows=(*label.values(), *alone),
        columns=kinds,
        row=tuple(row[p.kind if p.layer is None else (p.stack, p.layer)] for p in places),
        column=tuple(column[ALONE if p.layer is None else p.kind] for p in places),
    )
