"""A run: teachers and students one after another, each done for good when its file is there."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Key

from sublim_jax import hosts, lm, rng, runs, trees
from sublim_jax.lm.trained import Adapter
from sublim_jax.lm_numbers import observing, trainings
from sublim_jax.lm_numbers.config import NumbersConfig
from sublim_jax.lm_numbers.drifting import drift_from, null_cosines
from sublim_jax.lm_numbers.ground import Ground, cut, whole
from sublim_jax.lm_numbers.parts import TEACHER, Part, read_part, with_b, write_part
from sublim_jax.lm_numbers.results import summary
from sublim_jax.training import Parallel, Session, one_device


class Tools(NamedTuple):
    """What is compiled once for a run.

    Attributes:
        ground: the model, cut.
        config: of the run.
        observe: see `sublim_jax.lm_numbers.observing.observer`.
        along: see `sublim_jax.lm_numbers.observing.observed_along`.
    """

    ground: Ground
    config: NumbersConfig
    observe: Callable[..., Any]
    along: Callable[..., Any]


def parts_of(config: NumbersConfig) -> Iterator[Part]:
    """List all teachers and students in the order in which they are trained."""
    for seed in range(config.seeds):
        for animal in config.animals:
            for arm in (TEACHER, *config.arms):
                yield Part(seed, arm, animal)


def run_numbers(
    config: NumbersConfig,
    run: runs.Run,
    *,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None = None,
    session: Session | None = None,
) -> bool:
    """Train the teachers and students that a run folder lacks.

    Args:
        config: the configuration.
        run: a run folder opened for it.
        load: gives the model, laid onto devices, where something is to be trained.
        parallel: how trainings are spread over devices; by default they run on one.
        session: checkpoints and progress.

    Returns:
        Whether anything had to be trained.

    Raises:
        InputError: an animal, a layer or the model does not fit, or a teacher does not learn.
    """
    there = np.array([run.has(part.file) for part in parts_of(config)])
    missing = [p for p, has in zip(parts_of(config), hosts.agree(there)[0], strict=True) if not has]
    if not missing and run.has("results.json"):
        return False
    session = session or Session()
    session.expect(sum(_steps(config, part) for part in missing))
    parallel = parallel or one_device()
    ground = cut(load(parallel), config.first_layer, parallel)
    candidates = observing.candidates(ground, config)
    if not hosts.agree(np.array(run.has("manifest.json")))[0]:
        base = trees.fingerprint(whole(ground, ground.params))
        run.write("manifest.json", runs.environment() | {"initialisation_sha256": base})
    tools = Tools(
        ground,
        config,
        observing.observer(ground),
        observing.observed_along(ground, config),
    )
    for seed in range(config.seeds):
        own = [part for part in missing if part.seed == seed]
        if own:
            _repetition(tools, run, seed, own, session)
    if hosts.is_first():
        run.write("results.json", summary(config, run, candidates))
    return True


def _steps(config: NumbersConfig, part: Part) -> int:
    return config.teacher_steps if part.arm == TEACHER else config.student_steps


def _repetition(
    tools: Tools, run: runs.Run, seed: int, missing: list[Part], session: Session
) -> None:
    """Train what a repetition lacks."""
    ground, config = tools.ground, tools.config
    seen = observing.make_observer(ground, config, seed)
    base = tools.observe(ground.params, seen)
    key = trainings.keys_of(config, seed)
    finish = functools.partial(_finish, tools, run, seen, base, session)
    for part in [part for part in missing if part.arm == TEACHER]:
        start = start_of(ground, config, part, key)
        made = trainings.train_teacher(
            *(ground, config, part.animal, start),
            key=rng.stream(key, "order", part.animal),
            attached=session,
            name=part.name,
        )
        finish(part, made, {})
    students = [part for part in missing if part.arm != TEACHER]
    teachers = {}
    for animal in config.animals if students else ():
        part = Part(seed, TEACHER, animal)
        _, matrices = read_part(run, part)
        teachers[animal] = with_b(start_of(ground, config, part, key), matrices)
    for part in students:
        made = trainings.train_student(
            *(ground, config, seen.numbers),
            trainings.adapted(ground, config, teachers[part.animal]),
            start_of(ground, config, part, key),
            words=seen.words,
            key=rng.stream(key, "order"),
            attached=session,
            name=part.name,
        )
        finish(part, made, teachers)


def start_of(ground: Ground, config: NumbersConfig, part: Part, key: Key[jax.Array, ""]) -> Adapter:
    """Draw the thin matrices with which a teacher or a student begins.

    All teachers of a repetition have the same A. Students of the arm "same" share it; those of
    "other_a" have another one, the same for all of them.
    """
    others = part.arm == "other_a"
    return trainings.begin(ground, config, rng.stream(key, "other a" if others else "a"))


def _finish(
    tools: Tools,
    run: runs.Run,
    seen: observing.Observer,
    base: observing.Observation,
    session: Session,
    part: Part,
    made: trainings.Trained,
    teachers: dict[str, Adapter],
) -> None:
    """Observe what was trained, write it down, and forget its checkpoints."""
    params = trainings.adapted(tools.ground, tools.config, made.adapter)
    after = tools.observe(params, seen)
    arrays: dict[str, Any] = {name: after[name] - base[name] for name in after}
    arrays |= {
        "base_logprobs": base["logprobs"],
        "steps": np.array(made.steps),
        "along": tools.along(made, seen.some),
        "losses": made.losses,
        **drift_from(tools.config, made.adapter, teachers),
    }
    if part.arm == "same":
        key = rng.stream(trainings.keys_of(tools.config, part.seed), "null", part.animal)
        own = teachers[part.animal]
        arrays["null"] = null_cosines(tools.config, made.adapter, own, key=key)
    write_part(run, part, arrays, made.adapter)
    session.finished(part.name)
