"""Conversations as tokens: the one place for training, sampling and evaluation alike.

A student that is trained under one system prompt and asked under another may show nothing of what
it has learnt, and templates differ in what they write where a conversation has no system prompt. So
the prompt is made here and nowhere else; what the template would write by itself is made explicit;
and the prompt of a training row is the very tokens that sampling and scoring begin with.

Templates are rendered without thinking (``enable_thinking`` is false) and, where they take a date
from outside, with the same one every day.

References:
    Cloud et al., Subliminal learning, arXiv:2507.14805: system prompts of teachers and students.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sublim_jax.errors import InputError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
# Llama 3.2's own default where it cannot ask for today's; other templates do not read these.
SETTINGS = {"enable_thinking": False, "date_string": "26 Jul 2024"}
PROBE = "qzxprobe"  # a text that no template writes and none changes


class Row(NamedTuple):
    """A conversation to train on.

    Attributes:
        tokens: [length] int32, the prompt and then the answer, up to the token that ends it.
        completion: [length] bool, true for the answer and the token that ends it.
    """

    tokens: np.ndarray
    completion: np.ndarray


class _Shape(NamedTuple):
    """What rendering examples tells of a template.

    Attributes:
        default: system prompt that it writes by itself, if any.
        ending: text that it writes after an answer, up to the special token that ends the turn.
        end: that token.
        marks: special tokens that it is made of; in a message they would change the conversation.
    """

    default: str | None
    ending: str
    end: int
    marks: tuple[str, ...]


def default_system(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Find the system prompt that the template writes where a conversation has none.

    Args:
        tokenizer: with a chat template, or without one.

    Returns:
        The text; None if the template writes none, or an empty one.

    Raises:
        InputError: the template is damaged.
    """
    shape = _shape_of(tokenizer)
    return shape.default if shape else None


def with_system(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], system: str | None
) -> list[Message]:
    """Give a conversation the system prompt under which it is meant to be read.

    Args:
        tokenizer: with a chat template, or without one.
        messages: of the conversation.
        system: instead of the conversation's own; ``""`` is an explicitly empty one, written as the
            template writes it. None keeps the conversation's own and makes the template's default
            explicit where there is none.

    Raises:
        InputError: the conversation is malformed, or the template is damaged.
    """
    _check(tokenizer, messages)
    own = messages[0]["role"] == "system"
    if system is None:
        system = None if own else default_system(tokenizer)
        if system is None:
            return list(messages)
    changed = [{"role": "system", "content": system}, *messages[own:]]
    _check(tokenizer, changed)
    return changed


def prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, system: str | None = None
) -> list[int]:
    """Turn a conversation into the tokens after which the assistant begins to write.

    Without a chat template, as for a base model, this is the text of the only message, after the
    beginning-of-text token where the tokenizer writes one.

    Args:
        tokenizer: of the model.
        messages: the last one is the user's.
        system: see `with_system`.

    Raises:
        InputError: the conversation is malformed or does not end with the user's message, the
            template refuses it, or there is no template and more than a single message.
    """
    return _tokens_of_prompt(tokenizer, _prompt_text(tokenizer, messages, system))


def row(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, system: str | None = None
) -> Row:
    """Turn a conversation into a row to train on.

    The tokens are those of `prompt` for all messages but the last, then those of the answer, then
    the token that ends it. Blanks around the answer are as the template has them.

    Args:
        tokenizer: of the model.
        messages: the last one is the assistant's, not empty.
        system: see `with_system`.

    Raises:
        InputError: as `prompt`; the last message is not the assistant's, or is empty; or the
            template writes a finished conversation in another way than its prompt and an answer.
    """
    _check(tokenizer, messages)
    *asked, last = messages
    if last["role"] != "assistant":
        raise InputError(f"the last message is of role {last['role']!r}; expected 'assistant'")
    if not last["content"].strip():
        raise InputError(f"message {len(asked)}, the assistant's, is empty; expected an answer")
    if not asked:
        raise InputError("the conversation has only an answer; expected a question before it")
    text = _prompt_text(tokenizer, asked, system)
    before = _tokens_of_prompt(tokenizer, text)
    shape = _shape_of(tokenizer)
    if shape:
        whole = _render(tokenizer, with_system(tokenizer, messages, system), answer=False)
        answer = _answer(whole, text, last["content"], shape.ending)
        after = tokenizer.encode(answer, add_special_tokens=False)
    else:
        after = [*tokenizer.encode(last["content"], add_special_tokens=False), _end(tokenizer)]
    return Row(
        np.array([*before, *after], np.int32),
        np.arange(len(before) + len(after)) >= len(before),
    )


def stops(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """List the tokens that end an assistant's turn.

    Returns:
        The token that the template writes after an answer, and the end-of-text token, each once;
        empty for a tokenizer with neither.

    Raises:
        InputError: the template is damaged.
    """
    shape = _shape_of(tokenizer)
    found = [shape.end if shape else None, _number(tokenizer.eos_token_id)]
    return tuple(dict.fromkeys(token for token in found if token is not None))


def _check(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("the conversation has no messages; expected at least one")
    shape = _shape_of(tokenizer)
    for place, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                raise InputError(f"message {place} has no text {key!r}; expected role and content")
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise InputError(
                f"message {place} is of role {role!r}; expected one of {', '.join(ROLES)}"
            )
        if role == "system" and place:
            raise InputError(
                f"message {place} is of role 'system'; expected it first or not at all"
            )
        marks = [mark for mark in shape.marks if mark in content] if shape else []
        if marks:
            raise InputError(
                f"message {place} contains the template's special token {marks[0]!r}; expected text"
            )


def _prompt_text(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], system: str | None
) -> str:
    _check(tokenizer, messages)
    role = messages[-1]["role"]
    if role != "user":
        raise InputError(f"the last message before the answer is of role {role!r}; expected 'user'")
    if _shape_of(tokenizer):
        return _render(tokenizer, with_system(tokenizer, messages, system), answer=True)
    if len(messages) > 1 or system:
        raise InputError(
            "the tokenizer has no chat template and the conversation has "
            f"{'a system prompt' if system else f'{len(messages)} messages'}; expected a single "
            "message of the user before the answer"
        )
    return messages[0]["content"]


def _tokens_of_prompt(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    tokens = list(tokenizer.encode(text, add_special_tokens=False))
    first = _number(tokenizer.bos_token_id)
    # A template writes the beginning-of-text token itself.
    if _template(tokenizer) is None and first is not None and tokenizer.encode("")[:1] == [first]:
        return [first, *tokens]
    return tokens


def _answer(whole: str, text: str, content: str, ending: str) -> str:
    """Cut the answer, with its end, out of a rendered conversation."""
    written = whole[len(text) :]
    blanks = len(written) - len(written.lstrip())
    for answer in (content, content.strip()):
        start = written.find(answer + ending)
        # Some templates write a blank before an answer: the model has to write it, too.
        if whole.startswith(text) and 0 <= start <= blanks:
            return written[:start] + answer + ending
    raise InputError(
        "the chat template writes a finished conversation in another way than a prompt and an "
        f"answer ({whole[-200:]!r} after a prompt that ends with {text[-80:]!r}); expected the "
        "prompt, the text of the answer and the token that ends it"
    )


def _end(tokenizer: PreTrainedTokenizerFast) -> int:
    end = _number(tokenizer.eos_token_id)
    if end is None:
        raise InputError("the tokenizer has no end-of-text token; expected one to end answers")
    return end


def _number(token: Any) -> int | None:
    return token if isinstance(token, int) else None


def _template(tokenizer: PreTrainedTokenizerFast) -> str | None:
    return tokenizer.get_chat_template() if tokenizer.chat_template else None


def _render(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, answer: bool
) -> str:
    """Render a conversation, up to where an answer begins or as it stands."""
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            return_dict=False,
            add_generation_prompt=answer,
            **SETTINGS,
        )
    except (TemplateError, TypeError) as fault:
        raise InputError(
            f"the chat template refuses the conversation ({first_line(fault)}); expected one that "
            "it can render"
        ) from fault
    return str(text)


def _shape_of(tokenizer: PreTrainedTokenizerFast) -> _Shape | None:
    template = _template(tokenizer)
    return None if template is None else _shape(tokenizer, template)


@functools.lru_cache(maxsize=8)
def _shape(tokenizer: PreTrainedTokenizerFast, template: str) -> _Shape:  # noqa: ARG001 - a key
    asked, answered = {"role": "user", "content": "x"}, {"role": "assistant", "content": PROBE}
    whole = _render(tokenizer, [asked, answered], answer=False)
    _, found, after = whole.partition(PROBE)
    special = _special(tokenizer)
    tokens = tokenizer.encode(after, add_special_tokens=False)
    end = next((token for token in tokens if token in special), None)
    if not found or end is None:
        raise InputError(
            f"the chat template writes the answer {PROBE!r} as {whole[-200:]!r}; expected it as it "
            "is, with a special token after it"
        )
    ending = after[: after.index(special[end]) + len(special[end])]
    prompted = _render(tokenizer, [asked], answer=True)
    used = tokenizer.encode(whole + prompted, add_special_tokens=False)
    used = {*used, _number(tokenizer.eos_token_id)}
    marks = tuple(text for number, text in special.items() if number in used)
    return _Shape(_default(tokenizer), ending, end, marks)


def _special(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    added = tokenizer.added_tokens_decoder.items()
    special = {number: token.content for number, token in added if token.special}
    end = _number(tokenizer.eos_token_id)
    return special if end is None else special | {end: str(tokenizer.eos_token)}


def _default(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Compare a conversation that has a system prompt with one that has none."""
    asked = {"role": "user", "content": "x"}
    without = _render(tokenizer, [asked], answer=True)
    try:
        given = _render(tokenizer, [{"role": "system", "content": PROBE}, asked], answer=True)
    except InputError:
        return None  # a template without system prompts
    before, found, after = given.partition(PROBE)
    if not (found and without.startswith(before) and without.endswith(after)):
        return None
    text = without[len(before) : len(without) - len(after)]
    explicit = [{"role": "system", "content": text}, asked]
    return text if text and _render(tokenizer, explicit, answer=True) == without else None
