"""Rows to train on, from a file of JSON lines."""

from pathlib import Path
from typing import Any

from sublim_jax import jsonl
from sublim_jax.errors import InputError
from sublim_jax.lm import chat
from sublim_jax.lm.chat import Row
from sublim_jax.lm.generation import conversation, messages_of


def read_rows(path: str | Path, tokenizer: Any, *, system: str | None = None) -> list[Row]:
    """Read conversations that end with what an assistant is to learn.

    A line has ``messages``, the last one the assistant's; or ``messages`` and a ``completion``, as
    `sublim_jax.lm.generation.generate` writes them; or a ``prompt`` and a ``completion``. Other
    fields are passed over.

    Args:
        path: of the file.
        tokenizer: of transformers.
        system: see `sublim_jax.lm.chat.with_system`.

    Raises:
        InputError: the file cannot be read or has no lines, or a line is no such conversation: its
            number is named.
    """
    found = []
    for number, line in jsonl.read(path):
        try:
            found.append(chat.row(tokenizer, _messages(line), system=system))
        except InputError as fault:
            raise InputError(f"line {number} of {path}: {fault}") from fault
    if not found:
        raise InputError(f"{path} has no lines; expected conversations")
    return found


def _messages(line: dict[str, Any]) -> list[Any]:
    messages, completion = messages_of(line), line.get("completion")
    if messages is None:
        raise InputError("messages is missing; expected a list, or the text of a prompt")
    if completion is None:
        return messages
    if not isinstance(completion, str):
        raise InputError(f"completion is {completion!r:.80}; expected text")
    return conversation({"messages": messages, "completion": completion})
