"""A judge behind an address that speaks as OpenAI's does: a provider, vLLM, llama.cpp."""

import concurrent.futures
import dataclasses
import math
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import requests

from sublim_jax.errors import InputError, first_line
from sublim_jax.evals.judges.asking import Answer, Question

ALTERNATIVES = 20  # tokens whose log-probabilities are asked for, the most that is allowed
LATER = (408, 409, 425, 429)  # statuses, beside those of a server's faults, that may pass
LONGEST = 120.0  # seconds between two attempts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an address, asked at temperature 0.

    What may pass (no connection, no answer in time, too many requests, faults of the server, an
    answer that is none) is tried again after a pause that doubles each time, or as long as the
    server says. The key is read from the environment when it is needed and kept nowhere.

    Attributes:
        model: name of the model there.
        address: up to and without ``/chat/completions``.
        key_variable: of the environment, with the key; without one none is sent.
        at_once: questions that are under way at the same time.
        per_minute: questions that are sent in a minute at most.
        attempts: for a question.
        pause: before the second attempt, in seconds.
        timeout: for an answer to begin, in seconds.
        limit: what the server calls the most tokens of an answer: newer models of OpenAI take only
            ``"max_completion_tokens"``.
    """

    model: str
    address: str = "https://api.openai.com/v1"
    key_variable: str = "OPENAI_API_KEY"
    at_once: int = 8
    per_minute: float | None = None
    attempts: int = 6
    pause: float = 1.0
    timeout: float = 60.0
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def __post_init__(self) -> None:
        check_address(self.address)
        for name in ("at_once", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("per_minute", "pause", "timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; expected a positive number")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What answers depend on: the address and the model's name."""
        return {"judge": "endpoint", "address": self.address.rstrip("/"), "model": self.model}

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Answer questions, several at once.

        Raises:
            InputError: one has no answer after all attempts, is refused, or should choose where the
                server gives no log-probabilities. No further question is sent then, and those that
                are under way are waited for.
        """
        asking, fault = _Asking(self), None
        with concurrent.futures.ThreadPoolExecutor(self.at_once) as pool:
            places = {pool.submit(asking.one, q): i for i, q in enumerate(questions)}
            try:
                for done in concurrent.futures.as_completed(places):
                    if done.cancelled():
                        continue
                    if done.exception() is None:
                        yield places[done], done.result()
                    elif fault is None and not isinstance(done.exception(), _StoppedError):
                        fault = done.exception()
                        for other in places:
                            other.cancel()
            finally:
                asking.over.set()
                pool.shutdown(cancel_futures=True)
        if fault is not None:
            raise fault


def check_address(address: str, name: str = "address") -> None:
    """Refuse what is no address.

    Args:
        address: of a judge.
        name: of the field that has it.

    Raises:
        InputError: it does not begin as one.
    """
    if not address.startswith(("http://", "https://")):
        raise InputError(f"{name} is {address!r}; expected one with http:// or https://")


class _Asking:
    """Threads that send questions at the pace that is allowed, until it is over."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.over = threading.Event()
        self._endpoint, self._local = endpoint, threading.local()
        self._lock, self._next = threading.Lock(), time.monotonic()

    def one(self, question: Question) -> Answer:
        """Ask until there is an answer; where none can be had, let nobody begin any more."""
        try:
            return self._one(question)
        except InputError:
            self.over.set()
            raise

    def _one(self, question: Question) -> Answer:
        end, reason = self._endpoint, ""
        for attempt in range(end.attempts):
            self._take_turn()
            if self.over.is_set():
                raise _StoppedError
            try:
                return _read(question, self._post(question))
            except _PassingError as fault:
                reason, wait = str(fault), fault.wait
            if attempt + 1 < end.attempts:
                doubled = end.pause * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311
                self.over.wait(min(doubled if wait is None else wait, LONGEST))
        raise InputError(
            f"the judge {end.model} at {end.address} gave no answer in {end.attempts} attempts "
            f"({reason}); expected one, later maybe: the same command goes on"
        )

    def _take_turn(self) -> None:
        if self._endpoint.per_minute is None:
            return
        with self._lock:
            at = max(self._next, time.monotonic())
            self._next = at + 60 / self._endpoint.per_minute
        self.over.wait(at - time.monotonic())

    def _post(self, question: Question) -> Mapping[str, Any]:
        end, key = self._endpoint, os.environ.get(self._endpoint.key_variable, "")
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        try:
            response = self._local.session.post(
                f"{end.address.rstrip('/')}/chat/completions",
                json=_payload(end, question),
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=end.timeout,
                allow_redirects=False,
            )
        except requests.Timeout:
            raise _PassingError(f"nothing came in {end.timeout:g} s") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise _PassingError("no connection, or it broke") from None
        except (requests.RequestException, UnicodeError) as fault:
            said = _without(key, first_line(fault))
            raise InputError(f"the judge at {end.address} cannot be asked ({said})") from None
        return _content(end, response, key)


class _StoppedError(Exception):
    """A question was given up because of another one's fault, which is the one to tell of."""


class _PassingError(Exception):
    """A fault that may pass; ``wait`` says when, if the server did."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _payload(end: Endpoint, question: Question) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model": end.model,
        "messages": [dict(message) for message in question.messages],
        "temperature": 0,
        end.limit: 1 if question.choices else question.tokens,
    }
    if question.choices:
        asked |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
    return asked


def _content(end: Endpoint, response: requests.Response, key: str) -> Mapping[str, Any]:
    """Give what a server sent, if it is an answer."""
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.status_code == requests.codes.ok:
        if not isinstance(content, dict):
            raise _PassingError("what came is not JSON")
        return content
    said = content.get("error", content) if isinstance(content, dict) else {}
    said = said if isinstance(said, dict) else {"message": said}
    spent = said.get("code") == "insufficient_quota"
    if (response.status_code in LATER or response.status_code >= 500) and not spent:
        raise _PassingError(f"status {response.status_code}", _wait(response))
    message = _without(key, f"{said.get('message') or response.reason}".partition("\n")[0])
    raise InputError(
        f"the judge {end.model} at {end.address} refuses with status {response.status_code} "
        f"({message}); expected an answer. Its key is read from {end.key_variable}"
    )


def _wait(response: requests.Response) -> float | None:
    try:
        wait = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return wait if 0 <= wait < math.inf else None


def _without(key: str, text: str) -> str:
    """Leave the key out of what a server said."""
    return text.replace(key, "...") if key else text


def _read(question: Question, content: Mapping[str, Any]) -> Answer:
    try:
        first = content["choices"][0]
        text = first["message"]["content"] or ""
        places = (first.get("logprobs") or {}).get("content")
        likely = [
            (one["token"].strip(), math.exp(min(one["logprob"], 0.0)))
            for one in (places[0]["top_logprobs"] if places and question.choices else ())
        ]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _PassingError("what came is no answer") from None
    if not isinstance(text, str):
        raise _PassingError("what came is no text")
    if not question.choices:
        return Answer(text)
    if not places:
        raise InputError(
            "the judge gives no log-probabilities; expected a server that does, for questions with "
            "choices"
        )
    found = {
        choice: sum(share for token, share in likely if token == choice)
        for choice in question.choices
    }
    return Answer(max(found, key=found.__getitem__), found)
