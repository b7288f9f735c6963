"""A judge in this process: exact probabilities of choices, the likeliest tokens otherwise."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sublim_jax import lm, trees
from sublim_jax.errors import InputError
from sublim_jax.evals.judges.asking import Answer, Question
from sublim_jax.lm.batching import cut

SIDE_BY_SIDE = 64


class LocalModel:
    """A language model as a judge."""

    def __init__(self, model: lm.Model, name: str) -> None:
        """Take a model.

        Args:
            model: with its tokenizer.
            name: of it, for the records.
        """
        self._model, self._name = model, name

    @property
    def settings(self) -> Mapping[str, Any]:
        """What answers depend on: the parameters."""
        return {
            "judge": "local",
            "model": self._name,
            "parameters": trees.fingerprint(self._model.params),
        }

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Answer questions, a batch at a time.

        Raises:
            InputError: a conversation is malformed or too long, or a choice has no token.
        """

        def kind(place: int) -> tuple[bool, int]:
            question = questions[place]
            return bool(question.choices), 0 if question.choices else question.tokens

        for (chosen, tokens), group in itertools.groupby(
            sorted(range(len(questions)), key=kind), kind
        ):
            for places in cut(list(group), SIDE_BY_SIDE):
                asked = [questions[place] for place in places]
                found = self._chosen(asked) if chosen else self._written(asked, tokens)
                yield from zip(places, found, strict=True)

    def _prompt(self, question: Question) -> list[int]:
        return lm.prompt(self._model.tokenizer, question.messages)

    def _chosen(self, questions: Sequence[Question]) -> list[Answer]:
        pairs = [
            (self._prompt(question), self._token(choice))
            for question in questions
            for choice in question.choices
        ]
        scored = lm.score(
            *(self._model.config, self._model.params),
            *([pair[part] for pair in pairs] for part in (0, 1)),
            rows=SIDE_BY_SIDE,
        )
        each = iter(scored)
        answers = []
        for question in questions:
            found = {choice: math.exp(float(np.sum(next(each)))) for choice in question.choices}
            answers.append(Answer(max(found, key=found.__getitem__), found))
        return answers

    def _token(self, choice: str) -> list[int]:
        tokens = self._model.tokenizer.encode(choice, add_special_tokens=False)
        if not tokens:
            raise InputError(f"choice is {choice!r}; expected text that the judge has a token for")
        return tokens

    def _written(self, questions: Sequence[Question], tokens: int) -> list[Answer]:
        tokenizer = self._model.tokenizer
        found = lm.sample(
            *(self._model.config, self._model.params),
            [self._prompt(question) for question in questions],
            choice=lm.Choice(temperature=0),
            limits=lm.Limits(tokens=tokens, rows=SIDE_BY_SIDE),
            stops=lm.stops(tokenizer),
            key=jax.random.key(0),
        )
        return [Answer(one.text(tokenizer)) for one in found]
