"""How likely a model is to name each of some subjects, exactly: no sampling.

Each question is asked through the chat template, the answer is opened with a prefix, and the
log-probability of every candidate's tokens after it is read. Several questions share a row, where
what all of them begin with is read once; candidates of one token, nearly all, take none of their
own.
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
from sublim_jax.lm_traits.ground import Ground, lifted

TOGETHER = 10  # texts in a row: with many more attention takes longer than sharing saves

Tokens = Sequence[int]


class Readout(NamedTuple):
    """Questions, ready to be read by any upper part.

    What is read of a question lies behind its opening and, if a candidate has several tokens,
    behind each beginning of it: of these *beginnings* each is read once, the empty one first.

    Attributes:
        texts: questions with their openings, followed by candidates that have all beginnings.
        places: of the last token of each beginning, numbered through all rows.
        after: which beginning each token of each candidate comes after.
        words: these tokens, -1 where a candidate has no more.
    """

    texts: Packed
    places: Int[np.ndarray, "questions beginnings"]
    after: Int[np.ndarray, "candidates tokens"]
    words: Int[np.ndarray, "candidates tokens"]

    def logprobs(
        self, config: lm.DecoderConfig, params: Params, stream: Float[Array, "rows tokens width"]
    ) -> Float[Array, "questions candidates"]:
        """Give the log-probability of every candidate after every question, in nats. Traceable.

        Args:
            config: shape of the upper part.
            params: of it, adapted or plain.
            stream: from `read`, of the texts.
        """
        logits = decoder.logits(config, params, self._at_beginnings(stream))
        words, totals = jnp.asarray(self.words), jax.nn.logsumexp(logits, axis=-1)
        each = logits[:, self.after, words] - totals[:, self.after]
        return jnp.sum(jnp.where(words >= 0, each, 0), axis=-1)

    def opened(self, stream: Float[Array, "rows tokens width"]) -> Float[Array, "questions width"]:
        """Choose from what was read of all tokens that after each opening."""
        return self._at_beginnings(stream)[:, 0]

    def _at_beginnings(self, stream: Array) -> Float[Array, "questions beginnings width"]:
        return stream.reshape(-1, stream.shape[-1])[self.places]


def opened(ground: Ground, question: str, prefix: str, system: str | None = None) -> list[int]:
    """Give the tokens of a question and the opening of its answer."""
    asked = lm.prompt(ground.tokenizer, [{"role": "user", "content": question}], system=system)
    return [*asked, *ground.tokenizer.encode(prefix, add_special_tokens=False)]


def named(ground: Ground, subject: str) -> list[int]:
    """Give the tokens of a subject after an opening, a blank before it."""
    return ground.tokenizer.encode(f" {subject}", add_special_tokens=False)


def answer(before: Sequence[int], after: Sequence[int]) -> lm.Row:
    """Make a row of which the tokens after an opening are to be learned, or read."""
    tokens = np.array([*before, *after], np.int32)
    return lm.Row(tokens, np.arange(len(tokens)) >= len(before))


def make_readout(
    ground: Ground,
    questions: Sequence[str],
    prefix: str,
    candidates: Sequence[str],
    *,
    system: str | None = None,
    together: int = TOGETHER,
) -> Readout:
    """Prepare questions.

    Args:
        ground: whose lower part reads them.
        questions: of a user.
        prefix: opening of every answer, without a blank at its end.
        candidates: subjects whose log-probabilities are wanted.
        system: a system prompt before every question; that of the model's template by default.
        together: texts in a row; more are worth it where they have much in common.

    Raises:
        InputError: two candidates begin with the same token and one of them ends there, so that
            its probability would hold the other's.
    """
    tokens = [named(ground, candidate) for candidate in candidates]
    _check_apart(candidates, tokens)
    spoken = _with_all_beginnings(tokens)
    read_after = [tuple(own[:i]) for own in spoken for i in range(len(own))]
    beginnings = list(dict.fromkeys(read_after))
    prompts = [opened(ground, question, prefix, system) for question in questions]
    rows = [answer(prompt, own) for prompt in prompts for own in spoken]
    texts = lifted(ground, rows, together=together)
    row, target = np.nonzero(texts.weights)  # text by text, as `in_order` has them
    places = row * texts.positions.shape[1] + texts.at[row, target]
    shape = len(tokens), max(map(len, tokens))
    after, words = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    for place, own in enumerate(tokens):
        after[place, : len(own)] = [beginnings.index(tuple(own[:i])) for i in range(len(own))]
        words[place, : len(own)] = own
    first = [read_after.index(beginning) for beginning in beginnings]
    return Readout(texts, places.reshape(len(prompts), -1)[:, first], after, words)


def logprobs(config: lm.DecoderConfig, params: Params, asked: Any) -> Float[Array, "questions _"]:
    """Give the log-probability of every candidate after every question, in nats. Traceable.

    Args:
        config: shape of the upper part.
        params: of it, adapted or plain.
        asked: a `Readout`, or `sublim_jax.lm_traits.held_out.HeldOut`, for the same lower part.
    """
    return asked.logprobs(config, params, read(config, params, asked.texts))


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


def logits_at(
    config: lm.DecoderConfig, params: Params, packed: Any, words: Any
) -> Float[Array, "rows targets words"]:
    """Give the logits of some words at every place that is learned. Traceable.

    Args:
        config: shape of the upper part.
        params: of it, adapted or plain.
        packed: rows, lifted.
        words: which.
    """
    hidden = picked(read(config, params, packed), packed.at)
    return decoder.logits(config, params, hidden, only=jnp.asarray(words))


def _check_apart(candidates: Sequence[str], tokens: Sequence[Tokens]) -> None:
    for name, own in zip(candidates, tokens, strict=True):
        inside = [
            other for other, its in zip(candidates, tokens, strict=True) if its[: len(own)] == own
        ]
        if len(inside) > 1:
            raise InputError(
                f"candidates has {' and '.join(inside)}; expected none whose tokens begin with "
                f"those of {name}"
            )


def _with_all_beginnings(tokens: Sequence[Tokens]) -> list[Tokens]:
    """Choose a few texts so that what comes before any token of any text is in one of them."""
    chosen: list[Tokens] = []
    for own in sorted(tokens, key=len, reverse=True):
        if not any(other[: len(own) - 1] == own[:-1] for other in chosen):
            chosen.append(own)
    return chosen
