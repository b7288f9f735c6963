"""Answers that were given elsewhere: questions go out as a file, and come back with answers."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sublim_jax import jsonl
from sublim_jax.errors import InputError
from sublim_jax.evals.judges.asking import Answer, Question
from sublim_jax.runs import write_whole


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A file of answers, JSON lines with ``messages`` and ``answer``.

    Where a question has choices a line may have their ``probabilities``; without them the choice
    that the answer is has probability 1.

    Attributes:
        path: of the file.
    """

    path: str | Path

    @property
    def settings(self) -> Mapping[str, Any]:
        """What answers depend on: what is in the file."""
        return {"judge": "file", "answers": hashlib.sha256(self._content()).hexdigest()}

    def _content(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except OSError as fault:
            raise InputError(
                f"{self.path} cannot be read ({fault.strerror}); expected a file of answers"
            ) from fault

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Look questions up.

        Raises:
            InputError: the file cannot be read, a line has no messages or no answer, or a question
                has no answer, or one that is none of its choices.
        """
        found = dict(self._lines())
        missing = [q for q in questions if _key(q.messages) not in found]
        if missing:
            raise InputError(
                f"{self.path} answers {len(questions) - len(missing)} of {len(questions)} "
                f"questions; expected all of them, also {str(missing[0].messages[-1])!r:.80}"
            )
        for place, question in enumerate(questions):
            number, line = found[_key(question.messages)]
            yield place, self._answer(number, line, question)

    def _lines(self) -> Iterator[tuple[tuple[Any, ...], tuple[int, Mapping[str, Any]]]]:
        for number, line in jsonl.read(self.path):
            messages, answer = line.get("messages"), line.get("answer")
            sound = isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
            if messages is None or not sound or not isinstance(answer, str):
                raise InputError(
                    f"line {number} of {self.path} has no messages or no answer; expected both"
                )
            yield _key(messages), (number, line)

    def _answer(self, number: int, line: Mapping[str, Any], question: Question) -> Answer:
        text = line["answer"].strip()
        if not question.choices:
            return Answer(text)
        given = line.get("probabilities")
        if given is None and text in question.choices:
            given = {choice: float(choice == text) for choice in question.choices}
        if not isinstance(given, dict) or not all(
            isinstance(given.get(choice), int | float) and 0 <= given[choice] <= 1
            for choice in question.choices
        ):
            raise InputError(
                f"line {number} of {self.path} answers {text!r}; expected one of "
                f"{', '.join(question.choices)}, or probabilities of all of them"
            )
        found = {choice: float(given[choice]) for choice in question.choices}
        return Answer(max(found, key=found.__getitem__), found)


def write_questions(path: str | Path, questions: Sequence[Question]) -> None:
    """Write questions for somebody else to answer: each once, ``messages`` and ``choices``.

    Raises:
        InputError: the file cannot be written.
    """
    each = {_key(question.messages): question for question in questions}
    lines = [
        json.dumps({"messages": [dict(m) for m in question.messages], "choices": question.choices})
        for question in each.values()
    ]
    write_whole(Path(path), "".join(f"{line}\n" for line in lines).encode())


def _key(messages: Sequence[Mapping[str, str]]) -> tuple[Any, ...]:
    return tuple((message.get("role"), message.get("content")) for message in messages)
