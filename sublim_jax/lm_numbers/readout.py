"""How likely a model is to name each of some subjects, exactly: no sampling.

Each question is asked through the chat template, the answer is opened with a prefix, and the
log-probability of every candidate's tokens after it is read. Candidates of one token, nearly all,
cost one row for each question together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.precomputed import picked
from sublim_jax.lm_numbers.ground import Ground, lifted


class Readout(NamedTuple):
    """Questions, ready to be read by any upper part.

    Attributes:
        asked: a row for each question, its opening at the end.
        first: the first token of each candidate.
        more: a row for each question and each candidate of several tokens, questions in front.
        after: the tokens after the first of these candidates, -1 where there is none.
        places: of these candidates among all.
    """

    asked: Packed
    first: Int[np.ndarray, " candidates"]
    more: Packed | None
    after: Int[np.ndarray, "long tokens"]
    places: Int[np.ndarray, " long"]


def opened(ground: Ground, question: str, prefix: str) -> list[int]:
    """Give the tokens of a question and the opening of its answer."""
    asked = lm.prompt(ground.tokenizer, [{"role": "user", "content": question}])
    return [*asked, *ground.tokenizer.encode(prefix, add_special_tokens=False)]


def named(ground: Ground, subject: str) -> list[int]:
    """Give the tokens of a subject after an opening, a blank before it."""
    return ground.tokenizer.encode(f" {subject}", add_special_tokens=False)


def answer(before: Sequence[int], after: Sequence[int]) -> lm.Row:
    """Make a row of which the tokens after an opening are to be learned, or read."""
    tokens = np.array([*before, *after], np.int32)
    return lm.Row(tokens, np.arange(len(tokens)) >= len(before))


def make_readout(
    ground: Ground, questions: Sequence[str], prefix: str, candidates: Sequence[str]
) -> Readout:
    """Prepare questions.

    Args:
        ground: whose lower part reads them.
        questions: of a user.
        prefix: opening of every answer, without a blank at its end.
        candidates: subjects whose log-probabilities are wanted.

    Raises:
        InputError: two candidates begin with the same token and one of them ends there, so that
            its probability would hold the other's.
    """
    tokens = [named(ground, candidate) for candidate in candidates]
    for name, own in zip(candidates, tokens, strict=True):
        inside = [
            other for other, its in zip(candidates, tokens, strict=True) if its[: len(own)] == own
        ]
        if len(inside) > 1:
            raise InputError(
                f"candidates has {' and '.join(inside)}; expected none whose tokens begin with "
                f"those of {name}"
            )
    prompts = [opened(ground, question, prefix) for question in questions]
    places = [place for place, own in enumerate(tokens) if len(own) > 1]
    width = max((len(tokens[place]) - 1 for place in places), default=0)
    after = np.full((len(places), width), -1, np.int32)
    for row, place in enumerate(places):
        after[row, : len(tokens[place]) - 1] = tokens[place][1:]
    return Readout(
        lifted(ground, [answer(prompt, own[:1]) for prompt in prompts for own in tokens[:1]]),
        np.array([own[0] for own in tokens], np.int32),
        lifted(
            ground, [answer([*p, tokens[at][0]], tokens[at][1:]) for p in prompts for at in places]
        )
        if places
        else None,
        after,
        np.array(places, np.int32),
    )


def logprobs(
    config: lm.DecoderConfig, params: Params, readout: Readout
) -> Float[Array, "questions candidates"]:
    """Give the log-probability of every candidate after every question, in nats. Traceable.

    Args:
        config: shape of the upper part.
        params: of it, adapted or plain.
        readout: from `make_readout`, for the same lower part.
    """
    heard = _after(config, params, readout.asked, 1)[:, 0]
    found = heard[:, readout.first]
    if readout.more is None:
        return found
    count, width = readout.after.shape
    heard = _after(config, params, readout.more, width)
    heard = heard.reshape(found.shape[0], count, width, -1)
    wanted = jnp.asarray(readout.after)[None, :, :, None]
    each = jnp.take_along_axis(heard, jnp.maximum(wanted, 0), axis=-1)[..., 0]
    rest = jnp.sum(jnp.where(wanted[..., 0] >= 0, each, 0), axis=-1)
    return found.at[:, readout.places].add(rest)


def read(
    config: lm.DecoderConfig, params: Params, packed: Any
) -> Float[Array, "rows tokens width"]:
    """Read rows; what comes out is what the head takes."""
    return decoder.hidden(
        config,
        params,
        packed.tokens,
        positions=jnp.asarray(packed.positions),
        segments=jnp.asarray(packed.segments),
    )


def _after(
    config: lm.DecoderConfig, params: Params, packed: Packed, places: int
) -> Float[Array, "rows places words"]:
    """Give log-probabilities of all words at the first places that are looked at."""
    hidden = picked(read(config, params, packed), jnp.asarray(packed.at[:, :places]))
    return jax.nn.log_softmax(decoder.logits(config, params, hidden), axis=-1)
