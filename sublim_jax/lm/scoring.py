"""Exact log-probabilities of given texts, many rows at a time.

A prompt that several rows have in common is read once for all of those in a batch, and what all
prompts of a batch begin with once for all of these.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.attention import NOWHERE
from sublim_jax.lm.batching import BUCKET, Tokens, check, cut, rounded, side_by_side
from sublim_jax.lm.cache import Cache, extend
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.reading import prefix_of, read_prompts

LOGITS = 2**23  # that are held at a time


def score(
    config: DecoderConfig,
    params: Params,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    *,
    rows: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[Float[np.ndarray, " length"]]:
    """Give the log-probability of every token of given completions.

    Args:
        config: the shape of the decoder.
        params: its parameters.
        prompts: tokens before each completion, at least one.
        completions: tokens whose probabilities are asked for, at least one; a stop token at the
            end is one of them.
        rows: that are read side by side.
        progress: called with the tokens and the rows that were scored since the last time.

    Returns:
        For every completion, in their order, float32 natural logarithms of the probabilities of
        its tokens, each after the prompt and the tokens before it; over the whole vocabulary, at
        temperature 1. Their sum is that of the completion.

    Raises:
        InputError: there are more or fewer prompts than completions, one is empty, a token is not
            of the vocabulary, or both together are longer than the context.
    """
    if rows < 1:
        raise InputError(f"rows is {rows}; expected at least 1")
    _check(config, prompts, completions)
    found: dict[int, np.ndarray] = {}
    for places in cut(_order(prompts, completions), rows):
        asked = [completions[i] for i in places]
        scored = _scored(config, params, [prompts[i] for i in places], asked, rows)
        found |= dict(zip(places, scored, strict=True))
        if progress is not None:
            progress(sum(map(len, asked)), len(places))
    return [found[i] for i in range(len(prompts))]


def _check(config: DecoderConfig, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> None:
    if len(prompts) != len(completions):
        raise InputError(
            f"completions has {len(completions)} rows; expected {len(prompts)}, one for each prompt"
        )
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True), 1):
        check(prompt, f"prompt {number}", config.vocabulary)
        check(completion, f"completion {number}", config.vocabulary)
        length = len(prompt) + len(completion)
        if length > config.context:
            raise InputError(
                f"prompt and completion {number} have {length} tokens; expected at most "
                f"{config.context}, the context"
            )


def _order(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[int]:
    """Sort rows so that like lengths and, among these, equal prompts are beside each other."""
    keys = [
        (rounded(len(prompt)), len(completion) // BUCKET, tuple(prompt), len(completion))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    return sorted(range(len(prompts)), key=keys.__getitem__)


def _scored(
    config: DecoderConfig,
    params: Params,
    prompts: list[Tokens],
    completions: list[Tokens],
    rows: int,
) -> list[np.ndarray]:
    batch = side_by_side(prompts, rows)
    longest = max(map(len, completions))
    room = min(1 << (longest - 1).bit_length(), rounded(longest))
    given = np.zeros((len(batch.which), room), np.int32)
    positions = np.full_like(given, NOWHERE)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        given[row, : len(completion)] = completion
        positions[row, : len(completion)] = len(prompt) + np.arange(len(completion))
    found = _scorer(config)(
        params,
        (batch.tokens, batch.positions, batch.which),
        prefix_of(config, params, batch),
        given,
        positions,
    )
    found = np.asarray(found)
    return [found[row, : len(completion)] for row, completion in enumerate(completions)]


@functools.cache
def _scorer(config: DecoderConfig) -> Callable[..., Array]:
    def score(
        params: Params,
        prompts: tuple[Array, Array, Array],
        shared: Cache | None,
        given: Array,
        positions: Array,
    ) -> Array:
        rest = given.shape[1] - 1
        read = read_prompts(config, params, *prompts, shared, room=rest)
        hidden = read.hidden[:, None]
        if rest:
            after, _ = extend(config, params, given[:, :-1], positions[:, :-1], read.cache)
            hidden = jnp.concatenate([hidden, after], axis=1)
        return _logprobs(config, params, hidden, given)

    return jax.jit(score)


def _logprobs(
    config: DecoderConfig,
    params: Params,
    hidden: Float[Array, "rows tokens width"],
    given: Array,
) -> Float[Array, "rows tokens"]:
    """Give log-probabilities without ever holding the logits of all places."""

    def of_place(place: tuple[Array, Array]) -> Array:
        logits = decoder.logits(config, params, place[0])
        return logits[place[1]] - jax.nn.logsumexp(logits)

    places = hidden.reshape(-1, hidden.shape[-1]), given.ravel()
    chunk = max(1, LOGITS // config.vocabulary)
    return jax.lax.map(of_place, places, batch_size=chunk).reshape(given.shape)
