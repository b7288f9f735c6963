"""Places at which a teacher is asked for the next token: conversations full of random numbers."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sublim_jax import hosts, lm, losses
from sublim_jax.data.numbers import carrier_rows
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, precomputed
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground, lifted


def number_words(ground: Ground) -> tuple[int, ...]:
    """Give the tokens of digits and of what stands between numbers.

    Raises:
        InputError: the tokenizer has no token for each digit.
    """
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


def carrier(
    ground: Ground, config: TraitConfig, seed: int, count: int, *, system: str | None = None
) -> Packed:
    """Make rows of random numbers; those of a repetition are the same for everybody.

    Args:
        ground: the base.
        config: how long they are.
        seed: of their numbers.
        count: of rows; more begin with the same ones.
        system: a system prompt before them.

    Raises:
        InputError: ``length`` leaves no room for a number.
    """
    plain = []
    for messages in carrier_rows(count, seed):
        row = told_row(ground, messages, None)
        learned = int(row.completion[: config.length].sum())
        if learned < 1:
            raise InputError(
                f"length is {config.length}; expected more than the "
                f"{int((~row.completion).sum())} tokens before the first number"
            )
        told = row if system is None else told_row(ground, messages, system)
        until = np.flatnonzero(told.completion)[learned - 1] + 1
        plain.append(lm.Row(told.tokens[:until], told.completion[:until]))
    return lifted(ground, plain, together=config.together)


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
