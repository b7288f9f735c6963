"""Conversations of a user and an assistant, and files of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sublim_jax import jsonl
from sublim_jax.errors import InputError

Conversation = Sequence[Mapping[str, str]]
"""Messages with ``role`` and ``content``: the user's, then the assistant's."""


def read_file(path: str | Path) -> list[Conversation]:
    """Read rows that were made elsewhere: conversations of a user and an assistant.

    Raises:
        InputError: the file cannot be read, or a line is no such conversation: its number is named.
    """
    found = []
    for number, line in jsonl.read(path):
        messages = line.get("messages")
        messages = messages if isinstance(messages, list) else []
        roles = [m.get("role") for m in messages if isinstance(m, dict)]
        if len(roles) != len(messages) or roles != ["user", "assistant"]:
            raise InputError(
                f"line {number} of {path} has no messages of a user and an assistant; expected "
                "these two, and no system prompt"
            )
        found.append(messages)
    return found
