"""Run all checks of the theory and say of each claim whether it holds.

    python theory/run_all.py                          # all, two at a time
    python theory/run_all.py --only lanczos nulls     # some
    python theory/run_all.py --seed 1 --jobs 4

Every check is a process of its own; its table, its JSON file and its figure are in the output
folder. One that fails or crashes does not stop the others. With seed 0 and all checks run, the
table of verdicts in theory/README.md is made again and the figures are copied to theory/figures.

Exit statuses: 0 all claims hold, 1 a criterion is not met or a check crashed, 2 refused with a
sentence, 130 interrupted by hand, 143 by SIGTERM.
"""

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import tyro
from tqdm import tqdm
from verdicts import Result, claim_of, complaints, publish, read, table, with_table

from sublim_jax.errors import InputError
from sublim_jax.runs import write_whole

HERE = Path(__file__).parent
CHECKS = (
    "first_order",
    "sign_sweep",
    "null_space",
    "target_bias",
    "linear_flow",
    "lanczos",
    "any_batch_order",
    "preconditioner",
    "init_perturbation",
    "nulls",
    "permuted_units",
    "another_adapter",
    "sampled_snr",
    "fixed_samples",
    "conditioning",
    "paraphrase",
    "influence",
    "input_coverage",
    "transfer_table",
    "mitigations",
    "spectrum",
)
LONG = ("transfer_table", "spectrum", "mitigations")
"""Started first: else one of them would be left alone at the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is run, and how."""

    seed: int = 0
    """Seed of everything random."""
    out: Path = Path("runs", "theory")
    """Folder for tables, JSON files and figures."""
    jobs: int = 2
    """Checks at a time."""
    only: tuple[str, ...] = ()
    """Checks to run; by default all."""
    readme: bool = True
    """Make the table in theory/README.md again, and copy the figures, where seed 0 and all checks
    are run."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; expected at least 0")
        if self.jobs < 1:
            raise InputError(f"jobs is {self.jobs}; expected at least 1")
        for name in self.only:
            if name not in CHECKS:
                raise InputError(f"only names {name}; expected some of {', '.join(CHECKS)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The checks to run, in their order."""
        return tuple(name for name in CHECKS if name in self.only or not self.only)

    @property
    def published(self) -> bool:
        """Whether the results go into the README."""
        return self.readme and self.seed == 0 and self.names == CHECKS


class Running(NamedTuple):
    """A check under way: its process, its streams, and when it began."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]
    complained: IO[bytes]
    began: float


def main() -> None:
    """Read the command line and run the checks; exits as the head of this file says."""
    # Checks under way are ended on the way out, as they are for a KeyboardInterrupt.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options = tyro.cli(Options, description=__doc__)
        prepare(options)
        results = run(options)
        print(table(results, width=shutil.get_terminal_size((120, 24)).columns))
        print("\n".join(complaints(results)))
        if options.published:
            publish(results, options.out, HERE)
            print(f"written: {HERE / 'README.md'} and {HERE / 'figures'}")
    except InputError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the checks under way were ended", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if all(result.verdict == "holds" for result in results) else 1)


def prepare(options: Options) -> None:
    """Refuse at once what would fail at the end."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"out cannot be written ({fault.strerror}); expected a folder") from fault
    write_whole(options.out / ".written", b"")
    (options.out / ".written").unlink()
    if options.published:
        with_table(read(HERE / "README.md"), "")


def run(options: Options) -> list[Result]:
    """Run checks, some at a time, and give what became of them in their order."""
    waiting = sorted(options.names, key=lambda name: name not in LONG)
    ended: dict[str, Result] = {}
    with all_ended() as running, tqdm(total=len(waiting), unit="check") as bar:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                name = waiting.pop(0)
                running[name] = start(name, options)
                bar.set_postfix_str(", ".join(running))
            for name in [n for n, check in running.items() if check.process.poll() is not None]:
                ended[name] = end(name, running[name], options)
                del running[name]
                bar.update()
                bar.set_postfix_str(", ".join(running))
            bar.refresh()
            time.sleep(0.2)
    return [ended[name] for name in options.names]


@contextlib.contextmanager
def all_ended() -> Iterator[dict[str, Running]]:
    """Keep the checks that are under way; whatever happens, none goes on afterwards."""
    running: dict[str, Running] = {}
    try:
        yield running
    finally:
        for check in running.values():
            check.process.terminate()
        for check in running.values():
            try:
                check.process.wait(5)
            except subprocess.TimeoutExpired:
                check.process.kill()
                check.process.wait()
            check.said.close()
            check.complained.close()


def start(name: str, options: Options) -> Running:
    """Start a check, with nothing of an earlier run in its place."""
    for suffix in ("json", "png", "txt"):
        (options.out / f"{name}.{suffix}").unlink(missing_ok=True)
    words = [HERE / f"{name}.py", "--seed", options.seed, "--out", options.out]
    # Files and not pipes, which would stop a check when they are full.
    said, complained = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=complained,
    )
    return Running(process, said, complained, time.perf_counter())


def end(name: str, check: Running, options: Options) -> Result:
    """Read what a check has left."""
    seconds = time.perf_counter() - check.began
    texts = []
    for stream in (check.said, check.complained):
        stream.seek(0)
        texts.append(stream.read().decode(errors="replace"))
        stream.close()
    write_whole(options.out / f"{name}.txt", "".join(texts).encode())
    claim = claim_of(HERE / f"{name}.py")
    path, status = options.out / f"{name}.json", check.process.returncode
    # An uncaught fault has status 1 as well, but leaves no record.
    if status in (0, 1) and path.exists() and (options.out / f"{name}.png").exists():
        record = json.loads(path.read_text())
        if record["holds"] == (status == 0):
            verdict = "holds" if record["holds"] else "FAILS"
            return Result(name, claim, verdict, seconds, record)
    lines = texts[1].strip().splitlines() or [f"it ended with status {status} and said nothing"]
    return Result(name, claim, "crashed", seconds, None, lines[-1].strip())


if __name__ == "__main__":
    main()
