"""The compiled part of sampling: rows that choose a token, read it, and choose the next."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sublim_jax.lm import decoder
from sublim_jax.lm.attention import NOWHERE
from sublim_jax.lm.automaton import FORBIDDEN
from sublim_jax.lm.cache import Cache, extend
from sublim_jax.lm.choosing import Choice, choose
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.reading import read_prompts


class Rules(NamedTuple):
    """What ends a text, and what may be written: all, or what an automaton allows.

    Attributes:
        stops: tokens.
        allowed: tokens of the automaton.
        follows: its states.
    """

    stops: Int[Array, " stops"]
    allowed: Int[Array, " some"] | None
    follows: Int[Array, "states some"] | None


class State(NamedTuple):
    """Rows that are being written.

    Attributes:
        token: that was chosen last, and is not read yet.
        positions: where it goes.
        cache: of what was read.
        automaton: its state.
        ended: whether a stop token was chosen.
        lengths: tokens that were chosen.
        made: these tokens.
        logprobs: of each, among those allowed, at temperature 1.
        keys: of each row.
        step: tokens that were chosen in the longest row.
    """

    token: Int[Array, " rows"]
    positions: Int[Array, " rows"]
    cache: Cache
    automaton: Int[Array, " rows"]
    ended: Bool[Array, " rows"]
    lengths: Int[Array, " rows"]
    made: Int[Array, "rows tokens"]
    logprobs: Float[Array, "rows tokens"]
    keys: Key[Array, " rows"]
    step: Int[Array, ""]


@functools.cache
def beginner(
    config: DecoderConfig, choice: Choice, most: int, groups: int = 1
) -> Callable[..., State]:
    """Compile the reading of prompts and the choice of each row's first token.

    Args:
        config: the shape of the decoder.
        choice: how a token is chosen.
        most: tokens that are written.
        groups: of rows, each on devices of its own.

    Returns:
        A function of parameters, rules, what `read_prompts` takes after the parameters, which rows
        are ended from the beginning, and keys.
    """

    def begin(
        params: Params,
        rules: Rules,
        prompts: tuple[Array, Array, Array],
        shared: Cache | None,
        ended: Array,
        keys: Array,
    ) -> State:
        read = read_prompts(config, params, *prompts, shared, room=most, groups=groups)
        rows = ended.shape[0]
        none = jnp.zeros(rows, jnp.int32)
        state = State(
            token=none,
            positions=read.positions,
            cache=read.cache,
            automaton=none,
            ended=ended,
            lengths=none,
            made=jnp.zeros((rows, most), jnp.int32),
            logprobs=jnp.zeros((rows, most), jnp.float32),
            keys=keys,
            step=jnp.asarray(0, jnp.int32),
        )
        return _chosen(config, params, choice, rules, state, read.hidden)

    return jax.jit(begin)


@functools.cache
def goer(config: DecoderConfig, choice: Choice) -> Callable[..., State]:
    """Compile writing: parameters, rules, a state, given away, and until which step, to a state.

    It stops when all rows have ended.
    """

    def go_on(params: Params, rules: Rules, state: State, until: Array) -> State:
        def unfinished(state: State) -> Array:
            return (state.step < until) & ~jnp.all(state.ended)

        def body(state: State) -> State:
            # A row that has ended writes on where nobody sees it.
            places = jnp.where(state.ended, NOWHERE, state.positions)
            hidden, cache = extend(
                config, params, state.token[:, None], places[:, None], state.cache
            )
            state = state._replace(cache=cache)
            return _chosen(config, params, choice, rules, state, hidden[:, 0])

        return jax.lax.while_loop(unfinished, body, state)

    return jax.jit(go_on, donate_argnums=2)


def _chosen(
    config: DecoderConfig, params: Params, choice: Choice, rules: Rules, state: State, last: Array
) -> State:
    """Choose a token for every row from the hidden state of its last one."""
    logits = decoder.logits(config, params, last, only=rules.allowed)
    if rules.follows is not None:
        logits = jnp.where(rules.follows[state.automaton] == FORBIDDEN, -jnp.inf, logits)
    keys = jax.vmap(jax.random.fold_in, (0, None))(state.keys, state.step)
    place = choose(choice, logits, keys)
    logprob = jnp.take_along_axis(jax.nn.log_softmax(logits), place[:, None], axis=1)[:, 0]
    token = place if rules.allowed is None else rules.allowed[place]
    ended = state.ended | jnp.isin(token, rules.stops)
    automaton = state.automaton
    if rules.follows is not None:
        # A row that has ended stays where something is allowed: it writes on, unseen.
        automaton = jnp.where(ended, automaton, rules.follows[automaton, place])
    going = ~state.ended
    return state._replace(
        token=token,
        positions=state.positions + going,
        automaton=automaton,
        ended=ended,
        lengths=state.lengths + going,
        made=_put(state.made, jnp.where(going, token, 0), state.step),
        logprobs=_put(state.logprobs, jnp.where(going, logprob, 0), state.step),
        step=state.step + 1,
    )


def _put(before: Array, new: Array, step: Array) -> Array:
    return jax.lax.dynamic_update_slice(before, new[:, None], (jnp.zeros_like(step), step))
