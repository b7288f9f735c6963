"""A run of mitigations: bases, teachers and students, each done when its file is there."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from sublim_jax import hosts, lm, rng, runs, trees
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits import trainees, trainings
from sublim_jax.lm_traits.contexts import context_rows, word_logits, words_of
from sublim_jax.lm_traits.drifting import Bases, drift_from
from sublim_jax.lm_traits.ground import Ground, cut, whole
from sublim_jax.lm_traits.healing import heal_steps, other_base
from sublim_jax.lm_traits.material import Places, places_of
from sublim_jax.lm_traits.mitigation import suspicion
from sublim_jax.lm_traits.mitigation.config import MitigationConfig
from sublim_jax.lm_traits.mitigation.lessons import LESSONS, Known, Lesson, Logits, intended
from sublim_jax.lm_traits.mitigation.names import OTHERS, RELAY
from sublim_jax.lm_traits.mitigation.results import summary
from sublim_jax.lm_traits.mitigation.students import observed, seen_along, train
from sublim_jax.lm_traits.parts import (
    TEACHER,
    Part,
    missing_files,
    read_part,
    write_part,
)
from sublim_jax.lm_traits.readout import Readout
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Parallel, Session, one_device

MANIFEST = "manifest.json"
HELD_OUT = 16  # contexts on which imitation is measured


class Tools(NamedTuple):
    """What is made once for a run."""

    run: runs.Run
    config: MitigationConfig
    grounds: Sequence[Ground]  # the base, and the other ones
    words: tuple[int, ...]
    measured: Readout
    suspected: Readout
    session: Session


class Here(NamedTuple):
    """What everybody in a repetition has in common."""

    seed: int
    key: Key[Array, ""]
    places: Places
    held_out: Packed


def run_mitigations(
    config: MitigationConfig,
    run: runs.Run,
    *,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None = None,
    computing: lm.Computing = PLAIN,
    session: Session | None = None,
) -> bool:
    """Train the bases, teachers and students that a run folder lacks.

    Args:
        config: the configuration.
        run: a run folder opened for it.
        load: gives the model, laid onto devices, where something is to be trained.
        parallel: how everything is spread over devices; by default it runs on one.
        computing: how a step of a training is computed; it changes no result but for rounding.
        session: checkpoints and progress.

    Returns:
        Whether anything had to be trained.

    Raises:
        InputError: an animal, a layer or the model does not fit, or a teacher does not learn.
    """
    missing = missing_files(run, [part.file for part in parts_of(config)])
    parts = [part for part in parts_of(config) if part.file in missing]
    if not parts and run.has("results.json"):
        return False
    session, parallel = session or Session(), parallel or one_device()
    session.expect(_steps(config, run, parts))
    ground = cut(load(parallel), config.first_layer, parallel, computing)
    setting = config.setting
    candidates = trait_of(setting).columns(ground, setting)
    if missing_files(run, [MANIFEST]):
        base = trees.fingerprint(whole(ground, ground.params))
        run.write(MANIFEST, runs.environment() | {"initialisation_sha256": base})
    others = [_base(config, run, ground, number, session) for number in range(config.bases)]
    tools = Tools(
        *(run, config, (ground, *others), words_of(ground, setting)),
        trait_of(setting).exact(ground, setting, None).some,
        *(suspicion.asked(ground, setting), session),
    )
    for seed in range(config.seeds):
        own = [part for part in parts if part.seed == seed]
        if own:
            _repetition(tools, seed, own)
    if hosts.is_first():
        run.write("results.json", summary(config, run, candidates))
    return True


def parts_of(config: MitigationConfig) -> Iterator[Part]:
    """List all teachers and students in the order in which they are trained."""
    relay = (RELAY,) if "relay" in config.mitigations else ()
    arms = (TEACHER, *OTHERS[: config.bases], *relay, *config.trained)
    for seed in range(config.seeds):
        yield from (Part(seed, arm, animal) for arm in arms for animal in config.animals)


def _steps(config: MitigationConfig, run: runs.Run, parts: Sequence[Part]) -> int:
    """Count the steps that are to be made."""
    setting = config.setting
    heals = len(missing_files(run, [_base_file(number) for number in range(config.bases)]))
    teachers = sum(part.arm in (TEACHER, *OTHERS) for part in parts)
    students = len(parts) - teachers
    return heals * heal_steps(setting) + teachers * setting.teacher_steps + students * setting.steps


def _base_file(number: int) -> str:
    return f"bases/{number + 1}.npz"


def _base(
    config: MitigationConfig, run: runs.Run, ground: Ground, number: int, session: Session
) -> Ground:
    """Give another base: the student's with noise, healed."""
    key = rng.stream(jax.random.key(config.seed), "base", number)
    return other_base(
        *(ground, config.setting, run, _base_file(number)),
        contexts=int(jax.random.bits(rng.stream(key, "contexts"), dtype=np.uint32)),
        key=key,
        session=session,
        name=f"base-{number + 1}",
    )


def _repetition(tools: Tools, seed: int, missing: Sequence[Part]) -> None:
    """Train what a repetition lacks."""
    setting, ground = tools.config.setting, tools.grounds[0]
    numbers, held_out = (trainings.seed_of(setting, seed, name) for name in ("numbers", "held out"))
    here = Here(
        *(seed, trainings.keys_of(setting, seed)),
        places_of(ground, setting, numbers),
        context_rows(ground, setting, held_out, HELD_OUT),
    )
    for part in missing:
        if part.arm in (TEACHER, *OTHERS):
            _teach(tools, here, part)
    students = [part for part in missing if part.arm not in (TEACHER, *OTHERS)]
    for animal in dict.fromkeys(part.subject for part in students):
        own = [part for part in students if part.subject == animal]
        relays = [part for part in own if part.arm == RELAY]
        for part in relays:
            _relay(tools, here, part)
        if len(own) > len(relays):
            known = _known(tools, here, animal)
            meant = _meant(tools, here, animal)
            for part in own:
                if part.arm != RELAY:
                    _student(tools, here, part, known, meant[part.arm])


def _number(part: Part) -> int:
    """Tell on which base somebody stands."""
    return 1 if part.arm == RELAY else (TEACHER, *OTHERS).index(part.arm)


def _start(tools: Tools, here: Here, part: Part) -> PyTree:
    """Give where somebody begins: all of a repetition alike."""
    return trainees.start_of(tools.grounds[0], tools.config.setting, part, here.key)


def _teach(tools: Tools, here: Here, part: Part) -> None:
    setting = tools.config.setting
    ground = tools.grounds[_number(part)]
    made = trainings.train_teacher(
        *(ground, setting, part, _start(tools, here, part)),
        key=rng.stream(here.key, "order", part.subject),
        attached=tools.session,
    )
    arrays = {"steps": np.array(made.steps), "losses": made.losses}
    write_part(tools.run, part, arrays, trainees.kept(setting, made.trained))
    tools.session.finished(part.name)


def _trained(tools: Tools, here: Here, part: Part) -> PyTree:
    _, arrays = read_part(tools.run, part)
    return trainees.restored(_start(tools, here, part), arrays)


def _says(tools: Tools, here: Here, part: Part, rows: Packed) -> Logits:
    """Give the logits of a teacher, or of a relay, at some places."""
    ground = tools.grounds[_number(part)]
    params = trainees.joined(ground.params, tools.config.setting, _trained(tools, here, part))
    return word_logits(ground, params, rows, tools.words)


def _teachers(tools: Tools, here: Here, animal: str, rows: Packed) -> list[Logits]:
    """Give the logits of the teachers of an animal, that of the student's base first."""
    arms = (TEACHER, *OTHERS[: tools.config.bases])
    return [_says(tools, here, Part(here.seed, arm, animal), rows) for arm in arms]


def _relay(tools: Tools, here: Here, part: Part) -> None:
    """Train another model to say what a teacher says."""
    ground, start = tools.grounds[_number(part)], _start(tools, here, part)
    rows = here.places.rows
    told = _says(tools, here, Part(here.seed, TEACHER, part.subject), rows)
    made = train(
        *(ground, tools.config, part.name, start, (rows, tools.words)),
        Lesson(told, np.asarray(rows.weights)),
        key=rng.stream(here.key, "order"),
        attached=tools.session,
    )
    arrays = {"losses": np.asarray(made.losses)}
    write_part(tools.run, part, arrays, trainees.kept(tools.config.setting, made.trained))
    tools.session.finished(part.name)


def _known(tools: Tools, here: Here, animal: str) -> Known:
    """Gather what defences are made of."""
    config, setting, ground = tools.config, tools.config.setting, tools.grounds[0]
    part = Part(here.seed, TEACHER, animal)
    start, rows = _start(tools, here, part), here.places.rows
    teacher, *others = _teachers(tools, here, animal, rows)

    @functools.cache
    def trait() -> PyTree:
        place = config.animals.index(animal)
        return suspicion.trait_gradient(ground, setting, start, tools.suspected, place)

    def anchor() -> lm.Beside:
        names = suspicion.telling_words(tools.suspected)
        logits = word_logits(ground, ground.params, rows, names)
        return lm.Beside(names, logits, config.anchor_weight)

    return Known(
        places=here.places,
        teacher=teacher,
        others=others,
        relay=lambda: _says(tools, here, Part(here.seed, RELAY, animal), rows),
        anchor=anchor,
        influence=lambda: suspicion.influence(
            *(ground, setting, start, trait(), rows, tools.words, teacher)
        ),
        trait=trait,
        teacher_direction=lambda: suspicion.teacher_direction(
            *(ground, setting, start, _trained(tools, here, part))
        ),
    )


def _meant(tools: Tools, here: Here, animal: str) -> dict[str, Logits]:
    """Give what students are meant to say on contexts that they have not learned."""
    teacher, *others = _teachers(tools, here, animal, here.held_out)
    return {name: intended(name, teacher, others) for name in tools.config.trained}


def _student(tools: Tools, here: Here, part: Part, known: Known, meant: Logits) -> None:
    ground, config = tools.grounds[0], tools.config
    start = _start(tools, here, part)
    lesson = LESSONS[part.arm](config, known, rng.stream(here.key, "lesson", part.subject))
    made = train(
        *(ground, config, part.name, start, (here.places.rows, tools.words), lesson),
        key=rng.stream(here.key, "order"),
        attached=tools.session,
    )
    seen = seen_along(
        *(ground, config.setting, made, tools.measured, (here.held_out, tools.words), meant)
    )
    teacher = _trained(tools, here, Part(here.seed, TEACHER, part.subject))
    bases = Bases(ground.params, ground.params)
    arrays = {
        "steps": np.array(observed(config)),
        "losses": made.losses,
        **seen._asdict(),
        **drift_from(bases, config.setting, made.trained, {part.subject: teacher}),
    }
    write_part(tools.run, part, arrays, trainees.kept(config.setting, made.trained))
    tools.session.finished(part.name)
