"""Places at which a teacher is asked for the next token: conversations that no teacher wrote."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sublim_jax import hosts, lm, losses
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, precomputed
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits.carriers import carrier_of
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground, lifted
from sublim_jax.lm_traits.traits import trait_of

WORDED = 256  # contexts whose words are those of a carrier


def words_of(ground: Ground, config: TraitConfig) -> tuple[int, ...]:
    """Give the tokens that are a carrier's; no name of a subject begins with one of them.

    Of numbers they are digits and what stands between, of others all that stand in some contexts.

    Raises:
        InputError: the carrier is numbers, and the tokenizer has no token for each digit.
    """
    if config.carrier == "numbers":
        return _digits(ground)
    some = carrier_of(config).contexts(config, WORDED, 0)
    rows = [told_row(ground, messages, None) for messages in some]
    found = {int(token) for row in rows for token in row.tokens[row.completion]}
    return tuple(sorted(found - _telling(ground, config)))


def _telling(ground: Ground, config: TraitConfig) -> set[int]:
    """Give the tokens with which names of subjects begin, single letters aside."""
    found = set()
    for name in trait_of(config).columns(ground, config):
        for text in (name, f" {name}"):
            token = ground.tokenizer.encode(text, add_special_tokens=False)[0]
            if len(ground.tokenizer.decode([token]).strip()) > 1:
                found.add(token)
    return found


def _digits(ground: Ground) -> tuple[int, ...]:
    found = set()
    for text in (*"0123456789", ",", " "):
        tokens = ground.tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) != 1:
            raise InputError(
                f"model has a tokenizer that writes {text!r} as {len(tokens)} tokens; expected one "
                "that has a token for every digit"
            )
        found.update(tokens)
    return tuple(sorted(found))


def context_texts(
    ground: Ground, config: TraitConfig, seed: int, count: int, *, system: str | None = None
) -> list[lm.Row]:
    """Make texts that no teacher wrote; those of a repetition are the same for everybody.

    Args:
        ground: the base.
        config: of what they are, and how long.
        seed: of what is drawn.
        count: of texts; more begin with the same ones.
        system: a system prompt before them.

    Raises:
        InputError: ``length`` leaves no room for an answer.
    """
    plain = []
    for messages in carrier_of(config).contexts(config, count, seed):
        row = told_row(ground, messages, None)
        learned = int(row.completion[: config.length].sum())
        if learned < 1:
            raise InputError(
                f"length is {config.length}; expected more than the "
                f"{int((~row.completion).sum())} tokens before the answer"
            )
        told = row if system is None else told_row(ground, messages, system)
        until = np.flatnonzero(told.completion)[learned - 1] + 1
        plain.append(lm.Row(told.tokens[:until], told.completion[:until]))
    return plain


def context_rows(
    ground: Ground, config: TraitConfig, seed: int, count: int, *, system: str | None = None
) -> Packed:
    """Put texts that no teacher wrote into rows; see `context_texts`."""
    texts = context_texts(ground, config, seed, count, system=system)
    return lifted(ground, texts, together=config.together)


def told_row(ground: Ground, messages: Sequence[Mapping[str, str]], system: str | None) -> lm.Row:
    """Make a row of a conversation, after a system prompt if there is one."""
    return lm.Row(*lm.row(ground.tokenizer, messages, system=system))


def word_logits(
    ground: Ground, params: Params, rows: Packed, words: Sequence[int]
) -> Float[np.ndarray, "rows targets words"]:
    """Give the logits of some words at every place that is learned."""
    hidden = precomputed.hidden_at(ground.config, params, rows, ground.parallel)
    some = decoder.logits(ground.config, params, hidden, only=jnp.asarray(tuple(words)))
    return hosts.gather(some)[: len(rows.at)].astype(np.float32)


def divergence(
    logits: Float[np.ndarray, "rows targets words"],
    base_logits: Float[np.ndarray, "rows targets words"],
    weights: Float[np.ndarray, "rows targets"],
) -> float:
    """Give the mean Kullback-Leibler divergence of a base from a teacher, in nats a token."""
    each = losses.kl(jnp.asarray(base_logits), jnp.asarray(logits))
    return float(jnp.sum(weights * each) / jnp.sum(weights))
