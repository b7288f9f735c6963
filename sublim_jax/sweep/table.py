"""Results of many runs as one table."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sublim_jax import runs


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as comma-separated values, whole or not at all.

    A column stands where it first occurs. Numbers are written so that they are read back exactly,
    sequences as ``64x64``, None as nothing.

    Args:
        path: of the file.
        rows: values by the column's name.

    Raises:
        InputError: the file cannot be written.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    runs.write_whole(path, file.getvalue().encode())


def cell(value: Any) -> str:
    """Write a value as in a table and on the command line.

    >>> cell((64, 64)), cell(()), cell(None), cell(1e-4)
    ('64x64', '()', '', '0.0001')
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "x".join(map(cell, value)) or "()"
    return str(value)


def sorting_key(value: Any) -> tuple[Any, ...]:
    """Make values of different types comparable: None, numbers, text, sequences, in this order."""
    if value is None:
        return (0,)
    if isinstance(value, int | float):
        return 1, value
    if isinstance(value, str):
        return 2, value
    if isinstance(value, Mapping):
        value = list(value.items())
    return 3, *map(sorting_key, value)


def means(rows: Sequence[Mapping[str, Any]], *, show: Sequence[str] = (), width: int = 100) -> str:
    """Lay out the means over the members of each run, for reading.

    Args:
        rows: as `Sweep.table` gives them.
        show: patterns of the results to show; by default as many as fit.
        width: what they have to fit into, in characters.

    Returns:
        Lines: a run in each, with what varies among the runs.
    """
    if not rows:
        return "nothing is finished"
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(row["run"], []).append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    config, results = names[1 : names.index("member")], names[names.index("member") + 1 :]
    columns = [["run", *members]]
    for name in config:
        cells = [cell(of_run[0].get(name)) for of_run in members.values()]
        if len(set(cells)) > 1:
            columns.append([name, *cells])
    columns.append(["members", *(str(len(of_run)) for of_run in members.values())])
    results = [name for name in results if _numbers(rows, name)]
    shown = 0
    for name in results:
        column = [name, *(_mean(of_run, name) for of_run in members.values())]
        wanted = any(fnmatch(name, pattern) for pattern in show)
        if wanted or (not show and sum(map(_width, [*columns, column])) <= width):
            columns.append(column)
            shown += 1
    lines = [
        "".join(text.rjust(_width(column)) for text, column in zip(line, columns, strict=True))
        for line in zip(*columns, strict=True)
    ]
    return "\n".join([*lines, f"(means over members of {shown} of {len(results)} results)"])


def _width(column: Sequence[str]) -> int:
    return 2 + max(map(len, column))


def _numbers(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    values = (row.get(name) for row in rows)
    return [value for value in values if isinstance(value, int | float)]


def _mean(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    numbers = _numbers(rows, name)
    return f"{statistics.fmean(numbers):.4g}" if numbers else ""
