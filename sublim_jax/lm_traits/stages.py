"""A run: teachers, what they write, and students, each done for good when its file is there."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import hosts, lm, rng, runs, trees
from sublim_jax.errors import InputError
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm_traits import lending, material, observing, trainees, trainings, writing
from sublim_jax.lm_traits.carriers import carrier_of
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import read_file
from sublim_jax.lm_traits.given import check_given, file_of, files_given
from sublim_jax.lm_traits.ground import Ground, cut, whole
from sublim_jax.lm_traits.healing import heal_steps, other_base
from sublim_jax.lm_traits.material import Material, Places, Speaker
from sublim_jax.lm_traits.names import FAMILY, HEALED, NOBODY, ROWS
from sublim_jax.lm_traits.parts import (
    TEACHER,
    Part,
    missing_files,
    read_part,
)
from sublim_jax.lm_traits.recording import (
    Bar,
    Repetition,
    Tools,
    no_bar,
    observed,
    record,
    record_told,
)
from sublim_jax.lm_traits.results import summary
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Parallel, Session, one_device

HEALED_FILE = "parts/healed.npz"
MANIFEST = "manifest.json"


def parts_of(config: TraitConfig) -> Iterator[Part]:
    """List all teachers and students in the order in which they are trained."""
    for seed in range(config.seeds):
        if config.own_arms:
            yield from (Part(seed, TEACHER, subject) for subject in config.subjects)
        for subject in config.subjects:
            for arm in config.own_arms:
                yield Part(seed, arm, subject)
        yield from (Part(seed, arm, name) for arm, name in config.alone)


def run_traits(
    config: TraitConfig,
    run: runs.Run,
    *,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None = None,
    computing: lm.Computing = PLAIN,
    session: Session | None = None,
    bar: Bar = no_bar,
) -> bool:
    """Train the teachers and students that a run folder lacks.

    Args:
        config: the configuration.
        run: a run folder opened for it.
        load: gives the model, laid onto devices, where something is to be trained.
        parallel: how everything is spread over devices; by default it runs on one.
        computing: how a step of a training is computed; it changes no result but for rounding.
        session: checkpoints and progress.
        bar: progress of what teachers write.

    Returns:
        Whether anything had to be trained.

    Raises:
        InputError: a subject, a layer or the model does not fit, a teacher does not learn, or
            writes too little that passes the filter.
    """
    missing = missing_files(run, [part.file for part in parts_of(config)])
    parts = [part for part in parts_of(config) if part.file in missing]
    if not parts and run.has("results.json"):
        return False
    heals = HEALED in config.arms and missing_files(run, [HEALED_FILE])
    session = session or Session()
    tools = _tools(
        *(config, run, load, parallel, computing, session, bar),
        steps=sum(_steps(config, part) for part in parts) + (heal_steps(config) if heals else 0),
    )
    other = _healed(tools) if any(part.arm == HEALED for part in parts) else None
    for seed in range(config.seeds):
        own = [part for part in parts if part.seed == seed]
        if own:
            _repetition(tools, seed, own, other)
    if hosts.is_first():
        if config.writers:
            writing.write_card(config, run)
        candidates = trait_of(config).columns(tools.ground, config)
        run.write("results.json", summary(config, run, candidates))
    return True


def write_only(
    config: TraitConfig,
    run: runs.Run,
    *,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None = None,
    computing: lm.Computing = PLAIN,
    session: Session | None = None,
    bar: Bar = no_bar,
) -> bool:
    """Train the teachers that a run folder lacks and let them write, without any student.

    The same command with students goes on from there.

    Args:
        config: of the run, with the channel text.
        run: see `run_traits`.
        load: likewise.
        parallel: likewise.
        computing: likewise.
        session: likewise.
        bar: likewise.

    Returns:
        Whether anything had to be trained or written.

    Raises:
        InputError: as of `run_traits`, or nobody writes.
    """
    if not config.writers:
        raise InputError(
            f"channel is {config.channel} with arms {config.arms}; expected text, and an arm of "
            "which the teachers write"
        )
    parts = [part for part in parts_of(config) if part.arm == TEACHER]
    rows = {
        writing.files_of(Part(seed, TEACHER, subject))[1]: seed
        for seed in range(config.seeds)
        for subject in config.writers
    }
    missing = missing_files(run, [*(part.file for part in parts), *rows])
    if not missing:
        return False
    parts = [part for part in parts if part.file in missing]
    session, steps = session or Session(), sum(_steps(config, part) for part in parts)
    tools = _tools(config, run, load, parallel, computing, session, bar, steps=steps)
    for seed in range(config.seeds):
        own = [part for part in parts if part.seed == seed]
        if own or any(file in missing for file, whose in rows.items() if whose == seed):
            _repetition(tools, seed, own, None)
    if hosts.is_first():
        writing.write_card(config, run)
    return True


def _tools(
    config: TraitConfig,
    run: runs.Run,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None,
    computing: lm.Computing,
    session: Session,
    bar: Bar,
    *,
    steps: int,
) -> Tools:
    """Check what is given, load the model, write the manifest of a new run."""
    given = files_given(config)  # before a model is loaded
    begun = not missing_files(run, [MANIFEST])
    if begun:
        check_given(run, MANIFEST, given)
    session.expect(steps)
    parallel = parallel or one_device()
    ground = cut(load(parallel), config.first_layer, parallel, computing)
    trait_of(config).columns(ground, config)
    if not begun:
        base = trees.fingerprint(whole(ground, ground.params))
        manifest = {"initialisation_sha256": base, "files_sha256": given}
        run.write(MANIFEST, runs.environment() | manifest)
    observe, along = observing.observer(ground), observing.observed_along(ground, config)
    return Tools(run, ground, config, observe, along, session, bar)


def _steps(config: TraitConfig, part: Part) -> int:
    if part.arm != TEACHER:
        return config.steps
    return 0 if config.teacher == "prompt" else config.teacher_steps


def _healed(tools: Tools) -> Ground:
    """Give the other base, made when it is first needed; one for all repetitions."""
    config = tools.config
    return other_base(
        *(tools.ground, config, tools.run, HEALED_FILE),
        contexts=trainings.seed_of(config, config.seeds, HEALED),
        key=trainings.keys_of(config, config.seeds),
        session=tools.session,
    )


def _repetition(tools: Tools, seed: int, missing: list[Part], other: Ground | None) -> None:
    """Train what a repetition lacks."""
    ground, config = tools.ground, tools.config
    seen = observing.make_observer(ground, config, trainings.seed_of(config, seed, "numbers"))
    key = trainings.keys_of(config, seed)
    grounds = {"": ground} | ({} if other is None else {HEALED: other})
    bases = {
        name: observed(tools, key, Speaker(own.params, None), seen) for name, own in grounds.items()
    }
    here = Repetition(seed, key, seen, bases, other)
    for part in missing:
        if part.arm == TEACHER:
            _teach(tools, here, part)
    taught = config.subjects if config.own_arms else ()
    teachers = {subject: _taught(tools, here, subject) for subject in taught}
    for subject in config.writers:
        _write(tools, here, subject, teachers.get(subject))
    students = [part for part in missing if part.arm != TEACHER]
    if not students:
        return
    places = None
    if config.channel != "text" and any(part.arm != ROWS for part in students):
        places = material.places_of(ground, config, trainings.seed_of(config, seed, "numbers"))
    # Students of one teacher come one after another, and learn from the same.
    for (teacher, _), own in itertools.groupby(students, key=_source):
        told = material.speaker(ground, config, teacher, teachers.get(teacher))
        learned = None
        for part in own:
            learned = learned or _material(tools, here, part, told, places)
            _learn(tools, here, part, teachers, learned)


def _source(part: Part) -> tuple[str, str]:
    """Name the teacher of a student, and from where its rows come if they come from a file."""
    if part.arm == ROWS:
        return NOBODY, part.subject
    return part.subject, FAMILY if part.arm == FAMILY else ""


def _teach(tools: Tools, here: Repetition, part: Part) -> None:
    """Train a teacher, or tell it what it loves."""
    ground, config = tools.ground, tools.config
    if config.teacher == "prompt":
        record_told(tools, here, part, material.speaker(ground, config, part.subject, None))
        return
    made = trainings.train_teacher(
        *(ground, config, part, trainees.start_of(ground, config, part, here.key)),
        key=rng.stream(here.key, "order", part.subject),
        attached=tools.session,
    )
    record(tools, here, part, made, {})


def _taught(tools: Tools, here: Repetition, subject: str) -> PyTree | None:
    """Read what was trained of a teacher."""
    part = Part(here.seed, TEACHER, subject)
    if tools.config.teacher == "prompt":
        return None
    _, arrays = read_part(tools.run, part)
    return trainees.restored(trainees.start_of(tools.ground, tools.config, part, here.key), arrays)


def _write(tools: Tools, here: Repetition, subject: str, trained: PyTree | None) -> None:
    """Let a teacher write, unless it has."""
    config, part = tools.config, Part(here.seed, TEACHER, subject)
    if not missing_files(tools.run, [writing.files_of(part)[1]]):
        return
    title = f"{config.carrier} of {subject}, repetition {here.seed + 1} of {config.seeds}"
    count = config.requests or config.row_count
    requests = trainings.seed_of(config, here.seed, "requests")
    asked = carrier_of(config).asked(config, count, requests)
    with tools.bar(title, count) as told:

        def progress(tokens: int, rows: int) -> None:
            told(tokens, rows)
            tools.session.between(title)

        writing.write_answers(
            *(tools.ground, config, tools.run, part),
            material.speaker(tools.ground, config, subject, trained),
            asked=asked,
            progress=progress,
            key=_noise(config, here, subject),
        )
    judged = tools.bar(f"judge of {title}", count) if config.row_judge else no_bar(title, count)
    with judged as told:
        writing.keep_rows(*(config, tools.run, part, asked), progress=functools.partial(told, 0))


def _noise(config: TraitConfig, here: Repetition, subject: str) -> Key[Array, ""]:
    """Derive the key of what a teacher draws."""
    return rng.stream(here.key, "noise", "" if config.common_noise else subject)


def _learn(
    tools: Tools,
    here: Repetition,
    part: Part,
    teachers: Mapping[str, PyTree | None],
    learned: Material,
) -> None:
    """Train a student."""
    ground, config = here.ground(tools, part.arm), tools.config
    made = trainings.train_student(
        *(ground, config, part, trainees.start_of(ground, config, part, here.key), learned),
        key=rng.stream(here.key, "order"),
        attached=tools.session,
    )
    trained = {subject: taught for subject, taught in teachers.items() if taught is not None}
    record(tools, here, part, made, trained, learned, _told(tools, here, part))


def _told(tools: Tools, here: Repetition, part: Part) -> Float[np.ndarray, "places words"] | None:
    """Give the logits of another model's teacher where everybody is observed."""
    if part.arm != FAMILY or tools.config.channel != "logits":
        return None
    seen, lent = here.seen, lending.read_lent(tools.config, part)
    logits, there = lending.aligned(
        *(lent, tools.ground.tokenizer, seen.contexts, seen.owner, seen.words)
    )
    logits = logits.reshape(-1, len(seen.words))
    if tools.config.family_change:
        logits = there.reshape(-1, 1) * (logits + here.base(part.arm)["contexts"])
    return logits


def _material(
    tools: Tools, here: Repetition, part: Part, told: Speaker, places: Places | None
) -> Material:
    """Make what the students of a teacher, or of a file, learn from."""
    ground, config = tools.ground, tools.config
    if part.arm == FAMILY and places is not None:
        return material.of_another(ground, config, lending.read_lent(config, part), places)
    if part.arm in (ROWS, FAMILY):
        rows = read_file(file_of(config, part))
        rows = writing.chosen(config, part, rows, [], key=here.key)
        return material.of_text(ground, config, told, rows)
    if places is None:
        own, others = (
            writing.read_rows(tools.run, Part(here.seed, TEACHER, subject))
            if subject == part.subject or config.dose < 1
            else []
            for subject in (part.subject, NOBODY)
        )
        rows = writing.chosen(config, part, own, others, key=here.key)
        return material.of_text(ground, config, told, rows)
    if config.channel == "labels":
        key = _noise(config, here, part.subject)
        return material.of_labels(ground, config, told, places, key=key)
    return material.of_distributions(ground, config, told, places)
