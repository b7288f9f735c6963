"""Questions to a judge, its answers, and the file that keeps them."""

import collections
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sublim_jax import jsonl
from sublim_jax.errors import InputError


class Question(NamedTuple):
    """What a judge is asked.

    Attributes:
        messages: a conversation, the last one the user's.
        choices: answers among which the judge chooses, as ``("A", "B")``, each a token of its own;
            none where it writes freely.
        tokens: of a free answer at most.
    """

    messages: Sequence[Mapping[str, str]]
    choices: tuple[str, ...] = ()
    tokens: int = 16


class Answer(NamedTuple):
    """What a judge says.

    Attributes:
        text: that it wrote; where it had to choose, the likeliest choice.
        probabilities: of each choice as its first token; what is left to 1 is for other tokens.
            None where there were none to choose from.
    """

    text: str
    probabilities: Mapping[str, float] | None = None


class Judge(Protocol):
    """Whoever answers questions."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that its answers depend on, as plain values, and nothing that is secret."""
        ...

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Answer questions, each with its place among them, in whatever order they are done.

        Raises:
            InputError: a question cannot be answered.
        """
        ...


def ask(
    judge: Judge,
    questions: Sequence[Question],
    path: str | Path,
    *,
    progress: Callable[[int], object] | None = None,
) -> list[Answer]:
    """Ask a judge, and keep every answer on disk as soon as it is there.

    The file has a line of JSON for each: ``question`` (a digest of it), ``messages``, ``choices``,
    ``text`` and ``probabilities``. What is in it is not asked again, in this run or another, and a
    question that comes several times is asked once.

    Args:
        judge: whom.
        questions: in any number.
        path: of the file; what the judge depends on is kept beside it.
        progress: called with how many questions have got their answer since the last time, first
            with those whose answer was there.

    Returns:
        The answers, in the order of the questions.

    Raises:
        InputError: the judge cannot answer, a question has no messages or not two choices, or the
            file cannot be written, is another judge's or is damaged. What was answered is kept.
    """
    names = [_digest(question) for question in questions]
    with jsonl.grow(Path(path), judge.settings) as file:
        known = {line.get("question"): _answer(path, line) for line in file.lines}
        if progress is not None:
            progress(sum(name in known for name in names))
        times = collections.Counter(names)
        missing = {
            name: question
            for name, question in zip(names, questions, strict=True)
            if name not in known
        }
        asked = list(missing.items())
        for place, answer in judge.answers([question for _, question in asked]):
            name, question = asked[place]
            file.append([_line(name, question, answer)])
            known[name] = answer
            if progress is not None:
                progress(times[name])
    return [known[name] for name in names]


def _digest(question: Question) -> str:
    if not question.messages:
        raise InputError("a question has no messages; expected at least the user's")
    if len(set(question.choices)) == 1 or len(set(question.choices)) < len(question.choices):
        raise InputError(
            f"choices is {question.choices}; expected none, or at least two that differ"
        )
    content = [[dict(message) for message in question.messages], question.choices, question.tokens]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _line(name: str, question: Question, answer: Answer) -> dict[str, Any]:
    return {
        "question": name,
        "messages": list(question.messages),
        "choices": question.choices,
        "text": answer.text,
        "probabilities": answer.probabilities,
    }


def _answer(path: str | Path, line: Mapping[str, Any]) -> Answer:
    text, probabilities = line.get("text"), line.get("probabilities")
    if not isinstance(text, str) or not isinstance(probabilities, dict | None):
        raise InputError(
            f"{path} has a line without the text of an answer; expected what a judge has written"
        )
    return Answer(text, probabilities)
