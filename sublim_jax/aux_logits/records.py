"""What a run folder says of members: their curves, final values, and the summary of all."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Array

from sublim_jax import drift, hosts, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.data import ImageData
from sublim_jax.distill import ARMS
from sublim_jax.metrics import Sink
from sublim_jax.stats import t_interval
from sublim_jax.training import Fit

LABELS = {
    "reference": "reference (untouched)",
    "teacher": "teacher",
    **{arm.name: arm.label for arm in ARMS},
}
DRIFT = ("projection", "cosine", "distance_ratio", "relative_length")

Record = dict[str, Any]
"""A member in an arm (final accuracy, curve), or all arms of a member."""


def drift_metrics(seen: drift.Drift, layers: tuple[str, ...]) -> dict[str, Any]:
    """Turn the observed inner products ``[members, watched, layers]`` into metrics."""
    toward, gap = hosts.gather(seen)
    whole = drift.total(toward)
    shares = np.moveaxis(drift.projection_by_layer(toward), -1, 0)
    return {
        "projection": drift.projection(whole),
        "cosine": drift.cosine(whole),
        "relative_length": drift.relative_length(whole),
        "distance_ratio": drift.distance_ratio(drift.total(gap)),
        "projection_by_layer": dict(zip(layers, shares, strict=True)),
    }


def records_of(
    accuracies: Array,
    steps: tuple[int, ...] = (),
    fit: Fit | None = None,
    seen: dict[str, Any] | None = None,
) -> list[Record]:
    """Make for each member a record of its final accuracy and of its curves, a row for each step.

    The loss of a row is that of the batch after its step; after the last step there is none.
    """
    final = hosts.gather(accuracies)
    if fit is None:
        return [{"accuracy": accuracy} for accuracy in final]
    losses = np.pad(hosts.gather(fit.losses), ((0, 0), (0, 1)), constant_values=np.nan)
    curves = {"loss": losses[:, list(steps)], **hosts.gather(seen or {})}
    return [
        {
            "accuracy": accuracy,
            "curve": [
                {"step": step, **trees.take(curves, (member, row))}
                for row, step in enumerate(steps)
            ],
        }
        for member, accuracy in enumerate(final)
    ]


def metric_rows(records: list[Record]) -> Iterator[Record]:
    """Lay out all curves as rows, one for each member, arm and watched step."""
    for record in records:
        for arm, result in record["arms"].items():
            for row in result.get("curve", ()):
                yield {"member": record["member"], "arm": arm, **row}


def summary(config: AuxLogitsConfig, data: ImageData, records: list[Record]) -> dict[str, Any]:
    """Gather the final values: by arm and quantity one for each member, mean and interval."""

    def gathered(values: list[float]) -> dict[str, Any]:
        return t_interval(np.array(values))._asdict() | {
            "sd": np.std(values, ddof=1),
            "members": values,
        }

    arms = {}
    for arm, label in LABELS.items():
        results = [record["arms"][arm] for record in records]
        arms[arm] = {
            "label": label,
            "accuracy": gathered([result["accuracy"] for result in results]),
        }
        last = [result["curve"][-1] for result in results if "curve" in result]
        for quantity in DRIFT:
            if last and quantity in last[0]:
                arms[arm][quantity] = gathered([row[quantity] for row in last])
    return {
        "data": data.source,
        "members": config.members,
        "arms": arms,
    }


def send(record: Record, sink: Sink) -> None:
    """Give the curves of a member to a sink, a tag for each arm and quantity."""
    for arm, result in record["arms"].items():
        for row in result.get("curve", ()):
            values = {
                name: float(value)
                for name, value in row.items()
                if isinstance(value, float | np.floating) and np.isfinite(value)
            }
            sink.log(f"{record['member']:04}/{arm}", row["step"], values)
