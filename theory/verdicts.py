"""What became of the checks of the theory, and the tables that tell it."""

import ast
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sublim_jax.errors import InputError
from sublim_jax.runs import write_whole

OPEN, CLOSE = "<!-- verdicts -->", "<!-- /verdicts -->"
"""Marks in the README between which its table is made."""


class Result(NamedTuple):
    """How a check ended.

    Attributes:
        name: of the check.
        claim: that it makes, in a sentence.
        verdict: what became of it.
        seconds: that it took, its start included.
        record: what it wrote as JSON; None if it crashed.
        reason: the last line of its standard error stream; empty unless it crashed.
    """

    name: str
    claim: str
    verdict: Literal["holds", "FAILS", "crashed"]
    seconds: float
    record: dict[str, Any] | None
    reason: str = ""

    @property
    def criteria(self) -> str:
        """How many criteria are met, of how many."""
        asked = [finding["holds"] for finding in self.findings if finding["holds"] is not None]
        return f"{sum(asked)} of {len(asked)}" if asked else ""

    @property
    def findings(self) -> Sequence[dict[str, Any]]:
        """What it measured."""
        return () if self.record is None else self.record["findings"]


def claim_of(path: Path) -> str:
    """Read the claim of a check without running it; empty if there is none."""
    if path.exists():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLAIM":
                return ast.literal_eval(node.value)
    return ""


def table(results: Sequence[Result], *, width: int = 120) -> str:
    """Lay out the verdicts, a line for each check."""
    longest = max(len(result.name) for result in results)
    room = max(20, width - longest - 36)
    lines = [f"{'check':{longest}}  {'claim':{room}}  {'criteria':>8}  {'verdict':8}  seconds"]
    for result in results:
        claim = textwrap.shorten(result.claim, room, placeholder=" …")
        numbers = f"{result.criteria:>8}  {result.verdict:8}  {result.seconds:7.0f}"
        lines.append(f"{result.name:{longest}}  {claim:{room}}  {numbers}")
    held = sum(result.verdict == "holds" for result in results)
    return "\n".join([*lines, f"{held} of {len(results)} claims hold"])


def complaints(results: Sequence[Result]) -> list[str]:
    """Say of each check that does not hold why, a line for each reason."""
    lines = []
    for name, _, verdict, _, record, reason in results:
        if verdict == "crashed":
            lines.append(f"{name} crashed: {reason}")
        elif record is not None and verdict == "FAILS":
            missed = [f for f in record["findings"] if f["holds"] is False]
            lines += [
                f"{name}: {f['quantity']}: {f['value']:.4g}, {f['criterion']}" for f in missed
            ]
            lines += [] if missed else [f"{name}: it has no criterion"]
    return lines


def markdown(results: Sequence[Result]) -> str:
    """Lay out the verdicts for the README."""
    version = next((r.record["jax"] for r in results if r.record is not None), "unknown")
    lines = [
        f"Made by `python theory/run_all.py` with seed 0 and JAX {version}. Seconds are those of a "
        f"check beside another one, on {os.cpu_count()} cores.",
        "",
        "| check | claim | criteria met | verdict | seconds | figure |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        claim, reason = (text.replace("|", "\\|") for text in (result.claim, result.reason))
        figure = "" if result.record is None else f"[figure](figures/{result.name}.png)"
        verdict = result.verdict if not reason else f"{result.verdict}: {reason}"
        cells = (claim, result.criteria, verdict, f"{result.seconds:.0f}", figure)
        lines.append(f"| [{result.name}]({result.name}.py) | {' | '.join(cells)} |")
    return "\n".join(lines)


def read(readme: Path) -> str:
    """Read the README.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return readme.read_text()
    except OSError as fault:
        raise InputError(f"{readme} cannot be read ({fault.strerror}); expected a file") from fault


def with_table(readme: str, table: str) -> str:
    """Put a table between the marks of a README.

    Raises:
        InputError: a mark is missing, there twice, or the two are in the wrong order.
    """
    if readme.count(OPEN) != 1 or readme.count(CLOSE) != 1:
        raise InputError(
            f"theory/README.md lacks the marks; expected {OPEN} and {CLOSE}, each once"
        )
    before, rest = readme.split(OPEN)
    if CLOSE not in rest:
        raise InputError(f"theory/README.md has {CLOSE} first; expected it after {OPEN}")
    return f"{before}{OPEN}\n\n{table}\n\n{CLOSE}{rest.split(CLOSE)[1]}"


def publish(results: Sequence[Result], out: Path, theory: Path) -> None:
    """Make the table of the README again, and copy the figures that it links.

    Args:
        results: of all checks.
        out: where the figures were drawn.
        theory: folder of the README and of the figures that it shows.
    """
    readme, figures = theory / "README.md", theory / "figures"
    write_whole(readme, with_table(read(readme), markdown(results)).encode())
    figures.mkdir(exist_ok=True)
    for result in results:
        target = figures / f"{result.name}.png"
        if result.record is None:
            target.unlink(missing_ok=True)
        else:
            write_whole(target, (out / target.name).read_bytes())
