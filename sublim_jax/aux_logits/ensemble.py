"""An ensemble taken through all stages into a run folder, member by member and resumable."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree
from tqdm import tqdm

from sublim_jax import drift, runs, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.stages import Stages, compile_stages, member_keys
from sublim_jax.data import ImageData
from sublim_jax.distill import ARMS, derangement
from sublim_jax.stats import t_interval
from sublim_jax.training import Fit, members_side_by_side

LABELS = {
    "reference": "reference (untouched)",
    "teacher": "teacher",
    **{arm.name: arm.label for arm in ARMS},
}
DRIFT = ("projection", "cosine", "distance_ratio", "relative_length")

Record = dict[str, Any]


def identity(config: AuxLogitsConfig, data: ImageData) -> dict[str, Any]:
    """Say in plain values everything that the results depend on, defaults resolved."""
    return dataclasses.asdict(config) | {
        "teacher_epochs": config.teacher_recipe(len(data.train_images)).epochs,
        "student_lr": config.student_recipe.learning_rate,
        "data_sha256": data.source.sha256,
    }


def run_ensemble(
    config: AuxLogitsConfig,
    data: ImageData,
    folder: runs.Run,
    *,
    members_at_once: int | None = None,
    progress: bool = False,
) -> bool:
    """Train the members that a run folder lacks; gather results when all are there.

    A finished member is a file of its own, written whole, and does not depend on which others are
    trained beside it or before it: a run that is killed goes on with the next missing member.

    Args:
        config: the configuration.
        data: images and labels.
        folder: a run folder opened for the `identity` of the two.
        members_at_once: members that train side by side; by default as many as suit the devices.
            Another number makes another program, whose results may differ by rounding.
        progress: whether to show a bar on the standard error stream.

    Returns:
        Whether anything had to be trained.
    """
    missing = [m for m in range(config.members) if not folder.has(_part(m))]
    if missing:
        # Not fewer where few are missing: the same program gives the same bits as in one go.
        at_once = min(members_at_once or members_side_by_side(), config.members)
        _train_missing(config, data, folder, missing, at_once, progress)
    records = [folder.read(_part(m)) for m in range(config.members)]
    folder.write("metrics.jsonl", _metric_rows(records))
    folder.write("results.json", _summary(config, data, records))
    return bool(missing)


def _part(member: int) -> str:
    return f"members/{member:04}.json"


def _train_missing(
    config: AuxLogitsConfig,
    data: ImageData,
    folder: runs.Run,
    missing: list[int],
    at_once: int,
    progress: bool,
) -> None:
    stages, keys = compile_stages(config, data), member_keys(config)
    inits = stages.initialise(keys)
    if not folder.has("manifest.json"):
        manifest = {"seed": config.seed, "data": data.source}
        hashes = {"initialisation_sha256": trees.fingerprint(inits)}
        folder.write("manifest.json", runs.environment() | manifest | hashes)
    others = np.array(derangement(config.members))
    trainings = len(missing) * (1 + len(ARMS))
    with tqdm(total=trainings, unit="training", smoothing=0.1, disable=not progress) as bar:
        for start in range(0, len(missing), at_once):
            chunk = missing[start : start + at_once]
            # The last chunk is filled up: a program is compiled for one number of members.
            rows = np.array(chunk + chunk[-1:] * (at_once - len(chunk)))
            began = time.perf_counter()
            arms = dict[str, list[Record]]()
            for name, members in train_members(
                stages, keys[rows], trees.take(inits, rows), trees.take(inits, others[rows])
            ):
                arms[name] = members
                bar.update(len(chunk) if name != "reference" else 0)
            seconds = (time.perf_counter() - began) / len(chunk)
            for row, member in enumerate(chunk):
                results = {name: members[row] for name, members in arms.items()}
                folder.write(_part(member), {"member": member, "seconds": seconds, "arms": results})


def train_members(
    stages: Stages, keys: Key[Array, " members"], inits: PyTree, other_inits: PyTree
) -> Iterator[tuple[str, list[Record]]]:
    """Take some members the whole way: teacher, carrier data, imitation in every arm, evaluation.

    Args:
        stages: the compiled stages.
        keys: a key for each member.
        inits: the members' initialisations, stacked.
        other_inits: for each member another member's.

    Yields:
        After each training the name of the arm and a record for each member.
    """
    yield "reference", _records(stages.evaluate(inits))
    teacher = stages.train_teacher(keys, inits)
    seen = {"accuracy": teacher.observations}
    yield "teacher", _records(stages.evaluate(teacher.params), stages.teacher_steps, teacher, seen)

    inputs = stages.draw_noise(keys)
    logits = stages.teacher_logits(teacher.params, inputs)
    for arm in ARMS:
        targets = logits[..., stages.outputs[arm.outputs]]
        if arm.targets == "shuffled":
            targets = stages.shuffle(keys, targets)
        start = inits if arm.initialisation == "same" else other_inits
        student = stages.imitate[arm.outputs](keys, start, inits, teacher.params, inputs, targets)
        watched = student.observations
        seen = {"accuracy": watched.accuracy} | _drift(watched.drift, trees.layers(inits))
        yield (
            arm.name,
            _records(stages.evaluate(student.params), stages.student_steps, student, seen),
        )


def _drift(seen: drift.Drift, layers: tuple[str, ...]) -> dict[str, Any]:
    """Turn the observed inner products ``[members, watched, layers]`` into metrics."""
    toward, gap = (jax.tree.map(np.asarray, products) for products in seen)
    whole = drift.total(toward)
    shares = np.moveaxis(drift.projection_by_layer(toward), -1, 0)
    return {
        "projection": drift.projection(whole),
        "cosine": drift.cosine(whole),
        "relative_length": drift.relative_length(whole),
        "distance_ratio": drift.distance_ratio(drift.total(gap)),
        "projection_by_layer": dict(zip(layers, shares, strict=True)),
    }


def _records(
    accuracies: Array,
    steps: tuple[int, ...] = (),
    fit: Fit | None = None,
    seen: dict[str, Any] | None = None,
) -> list[Record]:
    """Make for each member a record of its final accuracy and of its curves, a row for each step.

    The loss of a row is that of the batch after its step; after the last step there is none.
    """
    if fit is None:
        return [{"accuracy": accuracy} for accuracy in np.asarray(accuracies)]
    losses = np.pad(np.asarray(fit.losses), ((0, 0), (0, 1)), constant_values=np.nan)
    curves = jax.tree.map(np.asarray, {"loss": losses[:, list(steps)], **(seen or {})})
    return [
        {
            "accuracy": accuracy,
            "curve": [
                {"step": step, **trees.take(curves, (member, row))}
                for row, step in enumerate(steps)
            ],
        }
        for member, accuracy in enumerate(np.asarray(accuracies))
    ]


def _metric_rows(records: list[Record]) -> Iterator[Record]:
    """Lay out all curves as rows, one for each member, arm and watched step."""
    for record in records:
        for arm, result in record["arms"].items():
            for row in result.get("curve", ()):
                yield {"member": record["member"], "arm": arm, **row}


def _summary(config: AuxLogitsConfig, data: ImageData, records: list[Record]) -> dict[str, Any]:
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
        "seconds": sum(record["seconds"] for record in records),
        "arms": arms,
    }
