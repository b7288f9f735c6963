"""Files of JSON objects, one a line, and those that a killed run goes on writing.

On several hosts a growing file lies on a file system that they share; the first process writes it.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.runs import different, plain, settings_before


def read(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file; lines that are blank are passed over.

    Returns:
        Numbers of the lines, from 1, and what they hold.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object: its number is named.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise InputError(f"{path} cannot be read ({fault.strerror}); expected a file") from fault
    lines = enumerate(content.split(b"\n"), 1)
    return [(number, _object(path, number, line)) for number, line in lines if line.strip()]


def _object(path: str | Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line.decode())
        if b"\\ud" in line.lower():  # maybe half a character, which no tokenizer takes
            json.dumps(content, ensure_ascii=False).encode()
    except ValueError as fault:  # of its characters, or of its JSON
        raise InputError(
            f"line {number} of {path} is not JSON ({fault}); expected an object"
        ) from fault
    if not isinstance(content, dict):
        raise InputError(f"line {number} of {path} is {content!r:.80}; expected a JSON object")
    return content


class Growing:
    """A file that lines are added to.

    Attributes:
        lines: those that were there when it was opened.
    """

    def __init__(self, path: Path, file: BinaryIO | None, lines: list[dict[str, Any]]) -> None:
        """Hold an open file, or none where another host has it; see `grow`."""
        self.lines, self._path, self._file = lines, path, file

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines, each whole, and wait until they are on the disk.

        Raises:
            InputError: the disk is full.
        """
        hosts.first_alone(lambda: self._append(lines))

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if self._file is None:
            return
        try:
            for line in lines:
                text = json.dumps(plain(line), ensure_ascii=False) + "\n"
                self._file.write(text.encode(errors="backslashreplace"))
            os.fsync(self._file.fileno())
        except OSError as fault:
            raise _unwritable(self._path, fault) from fault


@contextlib.contextmanager
def grow(path: Path, settings: Mapping[str, Any]) -> Iterator[Growing]:
    """Hold a file, new or to be continued, against other processes.

    A last line that was not written to its end is cut off. On several hosts all enter.

    Args:
        path: of the file.
        settings: all that its lines depend on, as plain values; they are written to
            ``NAME.settings.json`` beside it before the first line.

    Yields:
        The open file.

    Raises:
        InputError: the file cannot be written, is in use, is damaged, or was begun with other
            settings, or by something else; the message names the settings that differ.
    """
    with contextlib.ExitStack() as held:
        opened: list[BinaryIO] = []
        hosts.first_alone(lambda: opened.append(_opened(path, settings, held)))
        yield Growing(path, opened[0] if opened else None, [line for _, line in read(path)])


def _opened(
    path: Path, settings: Mapping[str, Any], held: contextlib.ExitStack[bool | None]
) -> BinaryIO:
    """Open a file to go on with it, locked until ``held`` is left."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.enter_context(lock.acquire(blocking=False))
        _claim(path, plain(settings))
        file = held.enter_context(path.open("ab", buffering=0))
        _cut_torn_line(path)
    except Timeout:
        raise InputError(f"{path} is in use by another process; expected one at a time") from None
    except (OSError, NotImplementedError) as fault:
        raise _unwritable(path, fault) from fault
    return file


def _claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings beside a new file, or compare them with those that are there."""
    beside = path.with_name(f"{path.name}.settings.json")
    if not beside.exists() and path.exists() and path.stat().st_size:
        raise InputError(
            f"{path} is there without {beside.name}; expected a new file or one that was begun "
            "like this"
        )
    found = settings_before(beside, settings)
    names = different(found, settings)
    if names:
        said = (f"{n}: {found.get(n)!r} there, {settings.get(n)!r} here" for n in names)
        raise InputError(
            f"{path} was begun with other settings ({'; '.join(said)}); expected the same, or "
            "another file"
        )


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _unwritable(path: Path, fault: OSError | NotImplementedError) -> InputError:
    reason = getattr(fault, "strerror", None) or fault
    return InputError(f"{path} cannot be written ({reason}); expected a folder with room")
