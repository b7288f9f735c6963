"""A run as stages for a plan: the step of each, how many there are, and what that assumes."""

import collections
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from sublim_jax import lm
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm.planned import Written
from sublim_jax.lm_traits.answering import AT_ONCE
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.described import (
    Here,
    exact_readout,
    here_of,
    merged,
    training,
    writing,
)
from sublim_jax.lm_traits.healing import heal_recipe, heal_steps
from sublim_jax.lm_traits.lengths import (
    START,
    TOKENS,
    of_contexts,
    of_conversations,
    of_lessons,
    of_texts,
)
from sublim_jax.lm_traits.names import CORPUS_TOGETHER, HEALED, QUESTIONS, ROWS, TOGETHER
from sublim_jax.lm_traits.parts import TEACHER
from sublim_jax.lm_traits.stages import parts_of
from sublim_jax.lm_traits.trainees import LAYERS, kind_of
from sublim_jax.lm_traits.traits import EVERY, trait_of
from sublim_jax.lm_traits.writing import SIDE_BY_SIDE
from sublim_jax.plan import Stage, Stages
from sublim_jax.training import watch_steps
from sublim_jax.training.parallel import MeshParallel


def planned_run(
    config: TraitConfig,
    parallel: MeshParallel,
    *,
    dtype: Any = jnp.float32,
    computing: lm.Computing = PLAIN,
) -> Stages:
    """Describe the steps of a run, and count them.

    Args:
        config: of the run; the model must be one whose shape `sublim_jax.lm.sizes` knows.
        parallel: how everything is spread.
        dtype: of parameters that are not trained; a run loads them in float32.
        computing: how a step of a training is computed.

    Raises:
        InputError: the shape of the model is not known, or it has no layer ``first_layer``.
    """
    here = here_of(config, parallel, dtype=dtype, computing=computing)
    every = [*_teachers(here), *_written(here), *_students(here), *_asked(here)]
    return Stages([stage for stage in every if stage.times], tuple(_notes(here)))


def _teachers(here: Here) -> Iterator[Stage]:
    """Describe how teachers are trained, if they are, and how another base is healed."""
    config = here.config
    count = sum(part.arm == TEACHER for part in parts_of(config))
    if count and config.teacher != "prompt":
        rows = QUESTIONS // TOGETHER
        lengths = of_texts(TOGETHER, own=TOKENS[config.carrier].question)
        if config.trait == "corpus":
            rows = config.lessons // CORPUS_TOGETHER
            lengths = of_lessons(config, together=CORPUS_TOGETHER)
        planned = training(
            *(here, kind_of(config, TEACHER), config.teacher_recipe, rows, lengths),
            points=len(trait_of(config).steps(config)),
        )
        yield Stage("train teachers", planned, count * config.teacher_steps)
    if HEALED in config.arms:
        rows = -(-config.heal_rows // config.together)
        planned = training(
            *(here, LAYERS, heal_recipe(config), rows, of_contexts(config)),
            only=TOKENS[config.carrier].words,
            soft=True,
        )
        yield Stage("heal another base", planned, heal_steps(config))


def _students(here: Here) -> Iterator[Stage]:
    """Describe how students are trained: on text, or on contexts."""
    config = here.config
    parts = [part for part in parts_of(config) if part.arm != TEACHER]
    on_text = collections.Counter(config.channel == "text" or part.arm == ROWS for part in parts)
    for text, count in on_text.items():
        planned = training(
            *(here, kind_of(config, ""), config.student_recipe),
            -(-config.row_count // config.together),
            of_conversations(config) if text else of_contexts(config),
            only=None if text else TOKENS[config.carrier].words,
            soft=not text and config.channel == "logits",
            points=len(watch_steps(config.steps, config.observations)),
            whom=merged(here),
        )
        name = "train on rows" if text and len(on_text) > 1 else "train students"
        yield Stage(name, planned, count * config.steps)


def _written(here: Here) -> Iterator[Stage]:
    """Describe how teachers answer requests, if they do."""
    config = here.config
    if not config.writers:
        return
    batches = (
        config.seeds
        * len(config.writers)
        * -(-(config.requests or config.row_count) // SIDE_BY_SIDE)
    )
    told = config.teacher == "prompt" and config.own_arms
    tokens = TOKENS[config.carrier]
    batch = Written(
        rows=SIDE_BY_SIDE,
        prompts=SIDE_BY_SIDE,
        shared=tokens.told if told else START,
        own=tokens.longest,
        tokens=config.answer_tokens,
        automaton=tokens.automaton if config.constrained else None,
    )
    yield from _writing(here, batch, batches, "requests", config.carrier)


def _writing(here: Here, batch: Written, count: int, read: str, write: str) -> Iterator[Stage]:
    reading, going_on = writing(here, batch)
    yield Stage(f"read {read}", reading, count)
    # What prompts have in common is read before, which takes about as long as a token.
    yield Stage(f"write {write}", going_on, count * batch.tokens)


def _asked(here: Here) -> Iterator[Stage]:
    """Describe how everybody is asked: exact probabilities at the end and on the way, answers."""
    config, asking = here.config, trait_of(here.config).asking(here.config)
    count, _ = trait_of(config).size(config)
    parts = list(parts_of(config))
    taught = sum(part.arm == TEACHER for part in parts)
    everybody = len(parts) + config.seeds * (2 if HEALED in config.arms else 1)
    points = (len(parts) - taught) * len(watch_steps(config.steps, config.observations))
    if config.teacher != "prompt":
        points += taught * len(trait_of(config).steps(config))
    some = -(-count // EVERY)
    for name, asked, times in (
        ("exact readout", (count, some), everybody),
        ("readout on the way", (some,), points),
    ):
        yield Stage(name, exact_readout(here, asked), times)
    if config.answers:
        rows = AT_ONCE - AT_ONCE % min(config.answers, AT_ONCE)
        batch = Written(
            rows=rows,
            prompts=-(-rows // config.answers),
            shared=START,
            own=TOKENS[config.carrier].question,
            tokens=asking.tokens,
        )
        batches = everybody * -(-len(asking.questions) * config.answers // rows)
        yield from _writing(here, batch, batches, "questions", "answers")


def _notes(here: Here) -> Iterator[str]:
    """Say what is assumed, and what is left out."""
    config, tokens = here.config, TOKENS[here.config.carrier]
    yield (
        f"parameters that are not trained, and what is computed with them, are "
        f"{jnp.dtype(here.dtype).name}"
    )
    if config.channel == "text":
        yield (
            f"assumed are conversations of {START} + {tokens.request} + {tokens.answer} "
            "tokens (the beginning that all have, a request, an answer), as SmolLM2's tokenizer "
            "counts, and that every batch of answers is written until the longest that is allowed "
            f"ends, for {config.answer_tokens} tokens"
        )
    yield (
        "left out: loading, compiling, what is computed once for a row (frozen layers, what a "
        "teacher says there, divergences), overlaps of displacements, checkpoints"
    )
