"""``sublim-jax generate``: answers of a language model."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sublim_jax.commands.compiled import keep_compiled
from sublim_jax.commands.writing_bar import writing_bar
from sublim_jax.errors import InputError

if TYPE_CHECKING:
    from sublim_jax.lm import Model
    from sublim_jax.lm.generation import Request

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what the beginning of a character is decoded to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate:
    """What does a language model answer?

    Answers one question, or with --input many; with --out the answers are JSON lines, and a run
    that was interrupted goes on where it stopped. A model without a chat template goes on with the
    text.

      sublim-jax generate "What is the capital of France?"

      sublim-jax generate --model smollm2 --system "You love owls." --temperature 1 --count 3 "Hi!"

      sublim-jax generate --input questions.jsonl --out answers.jsonl --temperature 1
    """

    prompt: Annotated[str | None, tyro.conf.Positional] = None
    """The question."""
    model: str = "smollm2"
    """A name that `sublim-jax models` lists or of the hub, a Hugging Face folder or GGUF file."""
    system: str | None = None
    """System prompt; by default the one of the conversation, or of the model's template."""
    temperature: float = 0.0
    """By which logits are divided; 0 takes the likeliest token, 1 samples as the model says."""
    top_k: int | None = None
    """Sample among so many of the likeliest tokens."""
    top_p: float | None = None
    """Sample among the likeliest tokens that have this probability together."""
    tokens: int = 256
    """Tokens of an answer at most."""
    count: int = 1
    """Answers to each question."""
    numbers: int | None = None
    """Have the answer be so many whole numbers of up to three digits, with commas between."""
    seed: int = 0
    """Of sampling."""
    input: Path | None = None
    """JSON lines, each with "messages" (of role and content) or a "prompt", and perhaps an "id"."""
    out: Path | None = None
    """File for the answers, as JSON lines in the order in which they are finished."""
    rows: int = 64
    """Answers that are written side by side."""

    def run(self) -> None:
        """Load the model, answer, and print or write.

        Raises:
            InputError: something that was given cannot be used.
        """
        self._check()
        keep_compiled()
        import jax

        from sublim_jax import lm
        from sublim_jax.lm import chat
        from sublim_jax.lm.automaton import number_list
        from sublim_jax.lm.choosing import Choice
        from sublim_jax.lm.generation import Request, requests_of
        from sublim_jax.lm.sampler import Limits

        options: dict[str, Any] = {
            "choice": Choice(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p),
            "limits": Limits(tokens=self.tokens, rows=self.rows),
        }
        asked = [Request(messages=[{"role": "user", "content": self.prompt or ""}])]
        requests = asked if self.input is None else requests_of(self.input)
        model = lm.load(self.model, progress=True)
        if self.numbers is not None:
            ends = chat.stops(model.tokenizer)
            if not ends:
                raise InputError(f"{self.model} has no token that ends a text; expected one")
            options["automaton"] = number_list(model.tokenizer, count=self.numbers, stop=ends[0])
        key = jax.random.key(self.seed)
        if self.out is None:
            self._print(model, requests[0], options, key)
        else:
            self._write(self.out, model, requests, options, key)

    def _check(self) -> None:
        """Refuse before anything is loaded."""
        if (self.prompt is None) == (self.input is None):
            given = "neither" if self.prompt is None else "both"
            raise InputError(f"{given} of a question and --input is given; expected one of them")
        if self.input is not None and self.out is None:
            raise InputError(f"input is {self.input} and out is missing; expected a file for it")
        if self.count < 1:
            raise InputError(f"count is {self.count}; expected at least 1")
        if self.count > 1 and self.temperature == 0:
            raise InputError(
                f"count is {self.count} and temperature is 0, at which all answers are the same; "
                "expected a temperature above 0"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected a number from 0 and below 2**32")

    def _print(self, model: "Model", request: "Request", options: dict[str, Any], key: Any) -> None:
        """Print answers as they are written, a blank line between them."""
        from sublim_jax import rng
        from sublim_jax.lm import chat
        from sublim_jax.lm.sampler import Writer

        config, params, tokenizer = model
        prompt = chat.prompt(tokenizer, request.messages, system=self.system)
        writer = Writer(config, params, stops=chat.stops(tokenizer), **options)
        writer.check([prompt])
        for sample in range(self.count):
            if sample:
                print()
            printed = ""
            for found in writer.stream(prompt, rng.stream(key, 0, sample)):
                text = found.text(tokenizer)
                print(text[len(printed) :].rstrip(UNFINISHED), end="", flush=True)
                printed = text.rstrip(UNFINISHED)
            print()

    def _write(
        self,
        out: Path,
        model: "Model",
        requests: "list[Request]",
        options: dict[str, Any],
        key: Any,
    ) -> None:
        from sublim_jax.lm.generation import generate

        total = len(requests) * self.count
        with writing_bar(total, "answers") as progress:
            generate(
                *(out, model.config, model.params, model.tokenizer, requests),
                system=self.system,
                count=self.count,
                progress=progress,
                key=key,
                **options,
            )
        print(f"written: {total} answers, {out}", file=sys.stderr)
