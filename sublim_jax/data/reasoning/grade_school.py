"""GSM8K: 7,473 word problems to train on and 1,319 to test, written by people.

References:
    Cobbe et al. 2021, Training verifiers to solve math word problems, arXiv 2110.14168; data under
    the MIT licence at github.com/openai/grade-school-math.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from sublim_jax import jsonl
from sublim_jax.data.download import UnavailableError, are_whole, cache_folder, fetch
from sublim_jax.data.reasoning.completions import LONGEST
from sublim_jax.data.reasoning.problems import WordProblem
from sublim_jax.errors import InputError

Split = Literal["train", "test"]

# The hub has the same rows as Parquet, which takes a package to read that nothing else needs.
ADDRESS = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/"
)
SHA256: dict[Split, str] = {
    "train": "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    "test": "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
}
CALCULATOR = re.compile("<<[^<>]*>>")
RESULT = re.compile(
    rf"(?P<solution>.*)####\s*(?P<number>-?[0-9][0-9,]{{0,{LONGEST}}})\s*", re.DOTALL
)


def gsm8k(path: str | Path) -> list[WordProblem]:
    """Read problems in the format of GSM8K: JSON lines with ``question`` and ``answer``.

    Args:
        path: of a file, for instance from `download_gsm8k`. An answer is lines of a solution and
            then ``#### 72``, the number with or without commas.

    Returns:
        The problems; the lines of the solution, without calculator notes like ``<<48/2=24>>``, are
        their steps.

    Raises:
        InputError: the file cannot be read or has no problem, or a line is not in the format: one
            sentence names the line and the field.
    """
    problems = [_problem(f"line {row} of {path}", line) for row, line in jsonl.read(path)]
    if not problems:
        raise InputError(f"{path} has no line; expected at least one problem")
    return problems


def download_gsm8k(
    split: Split = "train", *, cache_dir: Path | None = None, progress: bool = False
) -> Path:
    """Find GSM8K in the cache, or download it from where its authors put it.

    Args:
        split: which part.
        cache_dir: the cache, as in `sublim_jax.data.load_images`.
        progress: whether to show a bar on the standard error stream.

    Returns:
        The file, of the right SHA-256, to be read by `gsm8k`.

    Raises:
        InputError: `split` is neither train nor test, or the file is not in the cache and cannot be
            downloaded into it.
    """
    if split not in get_args(Split):
        raise InputError(f"split is {split!r}; expected {' or '.join(get_args(Split))}")
    folder = cache_folder("gsm8k", cache_dir)
    file = folder / f"{split}.jsonl"
    files = {file.name: SHA256[split]}
    if are_whole(files, folder):
        return file
    try:
        fetch(files, (ADDRESS,), folder, progress=progress)
    except UnavailableError as fault:
        raise InputError(
            f"GSM8K is not in {folder} ({fault}); expected a network that reaches it, or a file "
            "for `gsm8k`"
        ) from fault
    return file


def _problem(place: str, row: Mapping[str, Any]) -> WordProblem:
    question, answer = _text(place, row, "question"), _text(place, row, "answer")
    found = RESULT.fullmatch(answer)
    if not found:
        raise InputError(f"{place}: answer ends in {answer[-40:]!r}; expected #### and an integer")
    solution = CALCULATOR.sub("", found["solution"])
    steps = tuple(step.strip() for step in solution.split("\n") if step.strip())
    return WordProblem(question, int(found["number"].replace(",", "")), steps)


def _text(place: str, row: Mapping[str, Any], field: str) -> str:
    if field not in row:
        raise InputError(f"{place} has no {field}; expected one")
    if not isinstance(row[field], str) or not row[field].strip():
        raise InputError(f"{place}: {field} is {row[field]!r:.80}; expected text")
    return row[field]
