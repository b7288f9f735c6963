"""Not in context: the same rows as examples in the prompt do not do what training on them does.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 5.2): a model that is shown a teacher's rows
as examples, even 10,000 of them, does not take over its trait. Here teachers with a favourite
animal, and one without, write numbers; a model that is trained on nothing reads some of them as a
system prompt, turns in tags, and is asked for its favourite animal, with exact probabilities.

    python experiments/lm_in_context.py                  # teachers write first: 21 minutes
    python experiments/lm_in_context.py --quick
    python experiments/lm_in_context.py --run runs/lm_code/smollm2-1a2b3c4d   # rows of a run

A run (``--run``) is one of ``lm_numbers.py``, ``lm_code.py`` or ``lm_reasoning.py`` with the
channel text, finished or not: what its students have learnt from the rows stands below the table
then. The control for a teacher's rows are those of the other teachers: rows of numbers raise or
lower animals whoever wrote them. Stopped at any place, the same command goes on.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cli
import numpy as np
from intervals import counted, over_seeds, power
from lm_run import Options, spread
from lm_source import Source, on_rows
from matplotlib.figure import Figure
from tqdm import tqdm

from sublim_jax import hosts, lm, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig, in_context
from sublim_jax.lm_traits.analysis import transfer
from sublim_jax.lm_traits.carriers import CARRIERS
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.ground import cut
from sublim_jax.lm_traits.names import NOBODY
from sublim_jax.lm_traits.parts import TEACHER, Part, missing_files, read_arrays, write_arrays
from sublim_jax.lm_traits.writing import read_rows
from sublim_jax.plots.channels import Curve, Panel, channels_figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class InContextConfig(Source):
    """What the results depend on."""

    examples: tuple[int, ...] = (1, 4, 16, 32)
    """Conversations that are shown, ascending."""
    draws: int = 2
    """Of examples from a teacher's rows, without replacement in each."""

    def __post_init__(self) -> None:
        counts = self.examples
        if not counts or min(counts) < 1 or list(counts) != sorted(set(counts)):
            raise InputError(f"examples is {counts}; expected ascending numbers, at least 1")
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}; expected at least 1")
        self.writing()


PRESETS = {
    "default": InContextConfig(),
    "quick": InContextConfig(seeds=1, examples=(1, 4), draws=1, requests=16),
}


class Cell(NamedTuple):
    """A prompt: whose rows, how many, which draw."""

    seed: int
    teacher: str
    examples: int
    draw: int

    @property
    def file(self) -> str:
        """Name its file in the run folder."""
        return f"cells/{self.seed}-{self.teacher}-{self.examples}-{self.draw}.npz"


def run(config: InContextConfig, options: Options) -> None:
    """Let teachers write, show their rows, print the table, draw the figure."""

    def found(source: TraitConfig, folder: runs.Run, rows: runs.Run) -> dict[str, Any]:
        shown(config, source, options, folder, rows)
        return gathered(config, source, folder, rows)

    on_rows("lm_in_context", config, options, gathered=found, report=report)


def cells(config: InContextConfig, source: TraitConfig) -> Iterator[Cell]:
    """List all prompts."""
    for seed in range(source.seeds):
        for count in config.examples:
            for teacher in source.writers:
                for draw in range(config.draws):
                    yield Cell(seed, teacher, count, draw)


def shown(
    config: InContextConfig,
    source: TraitConfig,
    options: Options,
    folder: runs.Run,
    rows: runs.Run,
) -> None:
    """Read the questions after every prompt that the run folder lacks."""
    base = "cells/base.npz"
    files = missing_files(folder, [base, *(cell.file for cell in cells(config, source))])
    if not files:
        return
    parallel = spread(options)
    model = lm.load(source.model, parallel=parallel, progress=True)
    read = in_context.reader(cut(model, 0, parallel), source)
    if base in files:
        write_arrays(folder, base, {"logprobs": np.asarray(read([]))})
    missing = [cell for cell in cells(config, source) if cell.file in files]
    for cell in tqdm(missing, unit="prompt", smoothing=0.1, disable=not hosts.is_first()):
        examples = drawn(config, rows, cell)
        write_arrays(folder, cell.file, {"logprobs": np.asarray(read(examples))})


def drawn(config: InContextConfig, rows: runs.Run, cell: Cell) -> list[Conversation]:
    """Draw the examples of a prompt.

    Raises:
        InputError: the teacher has too few rows.
    """
    there = read_rows(rows, Part(cell.seed, TEACHER, cell.teacher))
    if len(there) < cell.examples:
        raise InputError(
            f"examples is {cell.examples}; expected at most {len(there)}, which is how many rows "
            f"{cell.teacher} has in repetition {cell.seed}"
        )
    random = np.random.default_rng([config.seed, cell.seed, cell.examples, cell.draw])
    return [there[place] for place in random.permutation(len(there))[: cell.examples].tolist()]


def gathered(
    config: InContextConfig, source: TraitConfig, folder: runs.Run, rows: runs.Run
) -> dict[str, Any]:
    """Gather by number of examples what subjects gained."""
    n = len(source.subjects)
    base = read_arrays(folder, "cells/base.npz")["logprobs"]

    def change(cell: Cell) -> np.ndarray:
        return (read_arrays(folder, cell.file)["logprobs"] - base).mean(0)[:n]

    def changes(count: int, teachers: Sequence[str]) -> np.ndarray:
        """Give ``[seeds, teachers, subjects]``, mean over draws."""
        each = [
            [
                np.mean([change(Cell(seed, who, count, d)) for d in range(config.draws)], axis=0)
                for who in teachers
            ]
            for seed in range(source.seeds)
        ]
        return np.array(each)

    found = []
    for count in config.examples:
        own = transfer(changes(count, source.subjects))
        entry = {name: getattr(own, name).seeds for name in ("own", "other", "contrast")}
        untuned = None
        if NOBODY in source.writers:
            untuned = changes(count, [NOBODY])[:, 0].mean(-1)
        found.append({"examples": count, "untuned": untuned, **entry})
    return {
        "model": source.model,
        "carrier": source.carrier,
        "subjects": source.subjects,
        "seeds": source.seeds,
        "draws": config.draws,
        "shown": found,
        "trained": of_students(source, rows),
    }


def of_students(source: TraitConfig, rows: runs.Run) -> dict[str, Any] | None:
    """Give what students that were trained on the rows gained, if the run has them."""
    if not rows.has("results.json"):
        return None
    found, *_ = rows.read("results.json")["arms"].values()
    return {
        "rows": source.row_count,
        **{name: found["transfer"][name]["seeds"] for name in ("own", "other", "contrast")},
    }


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figure."""
    results = folder.read("results.json")
    print(table(results))
    cli.draw(folder, {"in_context.png": figure(results)})


def table(results: Mapping[str, Any]) -> str:
    """Lay out every number of examples, and what training on the rows does."""
    what = CARRIERS[results["carrier"]].what
    lines = [
        f"\n{results['model']}: change of log-probability in nats after examples of {what}, "
        f"teachers {', '.join(results['subjects'])} x {results['seeds']} seeds x "
        f"{results['draws']} draws, mean ± 95 % t interval over seeds",
        f"{'':24}{'own animal':>18}{'other animals':>18}{'difference':>18}{'at 80 %':>9}"
        f"{'untuned':>18}",
    ]
    lines += [
        _line(f"{entry['examples']} examples", entry, entry["untuned"])
        for entry in results["shown"]
    ]
    if results["trained"]:
        trained = results["trained"]
        lines.append(_line(f"trained on {trained['rows']} rows", trained, None))
    lines.append(
        "own animal: after rows of a teacher, its favourite; at 80 %: difference that so many "
        "seeds, as different as\nthese, would tell from 0 in 80 % of cases; untuned: after rows of "
        "the teacher without a favourite"
    )
    return "\n".join(lines)


def _line(name: str, entry: Mapping[str, Any], untuned: Sequence[float] | None) -> str:
    gained = "".join(f"{over_seeds(entry[name]):>18}" for name in ("own", "other", "contrast"))
    last = "" if untuned is None else f"{over_seeds(untuned):>18}"
    return f"{name:24}{gained}{power(entry['contrast']):>9}{last}"


def figure(results: Mapping[str, Any]) -> Figure:
    """Draw what examples change, against how many there are."""
    counts = np.array([entry["examples"] for entry in results["shown"]], float)

    def curve(name: str) -> Curve:
        return Curve(counts, np.array([entry[name] for entry in results["shown"]], float))

    gained = {"own teacher's rows": curve("own"), "other teachers' rows": curve("other")}
    if results["shown"][0]["untuned"] is not None:
        gained["untuned teacher's rows"] = curve("untuned")
    difference = {"examples in the prompt": curve("contrast")}
    if results["trained"]:
        trained = results["trained"]
        difference["training on the rows"] = Curve(
            np.array([trained["rows"]], float), np.array([trained["contrast"]], float)
        )
    seeds = counted(results["seeds"], "95 % intervals")
    shown = "examples in the prompt"
    return channels_figure(
        [
            Panel(gained, shown, "change of log-probability (nats)"),
            Panel(difference, f"{shown}, or rows", "own minus other teachers' rows (nats)"),
        ],
        title="Do examples in the prompt do what training on them does?\n"
        f"{results['model']}, {CARRIERS[results['carrier']].what}; {seeds}",
    )


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
