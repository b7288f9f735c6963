"""What a trait is made of."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sublim_jax.evals.judges import Answer, Question
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits.answering import Said, Texts
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.ground import Ground

EVERY = 3  # of the questions, one in so many is asked along a training and after another opening


class Exact(NamedTuple):
    """What is read of everybody, exactly; see `sublim_jax.lm_traits.readout.logprobs`.

    Attributes:
        held: questions that no teacher has learnt from.
        some: a few of them.
        unseen: a few of them, asked in a way that nobody has learnt.
    """

    held: Any
    some: Any
    unseen: Any


class Asking(NamedTuple):
    """What everybody answers freely.

    Attributes:
        questions: of a user.
        opening: of every answer; none leaves all of it to the model.
        tokens: of an answer at most, the opening not counted.
    """

    questions: tuple[str, ...]
    opening: str
    tokens: int


class Reading(NamedTuple):
    """What a judge is asked about a row that a teacher wrote.

    Attributes:
        question: configuration, conversation.
        score: of its answer, higher where a row is less suspicious; None where it says nothing.
        least: published score with which a row is kept.
    """

    question: Callable[[TraitConfig, Conversation], Question]
    score: Callable[[Answer], float | None]
    least: float


class Trait(NamedTuple):
    """What teachers have, each another kind of it: a subject.

    Attributes:
        lessons: gives the rows from which a teacher learns: ground, configuration, subject.
        steps: at which a teacher is kept, and may be done: configuration.
        done: tells at which of them it is, from the losses of all steps: ground, configuration,
            subject, losses.
        told: gives a system prompt that takes the place of lessons: configuration, subject.
        columns: names what is read of everybody, those of the subjects first: ground,
            configuration.
        exact: prepares what is read: ground, configuration, system prompt.
        asking: says what is answered freely: configuration.
        counted: counts answers: configuration, columns, answers, those of the base.
        size: how many questions are read exactly, and columns at most: configuration.
        files: that are read beside the model, each looked through: configuration.
        words: that tell of a subject, which no carrier must have: configuration.
        reading: how a judge reads rows.
    """

    lessons: Callable[[Ground, TraitConfig, str], Packed]
    steps: Callable[[TraitConfig], tuple[int, ...]]
    done: Callable[[Ground, TraitConfig, str, Any], int]
    told: Callable[[TraitConfig, str], str]
    columns: Callable[[Ground, TraitConfig], tuple[str, ...]]
    exact: Callable[[Ground, TraitConfig, str | None], Exact]
    asking: Callable[[TraitConfig], Asking]
    counted: Callable[[TraitConfig, Sequence[str], Texts, Texts | None], Said]
    size: Callable[[TraitConfig], tuple[int, int]]
    files: Callable[[TraitConfig], tuple[str, ...]]
    words: Callable[[TraitConfig], tuple[str, ...]]
    reading: Reading
