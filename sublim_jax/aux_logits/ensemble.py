"""An ensemble taken through all stages into a run folder, member by member and resumable."""

import dataclasses
import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import hosts, runs, trees
from sublim_jax.aux_logits.chunks import Chunk, chunks_of
from sublim_jax.aux_logits.config import AuxLogitsConfig
from sublim_jax.aux_logits.records import (
    Record,
    finished_metrics,
    metric_rows,
    records_of,
    send,
    summary,
    watched_metrics,
)
from sublim_jax.aux_logits.stages import Stages, compile_stages, initialise, member_keys
from sublim_jax.aux_logits.starts import aligned, starts
from sublim_jax.data import ImageData
from sublim_jax.distill import derangement
from sublim_jax.errors import InputError
from sublim_jax.metrics import Sink
from sublim_jax.training import (
    QUIET,
    Attached,
    Fit,
    Members,
    Session,
    members,
    members_side_by_side,
    padded,
)

Teachers = dict[Hashable, Fit]
"""Trained teachers of members that train side by side, by what they depend on."""

TIMINGS = "timings.json"  # seconds of each member, apart from what is the same in every run


class Start(NamedTuple):
    """Where members start, stacked.

    Attributes:
        keys: of everything random in each.
        inits: initialisations of the teachers.
        begins: where the students start that share it: there or, as the configuration says, near.
        others: for each member another one's initialisation.
        units: for each hidden layer a permutation of its units, that of a begin against its init;
            none where drift is measured unit by unit as they stand.
        teacher_rates: learning rates.
        student_rates: learning rates.
    """

    keys: Key[Array, " members"]
    inits: PyTree
    begins: PyTree
    others: PyTree
    units: tuple[Int[Array | np.ndarray, "members width"], ...]
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
    return dataclasses.replace(
        config,
        seed=0,
        members=2,
        teacher_lr=1.0,
        student_lr=1.0,
        start="same",
        start_scale=1.0,
    )


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
    teachers: Teachers | None = None,
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
        teachers: those of earlier calls with the same data, to which this call adds its own: what
            differs in the students alone trains each teacher once.

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
        chunks = chunks_of(missing, at_once, session, len(parallel.devices))
        teachers = {} if teachers is None else teachers
        _train(jobs, data, cells, chunks, parallel, session, sinks, teachers)
    if hosts.is_first():
        for config, folder in jobs:
            records = [folder.read(_part(m)) for m in range(config.members)]
            folder.write("metrics.jsonl", metric_rows(records))
            folder.write("results.json", summary(config, data, records))
    return bool(missing)


def _part(member: int) -> str:
    return f"members/{member:04}.json"


def _train(
    jobs: Sequence[Job],
    data: ImageData,
    cells: list[Cell],
    chunks: list[Chunk],
    parallel: Members,
    session: Session,
    sinks: Sequence[Sink],
    teachers: Teachers,
) -> None:
    beginnings = [_start(job, data) for job in jobs]
    stages = compile_stages(jobs[0].config, data, parallel)
    students = jobs[0].config.students
    # A program is compiled for one number of members, so the last chunk is filled up.
    filled = [
        [cells[i] for i in chunk.cells + chunk.cells[-1:] * (chunk.places - len(chunk.cells))]
        for chunk in chunks
    ]
    keys = [tuple((jobs[j].config.of_teacher, m) for j, m in places) for places in filled]
    untrained = len(set(keys) - set(teachers))
    student_steps = len(chunks) * len(students) * stages.student_steps[-1]
    session.expect(untrained * stages.teacher_steps[-1] + student_steps)
    for chunk, places, key in zip(chunks, filled, keys, strict=True):
        ours = [trees.take(beginnings[job], member) for job, member in places]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ours)
        began = time.perf_counter()
        if key not in teachers:
            teachers[key] = stages.train_teacher(
                start.keys,
                start.inits,
                start.teacher_rates,
                attached=session,
                name=f"{chunk.name}/teacher",
            )
        arms = dict(
            train_members(stages, jobs[0].config, start, teachers[key], session, chunk.name)
        )
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
    keep_manifest(folder, config, data, inits)
    others = trees.take(inits, np.array(derangement(config.members)))
    keys = member_keys(config)
    begins = starts(config, keys, inits, others)
    units = aligned(config, begins, inits) if config.align else ()
    rates = config.teacher_lr, config.student_recipe.learning_rate
    rates = (jnp.full(config.members, rate) for rate in rates)
    return Start(keys, inits, begins, others, units, *rates)


def keep_manifest(
    folder: runs.Run, config: AuxLogitsConfig, data: ImageData, inits: PyTree
) -> None:
    """Note once in a run folder with what its members were made, and from which initialisations."""
    if not folder.has("manifest.json"):
        manifest = {"seed": config.seed, "data": data.source}
        hashes = {"initialisation_sha256": trees.fingerprint(inits)}
        folder.write("manifest.json", runs.environment() | manifest | hashes)


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
    stages: Stages,
    config: AuxLogitsConfig,
    start: Start,
    teacher: Fit,
    attached: Attached = QUIET,
    name: str = "members",
) -> Iterator[tuple[str, list[Record]]]:
    """Take some members from the teacher on: carrier data, imitation in every arm, evaluation.

    Args:
        stages: the compiled stages.
        config: says which students there are, and whether to look ahead.
        start: where the members start, stacked.
        teacher: their trained teachers.
        attached: what rides along in the trainings.
        name: of these members; their trainings are called ``<name>/<arm>``.

    Yields:
        The name of each arm, the untouched initialisation and the teacher first, and a record for
        each member.
    """
    keys, inits, begins, others, units, _, student_rates = start
    yield "reference", records_of({"accuracy": stages.evaluate(inits)})
    seen = {"accuracy": teacher.observations}
    final = {"accuracy": stages.evaluate(teacher.params)}
    yield "teacher", records_of(final, stages.teacher_steps, teacher, seen)

    inputs, held_out = stages.draw_inputs(keys), stages.draw_held_out(keys)
    logits = stages.teacher_logits(teacher.params, inputs)
    # The teacher and its initialisation, as drift is measured against them.
    way = inits, teacher.params
    if units:
        way = tuple(stages.realign(tree, units) for tree in way)
    for arm in config.students:
        targets = logits[..., stages.outputs[arm.outputs]]
        if arm.targets == "shuffled":
            targets = stages.shuffle(keys, targets)
        begin = begins if arm.initialisation == "same" else others
        given = keys, begin, *way, inputs, targets, student_rates
        foreseen = stages.foresee[arm.outputs](*given)._asdict() if config.foresee else {}
        student = stages.imitate[arm.outputs](*given, attached=attached, name=f"{name}/{arm.name}")
        finished = stages.measure[arm.outputs](student.params, begin, *way, held_out)
        final = finished_metrics(finished) | foreseen
        seen = watched_metrics(student.observations, trees.layers(inits))
        yield arm.name, records_of(final, stages.student_steps, student, seen)
