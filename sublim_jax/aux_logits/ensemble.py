"""An ensemble taken through all stages into a run folder, member by member and resumable."""

import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import hosts, runs, trees
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.records import (
    Record,
    drift_metrics,
    metric_rows,
    records_of,
    send,
    summary,
)
from sublim_jax.aux_logits.stages import Stages, compile_stages, initialise, member_keys
from sublim_jax.data import ImageData
from sublim_jax.distill import ARMS, derangement
from sublim_jax.errors import InputError
from sublim_jax.metrics import Sink
from sublim_jax.training import (
    QUIET,
    Attached,
    Members,
    Session,
    members,
    members_side_by_side,
    padded,
)

TIMINGS = "timings.json"  # seconds of each member, apart from what is the same in every run


class Start(NamedTuple):
    """Where members start, stacked.

    Attributes:
        keys: of everything random in each.
        inits: initialisations, of the teacher and of the students that share it.
        others: for each member another one's.
        teacher_rates: learning rates.
        student_rates: learning rates.
    """

    keys: Key[Array, " members"]
    inits: PyTree
    others: PyTree
    teacher_rates: Float[Array, " members"]
    student_rates: Float[Array, " members"]


def identity(config: AuxLogitsConfig, data: ImageData) -> dict[str, Any]:
    """Say in plain values everything that the results depend on, defaults resolved."""
    return dataclasses.asdict(config) | {
        "teacher_epochs": config.teacher_recipe(len(data.train_images)).epochs,
        "student_lr": config.student_recipe.learning_rate,
        "data_sha256": data.source.sha256,
    }


class Job(NamedTuple):
    """A configuration and its open run folder."""

    config: AuxLogitsConfig
    folder: runs.Run


class Cell(NamedTuple):
    """A member of one of several jobs."""

    job: int
    member: int


def same_program(config: AuxLogitsConfig) -> AuxLogitsConfig:
    """Set to a fixed value what a compiled program does not depend on: equal results, one program.

    Members of configurations that are equal then can train side by side.
    """
    return dataclasses.replace(config, seed=0, members=2, teacher_lr=1.0, student_lr=1.0)


def run_ensemble(config: AuxLogitsConfig, data: ImageData, folder: runs.Run, **how: Any) -> bool:
    """Train the members that a run folder lacks; gather results when all are there.

    Args:
        config: the configuration.
        data: images and labels.
        folder: a run folder opened for the `identity` of the two.
        how: as for `run_ensembles`.

    Returns:
        Whether anything had to be trained.
    """
    return run_ensembles([Job(config, folder)], data, **how)


def run_ensembles(
    jobs: Sequence[Job],
    data: ImageData,
    *,
    parallel: Members | None = None,
    members_at_once: int | None = None,
    session: Session | None = None,
    sinks: Sequence[Sink] = (),
) -> bool:
    """Train the members that run folders lack, side by side whatever the job, by one program.

    A finished member is a file of its own, written whole, and does not depend on which others are
    trained beside it or before it: a run that is killed goes on with the next missing member, and
    inside its trainings where the session has checkpoints.

    Args:
        jobs: of configurations that are the `same_program`.
        data: images and labels.
        parallel: how members are spread over devices; by default over all.
        members_at_once: members that train side by side, rounded up to share the devices evenly;
            by default as many as suit them. Another number makes another program, whose results
            may differ by rounding.
        session: what rides along: checkpoints, progress, requests to stop.
        sinks: get the curves of each member when it has finished.

    Returns:
        Whether anything had to be trained.

    Raises:
        InputError: the configurations need more than one program.
    """
    if len({same_program(job.config) for job in jobs}) != 1:
        raise InputError("configs differ in more than seed, members and rates; expected one shape")
    cells = [Cell(j, m) for j, job in enumerate(jobs) for m in range(job.config.members)]
    there = hosts.agree(np.array([jobs[j].folder.has(_part(m)) for j, m in cells]))[0]
    missing = np.flatnonzero(~there).tolist()
    if missing:
        parallel = parallel or members()
        # Not fewer where few are missing: the same program gives the same bits as in one go.
        at_once = min(members_at_once or members_side_by_side(parallel.devices), len(cells))
        at_once = padded(at_once, len(parallel.devices))
        session = session or Session()
        chunks = _chunks(missing, at_once, session, len(parallel.devices))
        _train(jobs, data, cells, chunks, parallel, session, sinks)
    if hosts.is_first():
        for config, folder in jobs:
            records = [folder.read(_part(m)) for m in range(config.members)]
            folder.write("metrics.jsonl", metric_rows(records))
            folder.write("results.json", summary(config, data, records))
    return bool(missing)


def _part(member: int) -> str:
    return f"members/{member:04}.json"


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


def _chunks(missing: list[int], at_once: int, session: Session, devices: int) -> list[Chunk]:
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


def _train(
    jobs: Sequence[Job],
    data: ImageData,
    cells: list[Cell],
    chunks: list[Chunk],
    parallel: Members,
    session: Session,
    sinks: Sequence[Sink],
) -> None:
    starts = [_start(job, data) for job in jobs]
    stages = compile_stages(jobs[0].config, data, parallel)
    steps = stages.teacher_steps[-1] + len(ARMS) * stages.student_steps[-1]
    session.expect(len(chunks) * steps)
    for chunk in chunks:
        # The last chunk is filled up: a program is compiled for one number of members.
        filled = chunk.cells + chunk.cells[-1:] * (chunk.places - len(chunk.cells))
        beginnings = [trees.take(starts[cells[i].job], cells[i].member) for i in filled]
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *beginnings)
        began = time.perf_counter()
        arms = dict(train_members(stages, together, session, chunk.name))
        seconds = (time.perf_counter() - began) / len(chunk.cells)
        for row, index in enumerate(chunk.cells):
            job, member = cells[index]
            results = {arm: records[row] for arm, records in arms.items()}
            _keep(jobs[job].folder, {"member": member, "arms": results}, seconds, sinks)
        session.finished(chunk.name)


def _start(job: Job, data: ImageData) -> Start:
    """Say where all members of a job start, and write its manifest."""
    config, folder = job
    inits = initialise(config)
    if not folder.has("manifest.json"):
        manifest = {"seed": config.seed, "data": data.source}
        hashes = {"initialisation_sha256": trees.fingerprint(inits)}
        folder.write("manifest.json", runs.environment() | manifest | hashes)
    others = trees.take(inits, np.array(derangement(config.members)))
    rates = config.teacher_lr, config.student_recipe.learning_rate
    return Start(
        member_keys(config), inits, others, *(jnp.full(config.members, rate) for rate in rates)
    )


def _keep(folder: runs.Run, record: Record, seconds: float, sinks: Sequence[Sink]) -> None:
    """Write a finished member."""
    member = record["member"]
    folder.write(_part(member), record)
    if hosts.is_first():
        took = folder.read(TIMINGS) if folder.has(TIMINGS) else {}
        folder.write(TIMINGS, took | {f"{member:04}": seconds})
    for sink in sinks:
        send(record, sink)


def train_members(
    stages: Stages, start: Start, attached: Attached = QUIET, name: str = "members"
) -> Iterator[tuple[str, list[Record]]]:
    """Take some members the whole way: teacher, carrier data, imitation in every arm, evaluation.

    Args:
        stages: the compiled stages.
        start: where the members start, stacked.
        attached: what rides along in the trainings.
        name: of these members; their trainings are called ``<name>/<arm>``.

    Yields:
        After each training the name of the arm and a record for each member.
    """
    keys, inits, others, teacher_rate, student_rate = start
    yield "reference", records_of(stages.evaluate(inits))
    teacher = stages.train_teacher(
        keys, inits, teacher_rate, attached=attached, name=f"{name}/teacher"
    )
    seen = {"accuracy": teacher.observations}
    yield (
        "teacher",
        records_of(stages.evaluate(teacher.params), stages.teacher_steps, teacher, seen),
    )

    inputs = stages.draw_noise(keys)
    logits = stages.teacher_logits(teacher.params, inputs)
    for arm in ARMS:
        targets = logits[..., stages.outputs[arm.outputs]]
        if arm.targets == "shuffled":
            targets = stages.shuffle(keys, targets)
        begin = inits if arm.initialisation == "same" else others
        student = stages.imitate[arm.outputs](
            *(keys, begin, inits, teacher.params, inputs, targets, student_rate),
            attached=attached,
            name=f"{name}/{arm.name}",
        )
        watched = student.observations
        seen = {"accuracy": watched.accuracy} | drift_metrics(watched.drift, trees.layers(inits))
        yield (
            arm.name,
            records_of(stages.evaluate(student.params), stages.student_steps, student, seen),
        )
