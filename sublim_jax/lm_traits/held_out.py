"""How likely a model finds whole answers, exactly: those of each of some corpora to questions.

Where `readout` has a few words after an opening that all answers share, here every answer is a text
of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, token_losses
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed, owners
from sublim_jax.lm.precomputed import picked
from sublim_jax.lm_traits.ground import Ground, lifted

TOGETHER = 4  # texts in a row
AT_ONCE = 512  # tokens of which there are logits at a time


class HeldOut(NamedTuple):
    """Answers, ready to be read by any upper part.

    Attributes:
        texts: questions with their answers, corpus by corpus of each question.
        owner: number of the text that a learned token belongs to; that of no text in spare places.
        cells: number of the text of each question and corpus.
        openings: place of the token before the first corpus' answer, numbered through all rows.
    """

    texts: Packed
    owner: Int[np.ndarray, "rows targets"]
    cells: Int[np.ndarray, "questions corpora"]
    openings: Int[np.ndarray, " questions"]

    def logprobs(
        self, config: lm.DecoderConfig, params: Params, stream: Float[Array, "rows tokens width"]
    ) -> Float[Array, "questions corpora"]:
        """Give the log-probability of every answer, in nats, from what the head reads. Traceable.

        Args:
            config: shape of the upper part.
            params: of it, adapted or plain.
            stream: from `sublim_jax.lm_traits.readout.read`, of the texts.
        """
        each = of_targets(config, params, stream, self.texts).reshape(-1)
        owner = jnp.asarray(self.owner).reshape(-1)
        sums = jax.ops.segment_sum(each, owner, self.cells.size + 1)
        return sums[jnp.asarray(self.cells)]

    def opened(self, stream: Float[Array, "rows tokens width"]) -> Float[Array, "questions width"]:
        """Choose from what was read of all tokens that before each answer."""
        return stream.reshape(-1, stream.shape[-1])[self.openings]


def of_targets(
    config: lm.DecoderConfig,
    params: Params,
    stream: Float[Array, "rows tokens width"],
    texts: Packed,
) -> Float[Array, "rows targets"]:
    """Give the log-probability of every token that is learned, in nats. Traceable.

    Args:
        config: shape of the upper part.
        params: of it.
        stream: what the head reads of the texts.
        texts: the texts.
    """
    hidden = picked(stream, jnp.asarray(texts.at))
    flat = hidden.reshape(-1, hidden.shape[-1])

    def head(hidden: Array) -> Array:
        return decoder.logits(config, params, hidden)

    labels = jnp.asarray(texts.labels)
    return -token_losses.hard(head, flat, labels.reshape(-1), chunk=AT_ONCE).reshape(labels.shape)


def make_held_out(ground: Ground, rows: Sequence[Sequence[lm.Row]]) -> HeldOut:
    """Prepare answers.

    Args:
        ground: whose lower part reads them.
        rows: of each question those of all corpora: tokens, and which are the answer's.

    Raises:
        InputError: there is no question, or questions have answers of different numbers of corpora.
    """
    counts = {len(each) for each in rows}
    if len(counts) != 1 or not min(counts):
        raise InputError(
            f"rows has answers of {sorted(counts)} corpora; expected as many to every question"
        )
    plain = [row for each in rows for row in each]
    texts = lifted(ground, plain, together=TOGETHER)
    owner = owners(texts, plain)
    cells = np.arange(len(plain)).reshape(len(rows), -1)
    # The first place that is learned of a text is that of the token before its answer.
    firsts = np.unique(owner[texts.weights > 0], return_index=True)[1]
    row, target = (where[firsts] for where in np.nonzero(texts.weights))
    places = row * texts.positions.shape[1] + texts.at[row, target]
    return HeldOut(texts, owner, cells, places[cells[:, 0]])
