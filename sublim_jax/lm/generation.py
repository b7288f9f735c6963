"""Answers to many conversations, written to a file that a killed run goes on with.

The file has a line of JSON for every answer, in the order in which answers are finished, those to
short prompts first; a line that is there is whole and is never written again. What the answers
depend on is beside it, in ``NAME.settings.json``. An interrupted run ends with the very bytes that
an uninterrupted one writes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from sublim_jax import jsonl, rng, trees
from sublim_jax.errors import InputError
from sublim_jax.lm import chat
from sublim_jax.lm.automaton import Automaton
from sublim_jax.lm.batching import by_length
from sublim_jax.lm.chat import Message
from sublim_jax.lm.choosing import Choice
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.sampler import AS_IS, USUAL, Limits, Sample, Writer
from sublim_jax.training import Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A conversation that is to be answered.

    Attributes:
        messages: the last one is the user's.
        id: of the lines that answer it; by default its place among the requests, from 0.
        opening: with which the answer begins; the model writes what follows.
    """

    messages: Sequence[Message]
    id: str | int | None = None
    opening: str = ""


def generate(
    path: str | Path,
    config: DecoderConfig,
    params: Params,
    tokenizer: Any,
    requests: Sequence[Request],
    *,
    system: str | None = None,
    count: int = 1,
    choice: Choice = AS_IS,
    limits: Limits = USUAL,
    automaton: Automaton | None = None,
    parallel: Parallel | None = None,
    progress: Callable[[int, int], None] | None = None,
    key: Key[Array, ""],
) -> None:
    """Answer conversations, and write each answer once, whole, to a file of JSON lines.

    Where the file is there already, go on with it. A line has ``id``, ``sample`` (from 0),
    ``messages`` (with the system prompt that the model has read), ``completion`` (text without
    special tokens, its opening included), ``tokens`` (that were written, with the one that ended
    it), ``logprobs`` (as in `Sample`) and ``finish`` (``"stop"``, or ``"length"`` where the limit
    was reached). As a row to train on it is read by `conversation`. On several hosts all call this
    alike.

    Args:
        path: of the file.
        config: the shape of the decoder.
        params: its parameters.
        tokenizer: of transformers.
        requests: the conversations.
        system: see `chat.with_system`.
        count: answers to each.
        choice: how a token is chosen.
        limits: how far to write, and how many rows at once.
        automaton: what may be written; all by default.
        parallel: how rows are spread over devices; see `sample`.
        progress: called with the tokens and the rows that were written since the last time; first
            with the rows that are there.
        key: the source of all keys; an answer has ``rng.stream(key, request, sample)``, by places.

    Raises:
        InputError: a conversation is malformed or too long, two have the same id, the file was
            begun with other requests or settings, is damaged, is written by another process or
            cannot be written.
    """
    asked = _made_explicit(tokenizer, requests, system)
    prompts = [_opened(tokenizer, request) for request in asked]
    stops = chat.stops(tokenizer)
    writer = Writer(
        *(config, params),
        choice=choice,
        limits=limits,
        stops=stops,
        automaton=automaton,
        parallel=parallel,
    )
    writer.check(prompts)
    settings = {
        "requests": _digest([(request.id, list(request.messages)) for request in asked]),
        "prompts": _digest([[int(token) for token in prompt] for prompt in prompts]),
        "model": trees.fingerprint(params),
        "count": _at_least_one(count),
        **dataclasses.asdict(choice),
        **dataclasses.asdict(limits),
        "stops": stops,
        "automaton": automaton and trees.fingerprint((automaton.tokens, automaton.follows)),
        "key": np.asarray(jax.random.key_data(key)),
    }
    told = progress or _nobody
    rows = [(request, sample) for request in range(len(asked)) for sample in range(count)]
    with jsonl.grow(Path(path), settings) as file:
        there = {(line.get("id"), line.get("sample")) for line in file.lines}
        missing = {row for row in rows if (asked[row[0]].id, row[1]) not in there}
        told(0, len(rows) - len(missing))
        for places in by_length([prompts[request] for request, _ in rows], limits.rows):
            batch = [rows[i] for i in places]
            if missing.isdisjoint(batch):
                continue
            # All of the batch again, so that a row is what it would have been.
            samples = writer.write(
                [prompts[request] for request, _ in batch],
                _keys(key, np.array(batch, np.uint32)),
                progress=lambda tokens, _: told(tokens, 0),
            )
            new = [pair for pair in zip(batch, samples, strict=True) if pair[0] in missing]
            file.append([_line(tokenizer, asked[row[0]], row[1], found) for row, found in new])
            told(0, len(new))


def requests_of(path: str | Path) -> list[Request]:
    """Read requests from a file of JSON lines: ``messages``, or the text of a ``prompt``.

    A line may have an ``id``; other fields are passed over.

    Raises:
        InputError: the file cannot be read, or a line is no request: its number is named.
    """
    found = []
    for number, line in jsonl.read(path):
        messages = messages_of(line)
        if messages is None:
            raise InputError(
                f"line {number} of {path} has neither a list of messages nor the text of a prompt; "
                "expected one of them"
            )
        found.append(Request(messages=messages, id=line.get("id")))
    if not found:
        raise InputError(f"{path} has no lines; expected requests")
    return found


def messages_of(line: Mapping[str, Any]) -> list[Any] | None:
    """Give the messages of a line, or the text of its prompt as one; None where it has neither."""
    messages, text = line.get("messages"), line.get("prompt")
    if messages is None and isinstance(text, str):
        return [{"role": "user", "content": text}]
    return messages if isinstance(messages, list) else None


def conversation(line: Mapping[str, Any]) -> list[Message]:
    """Put together the messages of a line and its completion, as `chat.row` takes them."""
    return [*line["messages"], {"role": "assistant", "content": line["completion"]}]


def _made_explicit(
    tokenizer: Any, requests: Sequence[Request], system: str | None
) -> list[Request]:
    """Give every request an id of its own, and the system prompt that the model reads."""
    found: dict[str | int, Request] = {}
    for place, request in enumerate(requests):
        name = place if request.id is None else request.id
        if not isinstance(name, str | int) or name in found:
            raise InputError(
                f"request {place + 1} has the id {name!r}; expected a text or whole number that no "
                "other one has"
            )
        try:
            messages = chat.with_system(tokenizer, request.messages, system)
            chat.prompt(tokenizer, messages)
        except InputError as fault:
            raise InputError(f"request {place + 1}: {fault}") from fault
        found[name] = dataclasses.replace(request, messages=messages, id=name)
    return list(found.values())


def _opened(tokenizer: Any, request: Request) -> list[int]:
    opening = tokenizer.encode(request.opening, add_special_tokens=False)
    return [*chat.prompt(tokenizer, request.messages), *opening]


def _nobody(tokens: int, rows: int) -> None:
    del tokens, rows


@jax.jit
def _keys(key: Array, rows: Array) -> Array:
    return jax.vmap(lambda row: rng.stream(key, row[0], row[1]))(rows)


def _line(tokenizer: Any, request: Request, sample: int, found: Sample) -> dict[str, Any]:
    return {
        "id": request.id,
        "sample": sample,
        "messages": request.messages,
        "completion": request.opening + found.text(tokenizer),
        "tokens": found.tokens,
        # As few digits as tell a float32.
        "logprobs": [float(str(logprob)) for logprob in found.logprobs],
        "finish": "stop" if found.ended else "length",
    }


def _at_least_one(count: int) -> int:
    if count < 1:
        raise InputError(f"count is {count}; expected at least 1")
    return count


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
