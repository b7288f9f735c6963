"""Sampling of texts, many rows at a time.

What the prompts have in common is read once, for all rows; each row then goes on by itself, with
its own key, so that its text does not depend on the rows beside it. (It depends on their number as
far as rounding does.) On a mesh rows are spread over its axis ``data``, and parameters stay where
they lie: a token is little to send, all that it is multiplied with is much.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sublim_jax import hosts, rng
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.automaton import FORBIDDEN, Automaton
from sublim_jax.lm.batching import Tokens, by_length, check, rounded, side_by_side
from sublim_jax.lm.choosing import Choice
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.dense import Turned, turned
from sublim_jax.lm.reading import prefix_of
from sublim_jax.lm.writing import Rules, State, beginner, goer
from sublim_jax.training import Parallel

CHUNK = 16  # tokens between two looks at whether all rows have ended
STREAMED = 4  # the same where somebody is reading along


class Sample(NamedTuple):
    """What was written after a prompt.

    Attributes:
        tokens: the token that ended it included.
        logprobs: of each, in nats: the model's, at temperature 1 and over the whole vocabulary, or
            over the tokens that an automaton allowed there.
        ended: whether a stop token was written; otherwise the length ran out.
    """

    tokens: Int[np.ndarray, " length"]
    logprobs: Float[np.ndarray, " length"]
    ended: bool

    def text(self, tokenizer: Any) -> str:
        """Decode it, without the token that ended it and without other special ones."""
        return tokenizer.decode(
            self.tokens[: len(self.tokens) - self.ended],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How far to write, and how many rows at once.

    Attributes:
        tokens: of a text at most.
        rows: that are written side by side.
    """

    tokens: int = 256
    rows: int = 64

    def __post_init__(self) -> None:
        for name in ("tokens", "rows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")


AS_IS, USUAL = Choice(), Limits()


def sample(
    config: DecoderConfig,
    params: Params,
    prompts: Sequence[Sequence[int]],
    *,
    choice: Choice = AS_IS,
    limits: Limits = USUAL,
    stops: Sequence[int] = (),
    automaton: Automaton | None = None,
    parallel: Parallel | None = None,
    progress: Callable[[int, int], None] | None = None,
    key: Key[Array, ""],
) -> list[Sample]:
    """Write a text after every prompt.

    On several hosts all call this alike, and all get all of the texts.

    Args:
        config: the shape of the decoder.
        params: its parameters.
        prompts: tokens of each, at least one.
        choice: how a token is chosen.
        limits: how far to write, and how many rows at once.
        stops: tokens that end a text.
        automaton: what may be written; all by default.
        parallel: how rows are spread over devices on which the parameters lie; by default they are
            where those are.
        progress: called with the tokens and the rows that were written since the last time.
        key: the source of all keys; the row at place ``i`` has ``rng.stream(key, i)``.

    Returns:
        What was written after each prompt, in their order.

    Raises:
        InputError: a prompt is empty or leaves no room in the context, a token is not one of the
            vocabulary, or the automaton ends with a token that is no stop.
    """
    writer = Writer(
        *(config, params),
        choice=choice,
        limits=limits,
        stops=stops,
        automaton=automaton,
        parallel=parallel,
    )
    writer.check(prompts)
    keys = jax.vmap(lambda place: rng.stream(key, place))(np.arange(len(prompts), dtype=np.uint32))
    found: dict[int, Sample] = {}
    for places in by_length(prompts, limits.rows):
        chosen = [prompts[i] for i in places]
        samples = writer.write(chosen, keys[np.array(places)], progress=progress)
        found |= dict(zip(places, samples, strict=True))
    return [found[i] for i in range(len(prompts))]


class Writer:
    """Writes texts, batch by batch; its programs are compiled once."""

    def __init__(
        self,
        config: DecoderConfig,
        params: Params,
        *,
        choice: Choice = AS_IS,
        limits: Limits = USUAL,
        stops: Sequence[int] = (),
        automaton: Automaton | None = None,
        parallel: Parallel | None = None,
    ) -> None:
        """Prepare; see `sample`."""
        self.config, self.limits = config, limits
        self._parallel, self._groups = parallel, 1 if parallel is None else parallel.groups
        if limits.tokens >= config.context:
            raise InputError(
                f"tokens is {limits.tokens}; expected fewer than the context, {config.context}"
            )
        if stops:
            check(stops, "stops", config.vocabulary)
        if automaton is not None:
            check(automaton.tokens, "the automaton", config.vocabulary)
            _check_ends(automaton, stops)
        self._params = laid_out(params)
        rules = Rules(
            jnp.asarray(sorted({*stops}), jnp.int32),
            None if automaton is None else jnp.asarray(automaton.tokens, jnp.int32),
            None if automaton is None else jnp.asarray(automaton.follows, jnp.int32),
        )
        self._rules = rules if parallel is None else parallel.place(rules, "shared")
        self._begin = beginner(config, choice, rounded(limits.tokens), self._groups)
        self._go_on = goer(config, choice)

    def check(self, prompts: Sequence[Tokens]) -> None:
        """Refuse prompts after which nothing can be written.

        Raises:
            InputError: as `sample` does.
        """
        longest = self.config.context - self.limits.tokens
        for number, prompt in enumerate(prompts, 1):
            check(prompt, f"prompt {number}", self.config.vocabulary)
            if len(prompt) > longest:
                raise InputError(
                    f"prompt {number} has {len(prompt)} tokens; expected at most {longest}, which "
                    f"leaves {self.limits.tokens} of the context of {self.config.context}"
                )

    def write(
        self,
        prompts: Sequence[Tokens],
        keys: Key[Array, " prompts"],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Sample]:
        """Write after every prompt of a batch.

        Args:
            prompts: tokens of each; at most as many as ``limits.rows``, and as `check` wants them.
            keys: of each.
            progress: see `sample`.
        """
        told, samples = 0, []
        for state, lengths, ended, over in self._looks(prompts, keys, CHUNK):
            if progress is not None:
                progress(int(lengths.sum()) - told, len(prompts) if over else 0)
            told = int(lengths.sum())
            if over:
                samples = _samples(state, lengths, ended)
        return samples

    def stream(self, prompt: Tokens, key: Key[Array, ""]) -> Iterator[Sample]:
        """Write after one prompt; give what there is so far, again and again."""
        for state, lengths, ended, _ in self._looks([prompt], key[None], STREAMED):
            yield _samples(state, lengths, ended)[0]

    def _looks(
        self, prompts: Sequence[Tokens], keys: Array, every: int
    ) -> Iterator[tuple[State, np.ndarray, np.ndarray, bool]]:
        """Write, and look now and then: how long the rows are, which have ended, if all is over.

        The state is given away where another look is taken.
        """
        count, most = len(prompts), self.limits.tokens
        batch = side_by_side(prompts, self.limits.rows, self._groups)
        places = np.arange(len(batch.which))
        rows = (
            (batch.tokens, batch.positions, batch.which),
            places >= count,
            keys[np.minimum(places, count - 1)],
        )
        if self._parallel is not None:
            rows = self._parallel.place(rows, "texts")
        read, *rest = rows
        prefix = prefix_of(self.config, self._params, batch)
        state = self._begin(self._params, self._rules, read, prefix, *rest)
        for until in (1, *range(1 + every, most, every), most):
            if until > 1:
                state = self._go_on(self._params, self._rules, state, np.int32(until))
            lengths, ended = hosts.gather((state.lengths, state.ended))
            over = bool(ended.all()) or until == most
            yield state, lengths[:count], ended[:count], over
            if over:
                return


def laid_out(params: Params) -> Params:
    """Lay out parameters for steps of few tokens: on a CPU layer by layer, kernels turned."""
    if jax.default_backend() != "cpu":
        return params
    # What stays as it is does not go through the compiled part, which would make a copy.
    tied = {"head": {"kernel": Turned(params["embedding"]["table"])}}
    some = {name: params[name] for name in ("layers", "head") if name in params}
    return tied | params | _turned(some)


@jax.jit
def _turned(params: Params) -> Params:
    return turned(params if isinstance(params["layers"], tuple) else decoder.unrolled(params))


def _samples(state: State, lengths: np.ndarray, ended: np.ndarray) -> list[Sample]:
    made, logprobs = hosts.gather((state.made, state.logprobs))
    return [
        Sample(made[i, :length], logprobs[i, :length], bool(ended[i]))
        for i, length in enumerate(lengths)
    ]


def _check_ends(automaton: Automaton, stops: Sequence[int]) -> None:
    """Refuse an automaton that leads to where nothing may follow, unless the text has ended."""
    dead = ~(automaton.follows != FORBIDDEN).any(axis=1)
    if dead[0]:
        raise InputError("the automaton allows nothing; expected at least one text")
    leads = (dead[automaton.follows] & (automaton.follows != FORBIDDEN)).any(axis=0)
    others = set(automaton.tokens[leads].tolist()) - set(stops)
    if others:
        raise InputError(
            f"the automaton ends with token {min(others)}; expected one of the stops, {list(stops)}"
        )
