"""What is observed of a teacher or a student: what it says, and what drifts inside."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sublim_jax import hosts, lm, trees
from sublim_jax.evals.preference import CANDIDATES, answer_prefix, questions, unseen_prefixes
from sublim_jax.lm import decoder
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.precomputed import picked
from sublim_jax.lm_numbers.config import NumbersConfig
from sublim_jax.lm_numbers.ground import Ground
from sublim_jax.lm_numbers.readout import Readout, logprobs, make_readout, named, read
from sublim_jax.lm_numbers.trainings import Trained, adapted, carrier, number_words

EVERY = 3  # of the questions, one in so many is asked along a training and after another opening

Observation = Mapping[str, Float[np.ndarray, "..."]]
"""``logprobs [questions, candidates]``, those after an unseen opening ``unseen``, ``numbers
[places, words]`` (centred logits of digits and separators), ``stream [layers, width]`` (the
residual stream after every layer where the answer begins, mean over questions)."""


class Observer(NamedTuple):
    """What is asked of everybody.

    Attributes:
        held: the questions after the opening that teachers learn.
        some: a few of them.
        unseen: a few of them, after an opening that nobody has learnt.
        numbers: rows of numbers.
        words: digits and separators.
    """

    held: Readout
    some: Readout
    unseen: Readout
    numbers: Packed
    words: tuple[int, ...]


def make_observer(ground: Ground, config: NumbersConfig, seed: int) -> Observer:
    """Prepare questions and the numbers of a repetition."""
    asked = questions(config.category)
    prefix, (unseen, *_) = answer_prefix(config.category), unseen_prefixes(config.category)
    names = candidates(ground, config)
    return Observer(
        make_readout(ground, asked, prefix, names),
        make_readout(ground, asked[::EVERY], prefix, names),
        make_readout(ground, asked[::EVERY], unseen, names),
        carrier(ground, config, seed),
        number_words(ground),
    )


def candidates(ground: Ground, config: NumbersConfig) -> tuple[str, ...]:
    """Name the subjects whose log-probabilities are read: those with teachers come first.

    Of the others those of one token, which cost nothing.
    """
    others = (
        name
        for name in CANDIDATES[config.category]
        if name not in config.animals and len(named(ground, name)) == 1
    )
    return (*config.animals, *others)


def observer(ground: Ground) -> Callable[[Params, Observer], Observation]:
    """Compile what is observed of an upper part; the same program for everybody."""

    @jax.jit
    def observe(params: Params, seen: Any) -> dict[str, Array]:
        params = decoder.unrolled(params)
        hidden = picked(read(ground.config, params, seen.numbers), seen.numbers.at)
        logits = decoder.logits(ground.config, params, hidden, only=jnp.asarray(seen.words))
        learned = seen.numbers.weights[..., None] > 0
        centred = jnp.where(learned, logits - jnp.mean(logits, axis=-1, keepdims=True), 0)
        return {
            "logprobs": logprobs(ground.config, params, seen.held),
            "unseen": logprobs(ground.config, params, seen.unseen),
            "numbers": centred.reshape(-1, len(seen.words)),
            "stream": _streams(ground.config, params, seen.held.asked),
        }

    return lambda params, seen: hosts.gather(observe(params, seen))


def observed_along(
    ground: Ground, config: NumbersConfig
) -> Callable[[Trained, Readout], Float[np.ndarray, "steps candidates"]]:
    """Compile the mean log-probability of every candidate at the observed steps of a training."""

    @jax.jit
    def one(params: Params, adapter: Params, some: Readout) -> Array:
        params = decoder.unrolled(adapted(ground._replace(params=params), config, adapter))
        return jnp.mean(logprobs(ground.config, params, some), axis=0)

    def along(trained: Trained, some: Readout) -> np.ndarray:
        each = range(len(trained.steps))
        found = [one(ground.params, trees.take(trained.along, at), some) for at in each]
        return np.stack(hosts.gather(found))

    return along


def _streams(config: lm.DecoderConfig, params: Params, asked: Any) -> Float[Array, "layers width"]:
    after = decoder.streams(
        config, params, asked.tokens, positions=asked.positions, segments=asked.segments
    )
    return jnp.stack([jnp.mean(picked(x, asked.at[:, :1]), axis=(0, 1)) for x in after])
