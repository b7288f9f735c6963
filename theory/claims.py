"""How a claim of the theory is checked: measured quantities, criteria, a verdict, a figure.

A check is a function of a seed that returns a `Report`; `main` turns it into a command that prints
the claim and a table of what was measured, writes ``NAME.json`` and ``NAME.png``, and exits with
status 1 if a criterion failed. Criteria were written down before the check was first run.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

from sublim_jax import plots, runs
from sublim_jax.errors import InputError

Verdict = Literal["holds", "fails", "reported"]


class Finding(NamedTuple):
    """A measured quantity beside what was asked of it.

    Attributes:
        quantity: what was measured, in words.
        value: the number.
        criterion: what it must be, in words; empty where nothing is asked of it.
        holds: whether it is; None where nothing is asked.
    """

    quantity: str
    value: float
    criterion: str = ""
    holds: bool | None = None


class Report(NamedTuple):
    """What a check gives.

    Attributes:
        findings: in the order in which they are printed.
        figure: of the measurement.
        data: what the figure shows, in plain values, for the JSON file.
    """

    findings: Sequence[Finding]
    figure: Figure
    data: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Whether every criterion is met; False if there is none."""
        asked = [finding.holds for finding in self.findings if finding.holds is not None]
        return bool(asked) and all(asked)


Check = Callable[[int], Report]


def at_most(quantity: str, value: float, limit: float) -> Finding:
    """Ask that a quantity is no larger than a limit; NaN is."""
    return Finding(quantity, float(value), f"at most {limit:g}", bool(value <= limit))


def at_least(quantity: str, value: float, limit: float) -> Finding:
    """Ask that a quantity is no smaller than a limit; NaN is."""
    return Finding(quantity, float(value), f"at least {limit:g}", bool(value >= limit))


def between(quantity: str, value: float, low: float, high: float) -> Finding:
    """Ask that a quantity lies in a closed interval."""
    holds = bool(low <= value <= high)
    return Finding(quantity, float(value), f"from {low:g} to {high:g}", holds)


def reported(quantity: str, value: float) -> Finding:
    """Tell a quantity of which nothing is asked."""
    return Finding(quantity, float(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a check is run."""

    seed: int = 0
    """Seed of everything random."""
    out: Path = Path("runs", "theory")
    """Folder for the JSON file and the figure."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; expected at least 0")


def main(check: Check, *, claim: str, description: str | None, file: str) -> None:
    """Read the command line, run a check, print and write what it found.

    Args:
        check: a seed to a report.
        claim: in a sentence.
        description: what ``--help`` says.
        file: the ``__file__`` of the check, after which its results are named.
    """
    try:
        options = tyro.cli(Options, description=description)
        options.out.mkdir(parents=True, exist_ok=True)
    except InputError as fault:
        sys.exit(_refused(str(fault)))
    except OSError as fault:
        sys.exit(_refused(f"out cannot be written ({fault.strerror}); expected a folder"))
    name = Path(file).stem
    print(f"{name}: {claim}\n")
    began = time.perf_counter()
    report = check(options.seed)
    seconds = time.perf_counter() - began
    print(table(report.findings))
    record = {
        "name": name,
        "claim": claim,
        "holds": report.holds,
        "findings": [finding._asdict() for finding in report.findings],
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "jax": jax.__version__,
        "data": report.data,
    }
    text = json.dumps(record, indent=1, default=_plain) + "\n"
    runs.write_whole(options.out / f"{name}.json", text.encode())
    plots.save(report.figure, options.out / f"{name}.png")
    print(f"\nverdict: {'holds' if report.holds else 'FAILS'} ({seconds:.0f} s)")
    print(f"figure: {options.out / f'{name}.png'}")
    sys.exit(0 if report.holds else 1)


def table(findings: Sequence[Finding]) -> str:
    """Lay out findings: quantity, number, criterion, and whether it is met."""
    width = max(len(finding.quantity) for finding in findings)
    marks = {True: "yes", False: "NO", None: ""}
    return "\n".join(
        f"{f.quantity:{width}}  {f.value:>11.4g}  {f.criterion:22}{marks[f.holds]}".rstrip()
        for f in findings
    )


def slope(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Fit the exponent of ``y ~ x^slope``, by least squares in logarithms."""
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
