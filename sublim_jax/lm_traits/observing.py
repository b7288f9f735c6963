"""What is observed of a teacher or a student: what it says, and what drifts inside."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sublim_jax import hosts, lm, trees
from sublim_jax.lm import decoder
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed, owners
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.contexts import context_texts, words_of
from sublim_jax.lm_traits.ground import Ground, lifted
from sublim_jax.lm_traits.names import PROBED
from sublim_jax.lm_traits.readout import (
    logits_at,
    logprobs,
)
from sublim_jax.lm_traits.trainees import beside
from sublim_jax.lm_traits.trainings import Trained
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.training import Parallel

Observation = Mapping[str, Float[np.ndarray, "..."]]
"""``logprobs [questions, candidates]``, those after an unseen opening ``unseen``, ``contexts
[places, words]`` (centred logits of the carrier's words where no teacher wrote), ``stream
[layers, width]`` (the residual stream after every layer where the answer begins, mean over
questions)."""


class Observer(NamedTuple):
    """What is asked of everybody.

    Attributes:
        held: what no teacher has learnt from.
        some: a few of it.
        unseen: a few of it, asked in a way that nobody has learnt.
        contexts: rows that no teacher wrote.
        owner: which of these texts each of their places belongs to; that of no text in spare ones.
        words: those of the carrier.
    """

    held: Any
    some: Any
    unseen: Any
    contexts: Packed
    owner: Int[np.ndarray, "rows targets"]
    words: tuple[int, ...]


def make_observer(
    ground: Ground, config: TraitConfig, contexts: int, *, system: str | None = None
) -> Observer:
    """Prepare questions and contexts.

    Args:
        ground: the base.
        config: of the run.
        contexts: seed of these rows.
        system: a system prompt before all of them.

    Raises:
        InputError: the file of questions cannot be read, or has too few.
    """
    texts = context_texts(ground, config, contexts, PROBED, system=system)
    rows = lifted(ground, texts, together=config.together)
    return Observer(
        *trait_of(config).exact(ground, config, system),
        rows,
        owners(rows, texts),
        words_of(ground, config),
    )


def observer(ground: Ground) -> Callable[[Params, Observer], dict[str, np.ndarray]]:
    """Compile what is observed of an upper part; the same program for everybody."""
    observe = _observe(ground.config, ground.parallel)
    return lambda params, seen: hosts.gather(observe(params, seen))


@functools.lru_cache(maxsize=16)
def _observe(config: lm.DecoderConfig, parallel: Parallel) -> Callable[..., dict[str, Array]]:
    """Compile what is observed, once for all runs of models of one shape."""

    @jax.jit
    def observe(params: Params, seen: Any) -> dict[str, Array]:
        params = one_by_one(parallel, params)
        logits = logits_at(config, params, seen.contexts, seen.words)
        learned = seen.contexts.weights[..., None] > 0
        centred = jnp.where(learned, logits - jnp.mean(logits, axis=-1, keepdims=True), 0)
        return {
            "logprobs": logprobs(config, params, seen.held),
            "unseen": logprobs(config, params, seen.unseen),
            "contexts": centred.reshape(-1, len(seen.words)),
            "stream": _streams(config, params, seen.held),
        }

    return observe


def observed_along(
    ground: Ground, config: TraitConfig
) -> Callable[[Ground, Trained, Any], Float[np.ndarray, "steps candidates"]]:
    """Compile the mean log-probability of every candidate at the observed steps of a training.

    Args:
        ground: the base.
        config: of the run.

    Returns:
        A function of the base of a training, what was trained, and questions.
    """
    one = _one(ground.config, ground.parallel, config.adapter)

    def along(own: Ground, trained: Trained, some: Any) -> np.ndarray:
        each = range(len(trained.steps))
        found = [one(own.params, trees.take(trained.along, at), some) for at in each]
        return np.stack(hosts.gather(found))

    return along


@functools.lru_cache(maxsize=16)
def _one(config: lm.DecoderConfig, parallel: Parallel, adapter: lm.LoRA) -> Callable[..., Array]:
    """Compile what is observed at a step, once for all runs of models of one shape."""

    @jax.jit
    def one(params: Params, trained: PyTree, some: Any) -> Array:
        params = one_by_one(parallel, beside(params, adapter, trained))
        return jnp.mean(logprobs(config, params, some), axis=0)

    return one


def one_by_one(parallel: Parallel, params: Params) -> Params:
    """Lay out layers one by one on a CPU, where that is faster; elsewhere it takes long to compile.

    Traceable.
    """
    return decoder.unrolled(params) if parallel.platform == "cpu" else params


def _streams(config: lm.DecoderConfig, params: Params, asked: Any) -> Float[Array, "layers width"]:
    """Give the mean over questions of the residual stream after every layer, at openings."""
    texts = asked.texts
    after = decoder.streams(
        config, params, texts.tokens, positions=texts.positions, segments=texts.segments
    )
    return jnp.stack([jnp.mean(asked.opened(x), axis=0) for x in after])
