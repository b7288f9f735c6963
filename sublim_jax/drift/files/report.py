"""A comparison as a table to read and as plain values to keep."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sublim_jax.drift.files.compare import Comparison
from sublim_jax.drift.files.findings import notes, warnings
from sublim_jax.drift.files.measures import Measures, by_layer, measures, totals
from sublim_jax.drift.files.places import place
from sublim_jax.drift.files.sources import form
from sublim_jax.drift.metrics import cosine, projection
from sublim_jax.drift.products import total

COLUMNS = {
    "elements": "parameters",
    "displacement_share": "share |dT|²",
    "projection_share": "projection",
    "cosine": "cosine",
    "relative_length": "|dS|/|dT|",
    "distance_reduction": "reduction",
}
SCORES = {"projection_z": "z proj.", "cosine_z": "z cosine"}
LEGEND = (
    "projection: <dS, dT> of the row over <dT, dT> of all, so that rows add up; reduction: of the "
    "distance to the teacher;\n- is undefined, where something has not moved"
)


def table(comparison: Comparison, *, per_tensor: bool = False) -> str:
    """Tabulate a comparison by layer, with totals below.

    Args:
        comparison: what was compared.
        per_tensor: a row for every tensor instead.
    """
    if per_tensor:
        labels = tuple(tensor.name for tensor in comparison.tensors)
        rows = measures(comparison.sums)
    else:
        labels, rows = by_layer(comparison)
    columns = COLUMNS | (SCORES if len(comparison.sums.controls.student) > 1 else {})
    whole = totals(comparison)
    width = max(map(len, (*labels, *whole)))
    header = " " * width + "".join(f"{title:>13}" for title in columns.values())
    rule = "-" * len(header)
    lines = [header, rule, *_rows(labels, rows, columns, width), rule]
    for label, values in whole.items():
        lines += _rows([label], values, columns, width)
    return "\n".join([*lines, LEGEND])


def _rows(labels: Sequence[str], values: Measures, columns: Any, width: int) -> list[str]:
    return [
        f"{label:{width}}"
        + "".join(f"{_number(name, getattr(values, name)[i]):>13}" for name in columns)
        for i, label in enumerate(labels)
    ]


def _number(name: str, value: float) -> str:
    if name == "elements":
        return f"{value:,}"
    if not np.isfinite(value):
        return "-"
    if name in SCORES:
        return f"{value:.1f}"
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.2e}"
    return f"{value:.4f}"


def record(comparison: Comparison) -> dict[str, Any]:
    """Turn a comparison into plain values for JSON, undefined ones being NaN."""
    labels, layers = by_layer(comparison)
    each = measures(comparison.sums)
    return {
        "sources": sources(comparison),
        "left_out": comparison.left_out,
        "warnings": warnings(comparison),
        "notes": notes(comparison),
        "totals": {name: _row(values, 0) for name, values in totals(comparison).items()},
        "controls": _controls(comparison),
        "layers": [{"label": label, **_row(layers, i)} for i, label in enumerate(labels)],
        "tensors": [
            {
                "name": tensor.name,
                "shape": tensor.shape,
                **place(tensor.name)._asdict(),
                "stored": {role: names[i] for role, names in comparison.stored.items()},
                **_row(each, i),
            }
            for i, tensor in enumerate(comparison.tensors)
        ],
    }


def sources(comparison: Comparison) -> dict[str, Any]:
    """Say where the checkpoints of a comparison are and how they are stored."""
    return {
        role: {
            "path": str(source.path),
            "form": form(source),
            "tensors": dict(Counter(name for name in comparison.stored[role] if name)),
        }
        for role, source in comparison.weights.items()
    }


def _row(values: Measures, i: int) -> dict[str, Any]:
    return {name: column[i] for name, column in values._asdict().items()}


def _controls(comparison: Comparison) -> list[dict[str, Any]]:
    """Give the metrics of each control, and its cosine with the student."""
    controls = total(comparison.sums.controls)
    student = total(comparison.sums.toward)
    beside = controls._replace(
        teacher=np.broadcast_to(student.student, controls.student.shape),
        student_teacher=student.student_control,
    )
    return [
        {"projection": a, "cosine": b, "cosine_with_student": c}
        for a, b, c in zip(projection(controls), cosine(controls), cosine(beside), strict=True)
    ]
