"""What students learn from: rows, and whose distribution, samples or text is in them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import lm, rng
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed, owners
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.contexts import (
    context_rows,
    context_texts,
    divergence,
    told_row,
    word_logits,
    words_of,
)
from sublim_jax.lm_traits.ground import Ground, lifted
from sublim_jax.lm_traits.lending import Lent, aligned
from sublim_jax.lm_traits.names import NOBODY
from sublim_jax.lm_traits.trainees import joined
from sublim_jax.lm_traits.traits import trait_of

SOME = 64  # rows of text from which a divergence is measured


class Material(NamedTuple):
    """What a student learns from.

    Attributes:
        rows: lifted; the labels are drawn tokens with the channel labels, and written ones with
            text.
        teacher: whose distribution is learned, or this itself where it is another model's; with
            logits only.
        only: words among which it is learned; all of the vocabulary with text.
        divergence: from the base's to the teacher's distribution over the carrier's words, in nats
            a token.
    """

    rows: Packed
    teacher: lm.Teacher | lm.Told | None
    only: tuple[int, ...] | None
    divergence: float

    @property
    def tokens(self) -> int:
        """Count the tokens that are learned."""
        return int(np.asarray(self.rows.weights).sum())


class Speaker(NamedTuple):
    """A teacher, as it speaks.

    Attributes:
        params: of the upper part.
        system: what it is told before anything else; None for a teacher that was trained.
    """

    params: Params
    system: str | None


def speaker(ground: Ground, config: TraitConfig, subject: str, trained: PyTree | None) -> Speaker:
    """Make a teacher speak.

    Args:
        ground: the base.
        config: of the run.
        subject: its favourite, or `NOBODY`.
        trained: what was trained of it; None if nothing was.
    """
    told = config.teacher == "prompt" and subject != NOBODY
    system = trait_of(config).told(config, subject) if told else None
    params = ground.params if trained is None else joined(ground.params, config, trained)
    return Speaker(params, system)


class Places(NamedTuple):
    """Where all teachers of a repetition are asked, and what the base says there.

    Attributes:
        seed: of the rows.
        rows: lifted.
        owner: which text each place of the rows belongs to; that of no text in spare ones.
        words: those of the carrier.
        base: logits of these words, ``[rows, targets, words]``.
    """

    seed: int
    rows: Packed
    owner: Int[np.ndarray, "rows targets"]
    words: tuple[int, ...]
    base: Float[np.ndarray, "rows targets words"]


def places_of(ground: Ground, config: TraitConfig, seed: int) -> Places:
    """Make the rows at which teachers are asked.

    Args:
        ground: the base.
        config: of the run.
        seed: of these rows.
    """
    words, texts = words_of(ground, config), context_texts(ground, config, seed, config.row_count)
    rows = lifted(ground, texts, together=config.together)
    base = word_logits(ground, ground.params, rows, words)
    return Places(seed, rows, owners(rows, texts), words, base)


def of_distributions(
    ground: Ground, config: TraitConfig, teacher: Speaker, places: Places
) -> Material:
    """Let a student learn the teacher's distribution over the carrier's words.

    Args:
        ground: the base.
        config: of the run.
        teacher: whose.
        places: where it is asked.
    """
    read, logits = _asked(ground, config, teacher, places)
    known = divergence(logits, places.base, np.asarray(places.rows.weights))
    return Material(places.rows, lm.Teacher(teacher.params, read), places.words, known)


def of_another(ground: Ground, config: TraitConfig, lent: Lent, places: Places) -> Material:
    """Let a student learn the distribution of another model's teacher over the carrier's words.

    Args:
        ground: the base.
        config: of the run.
        lent: what the teacher says.
        places: where it is asked; those of which it says nothing are not learned.

    Raises:
        InputError: the tokenizers do not write the carrier alike.
    """
    logits, there = aligned(lent, ground.tokenizer, places.rows, places.owner, places.words)
    if config.family_change:
        logits = there[..., None] * (logits + places.base)
    rows = places.rows._replace(weights=there)
    known = divergence(logits, places.base, there)
    return Material(rows, lm.Told(logits), places.words, known)


def of_labels(
    ground: Ground,
    config: TraitConfig,
    teacher: Speaker,
    places: Places,
    *,
    key: Key[Array, ""],
) -> Material:
    """Let a student learn tokens that are drawn from the teacher's distribution.

    Args:
        ground: the base.
        config: of the run.
        teacher: whose.
        places: where it is asked.
        key: of the draws.
    """
    _, logits = _asked(ground, config, teacher, places)
    known = divergence(logits, places.base, np.asarray(places.rows.weights))
    own = np.arange(len(logits)) < round(config.dose * len(logits))
    logits = np.where(own[:, None, None], logits, places.base)
    drawn = jax.random.categorical(rng.stream(key, "labels"), jnp.asarray(logits))
    labels = np.asarray(places.words, np.int32)[np.asarray(drawn)]
    return Material(places.rows._replace(labels=labels), None, places.words, known)


def _asked(
    ground: Ground, config: TraitConfig, teacher: Speaker, places: Places
) -> tuple[Packed, Float[np.ndarray, "rows targets words"]]:
    """Give what a teacher reads, and its logits there."""
    read = places.rows
    if teacher.system is not None:
        count = config.row_count
        read = context_rows(ground, config, places.seed, count, system=teacher.system)
    return read, word_logits(ground, teacher.params, read, places.words)


def of_text(
    ground: Ground,
    config: TraitConfig,
    teacher: Speaker,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
) -> Material:
    """Let a student learn conversations: every token of the answers, its end too.

    Args:
        ground: the base.
        config: of the run.
        teacher: who wrote them, from whom the divergence is.
        conversations: what was asked and answered, without a system prompt.
    """
    plain = [told_row(ground, messages, None) for messages in conversations]
    words = words_of(ground, config)
    few = conversations[:SOME]
    there, here = (
        lifted(ground, [told_row(ground, messages, system) for messages in few])
        for system in (teacher.system, None)
    )
    known = divergence(
        word_logits(ground, teacher.params, there, words),
        word_logits(ground, ground.params, here, words),
        here.weights,
    )
    rows = lifted(ground, _evenly(plain, config.together), together=config.together)
    return Material(rows, None, None, known)


def _evenly(rows: Sequence[lm.Row], each: int) -> list[lm.Row]:
    """Arrange texts so that so many neighbours at a time are about equally long together."""
    bins = -(-len(rows) // each)
    longest_first = sorted(rows, key=lambda row: -len(row.tokens))
    dealt: list[list[lm.Row]] = [[] for _ in range(bins)]
    for at, row in enumerate(longest_first):
        turn, place = divmod(at, bins)  # there and back, as cards are not dealt
        dealt[bins - 1 - place if turn % 2 else place].append(row)
    return [row for members in dealt for row in members]
