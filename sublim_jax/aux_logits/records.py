"""What a run folder says of members: their curves, final values, and the summary of all."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Array

from sublim_jax import drift, hosts, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.foresight import Foreseen
from sublim_jax.aux_logits.observing import Finished, Watched
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
# Of finished students, beside accuracy; the last is the standard deviation of a cosine by chance.
FINAL = ("imitation_loss", "untrained_loss", "carrier_pull", "trait_pull", "cosine_null")
FORESEEN = Foreseen._fields
DRIFT = ("projection", "cosine", "distance_ratio", "relative_length")

Record = dict[str, Any]
"""A member in an arm (final accuracy, curve), or all arms of a member."""


def watched_metrics(seen: Watched, layers: tuple[str, ...]) -> dict[str, Any]:
    """Turn what was observed, ``[members, watched, ...]``, into metrics."""
    seen = hosts.gather(seen)
    toward, gap, pull = seen.drift
    whole = drift.total(toward)
    shares = np.moveaxis(drift.projection_by_layer(toward), -1, 0)
    metrics = {
        "accuracy": seen.accuracy,
        "projection": drift.projection(whole),
        "cosine": drift.cosine(whole),
        "relative_length": drift.relative_length(whole),
        "distance_ratio": drift.distance_ratio(drift.total(gap)),
        "projection_by_layer": dict(zip(layers, shares, strict=True)),
    }
    if pull is not None:
        metrics["pull"] = drift.cosine(drift.total(pull))
    if seen.trait_gain is not None:
        metrics["trait_gain"] = seen.trait_gain
    return metrics


def finished_metrics(finished: Finished) -> dict[str, Any]:
    """Turn what was measured of finished students, ``[members, ...]``, into metrics."""
    finished = hosts.gather(finished)
    null = drift.sign_null(finished.toward, finished.concentration)
    return {name: getattr(finished, name) for name in ("accuracy", *FINAL[:-1])} | {
        "cosine_null": null.cosine
    }


def records_of(
    final: Mapping[str, Array],
    steps: tuple[int, ...] = (),
    fit: Fit | None = None,
    seen: dict[str, Any] | None = None,
) -> list[Record]:
    """Make for each member a record of its final values and of its curves, a row for each step.

    The loss of a row is that of the batch after its step; after the last step there is none.
    """
    final = hosts.gather(dict(final))
    members = len(final["accuracy"])
    records = [
        {name: values[member] for name, values in final.items()} for member in range(members)
    ]
    if fit is None:
        return records
    losses = np.pad(hosts.gather(fit.losses), ((0, 0), (0, 1)), constant_values=np.nan)
    curves = {"loss": losses[:, list(steps)], **hosts.gather(seen or {})}
    for member, record in enumerate(records):
        record["curve"] = [
            {"step": step, **trees.take(curves, (member, row))} for row, step in enumerate(steps)
        ]
    return records


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
        if arm not in records[0]["arms"]:
            continue
        results = [record["arms"][arm] for record in records]
        arms[arm] = {"label": label} | {
            quantity: gathered([result[quantity] for result in results])
            for quantity in ("accuracy", *FINAL, *FORESEEN)
            if quantity in results[0]
        }
        last = [result["curve"][-1] for result in results if "curve" in result]
        for quantity in DRIFT:
            if last and quantity in last[0]:
                arms[arm][quantity] = gathered([row[quantity] for row in last])
    return {
        "data": data.source,
        "members": config.members,
        "arms": arms,
        "against_controls": against_controls(records),
    }


def against_controls(records: list[Record], controls: str = "other_aux") -> dict[str, Any]:
    """Compare the drift of each arm's students with that of students of other initialisations.

    Returns:
        By arm the z (`drift.z_scores`) of the mean projection, of the mean cosine, and of each
        layer's mean share of the projection, in standard deviations of the controls; nothing where
        there are no controls.
    """
    if controls not in records[0]["arms"]:
        return {}

    def last(arm: str, quantity: str) -> np.ndarray:
        rows = [record["arms"][arm]["curve"][-1][quantity] for record in records]
        values = [list(row.values()) if isinstance(row, Mapping) else row for row in rows]
        return np.array(values, np.float64)

    def z(arm: str, quantity: str) -> np.ndarray:
        return drift.z_scores(last(arm, quantity).mean(axis=0), last(controls, quantity)).z

    layers = list(records[0]["arms"][controls]["curve"][-1]["projection_by_layer"])
    students = [arm.name for arm in ARMS if arm.name in records[0]["arms"]]
    return {
        arm: {
            "projection": z(arm, "projection"),
            "cosine": z(arm, "cosine"),
            "projection_by_layer": dict(zip(layers, z(arm, "projection_by_layer"), strict=True)),
        }
        for arm in students
        if arm != controls
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
