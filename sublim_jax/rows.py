"""Functions of many rows, a chunk of rows at a time, to bound what is in memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sublim_jax.errors import InputError


def mean_over_rows(
    sums: Callable[[PyTree], PyTree], inputs: PyTree, *, chunk: int | None = None
) -> PyTree:
    """Add up a function of rows over all of them and divide by their number. Traceable.

    Args:
        sums: rows to sums over these rows, a tree of arrays that is of one shape for any number.
        inputs: array or tree of arrays with the rows in the first axis.
        chunk: rows at a time; all at once by default. Rows that are left over make a chunk of
            their own.

    Raises:
        InputError: there are no inputs, arrays differ in their rows, or ``chunk`` is below 1.
    """
    rows, chunk = _checked(inputs, chunk)
    chunks, rest = _cut(inputs, rows, chunk)

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, sums(part)), None

    # Accelerators would multiply inside a network in less than float32.
    with jax.default_matmul_precision("highest"):
        total = sums(jax.tree.map(lambda x: x[0], chunks))
        if rows >= 2 * chunk:
            total, _ = jax.lax.scan(add, total, jax.tree.map(lambda x: x[1:], chunks))
        if rest is not None:
            total, _ = add(total, rest)
    return jax.tree.map(lambda value: value / rows, total)


def map_over_rows(
    function: Callable[[PyTree], PyTree], inputs: PyTree, *, chunk: int | None = None
) -> PyTree:
    """Apply a function of rows to all of them, and put the rows of its results together. Traceable.

    Args:
        function: rows to a tree of arrays with these rows in the first axis.
        inputs: array or tree of arrays with the rows in the first axis.
        chunk: rows at a time, as in `mean_over_rows`.

    Raises:
        InputError: there are no inputs, arrays differ in their rows, or ``chunk`` is below 1.
    """
    rows, chunk = _checked(inputs, chunk)
    chunks, rest = _cut(inputs, rows, chunk)
    with jax.default_matmul_precision("highest"):
        found = jax.tree.map(
            lambda x: jnp.reshape(x, (-1, *x.shape[2:])), jax.lax.map(function, chunks)
        )
        if rest is None:
            return found
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), found, function(rest))


def _checked(inputs: PyTree, chunk: int | None) -> tuple[int, int]:
    counts = sorted({len(leaf) for leaf in jax.tree.leaves(inputs)})
    if counts in ([], [0]):
        raise InputError("inputs has 0 rows; expected at least 1")
    if len(counts) > 1:
        # Otherwise those that one array has more than the first would be left out, without a word.
        raise InputError(
            f"inputs, or what goes with them, have {' and '.join(map(str, counts))} rows; expected "
            "as many in every array"
        )
    rows = counts[0]
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk is {chunk}; expected at least 1")
    return rows, rows if chunk is None else min(chunk, rows)


def _cut(inputs: PyTree, rows: int, chunk: int) -> tuple[PyTree, Any]:
    """Cut rows into ``[chunks, chunk, ...]`` and those that are left over, None without any."""
    whole = rows - rows % chunk
    chunks = jax.tree.map(
        lambda x: jnp.reshape(x[:whole], (whole // chunk, chunk, *x.shape[1:])), inputs
    )
    return chunks, jax.tree.map(lambda x: x[whole:], inputs) if whole < rows else None
