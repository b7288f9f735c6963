"""What is written down of a teacher or a student, and what that takes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import rng, runs
from sublim_jax.lm_traits import observing, trainees, trainings
from sublim_jax.lm_traits.answering import sampled_answers
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.drifting import Bases, diluted, drift_from, null_cosines
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.lending import to_lend
from sublim_jax.lm_traits.material import Material, Speaker
from sublim_jax.lm_traits.names import HEALED
from sublim_jax.lm_traits.parts import TEACHER, Part, write_part
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Session

ANSWERS = "answers"
BESIDE = ("logprobs", "contexts", ANSWERS)  # what of the base stands beside changes

Bar = Callable[[str, int], contextlib.AbstractContextManager[Callable[[int, int], None]]]
"""A title and how many rows to what is told of the tokens and rows that were written."""


@contextlib.contextmanager
def no_bar(title: str, rows: int) -> Iterator[Callable[[int, int], None]]:
    """Show nothing."""
    del title, rows
    yield lambda _tokens, _rows: None


class Tools(NamedTuple):
    """What is made once for a run.

    Attributes:
        run: its folder.
        ground: the model, cut.
        config: of the run.
        observe: see `sublim_jax.lm_traits.observing.observer`.
        along: see `sublim_jax.lm_traits.observing.observed_along`.
        session: checkpoints and progress.
        bar: progress of what is written.
    """

    run: runs.Run
    ground: Ground
    config: TraitConfig
    observe: Callable[..., Any]
    along: Callable[..., Any]
    session: Session
    bar: Bar


class Repetition(NamedTuple):
    """What the teachers and students of a repetition have in common.

    Attributes:
        seed: its number.
        key: of everything that is drawn.
        seen: what everybody is asked.
        bases: what the base says, and under "healed" what the healed one does.
        healed: the healed base, if there is one.
    """

    seed: int
    key: Key[Array, ""]
    seen: observing.Observer
    bases: Mapping[str, observing.Observation]
    healed: Ground | None

    def ground(self, tools: "Tools", arm: str) -> Ground:
        """Give the base of an arm."""
        return self.healed if arm == HEALED and self.healed is not None else tools.ground

    def base(self, arm: str) -> observing.Observation:
        """Give what the base of an arm says."""
        return self.bases[HEALED if arm == HEALED else ""]


def record(
    tools: Tools,
    here: Repetition,
    part: Part,
    made: trainings.Trained,
    teachers: Mapping[str, PyTree],
    learned: Material | None = None,
    told: Float[np.ndarray, "places words"] | None = None,
) -> None:
    """Observe what was trained, write it down, and forget its checkpoints.

    Args:
        tools: of the run.
        here: what its repetition has in common.
        part: which teacher or student.
        made: what was trained.
        teachers: what was trained of all teachers.
        learned: what a student has learnt from.
        told: logits that another model's teacher has there where everybody is observed.
    """
    ground, config = here.ground(tools, part.arm), tools.config
    bases = Bases(student=ground.params, teacher=tools.ground.params)
    params = trainees.joined(ground.params, config, made.trained)
    after = observed(tools, here.key, Speaker(params, None), here.seen)
    arrays = _changes(after, here.base(part.arm)) | {
        "steps": np.array(made.steps),
        "along": tools.along(ground, made, here.seen.some),
        "losses": made.losses,
        **drift_from(bases, config, made.trained, teachers),
    }
    if learned is not None:
        arrays |= {
            "tokens": np.array(learned.tokens),
            "divergence": np.array(learned.divergence),
        }
        if told is not None:
            arrays["told"] = told
    if part.arm == TEACHER:
        arrays |= _lent(tools, here)
    own = teachers.get(part.subject)
    if part.arm == "same" and own is not None:
        key = rng.stream(here.key, "null", part.subject)
        arrays["null"] = null_cosines(bases, config, made.trained, own, key=key)
        if trainees.is_thin(made.trained) and trainees.is_thin(own) and not config.train_a:
            less = drift_from(bases, config, diluted(made.trained), teachers)
            arrays["diluted"] = less["student_teacher"]
    keeps = part.arm == TEACHER or trainees.is_thin(made.trained)
    write_part(tools.run, part, arrays, trainees.kept(config, made.trained) if keeps else {})
    tools.session.finished(part.name)


def record_told(tools: Tools, here: Repetition, part: Part, told: Speaker) -> None:
    """Observe a teacher that was told what it loves, and write that down."""
    contexts = trainings.seed_of(tools.config, here.seed, "numbers")
    seen = observing.make_observer(tools.ground, tools.config, contexts, system=told.system)
    after = observed(tools, here.key, told, seen)
    write_part(tools.run, part, _changes(after, here.base(part.arm)) | _lent(tools, here), {})


def observed(
    tools: Tools, key: Key[Array, ""], who: Speaker, seen: observing.Observer
) -> observing.Observation:
    """Give what somebody says, answers among it, with the same random numbers for everybody.

    Args:
        tools: of the run.
        key: of the repetition.
        who: an upper part, and what it is told.
        seen: what it is asked, after the same.
    """
    config = tools.config
    after = tools.observe(who.params, seen)
    if not config.answers:
        return after
    asking = trait_of(config).asking(config)
    said = sampled_answers(
        *(tools.ground, who.params, asking.questions),
        samples=config.answers,
        prefix=asking.opening,
        tokens=asking.tokens,
        system=who.system,
        key=rng.stream(key, "answers"),
    )
    return {**after, ANSWERS: np.array(said)}


def _changes(after: observing.Observation, base: observing.Observation) -> dict[str, Any]:
    """Give what has changed of numbers, and what is said in full, beside that of the base."""
    changes: dict[str, Any] = {
        name: found if name == ANSWERS else found - base[name] for name, found in after.items()
    }
    return changes | {f"base_{name}": base[name] for name in BESIDE if name in base}


def _lent(tools: Tools, here: Repetition) -> dict[str, np.ndarray]:
    """Give what students of another model have to know of the contexts."""
    seen = here.seen
    return to_lend(tools.ground.tokenizer, seen.contexts, seen.owner, seen.words)
