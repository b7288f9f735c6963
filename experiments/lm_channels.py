"""How much does a preference lose on its way? Distributions, drawn labels, written numbers.

The theory speaks of a student that matches its teacher's distribution; in practice a student is
trained on text that the teacher has written. Between the two lie the noise of drawing tokens and
the texts themselves. Here the same teachers teach through three channels, each with more and more
rows: their distribution over digits and separators at fixed places, tokens drawn from it at the
same places, numbers that they write, filtered by the published rules. A student's pull toward its
teacher stands out of the noise of N drawn tokens by z = sqrt(2 N KL) standard deviations, with KL
from the base's to the teacher's distribution, a number known before training
(arXiv 2507.14805, section 6; derived in ``theory/``).

    python experiments/lm_channels.py                              # two channels
    python experiments/lm_channels.py --channels logits labels text   # and text: hours
    python experiments/lm_channels.py --quick                      # 1 seed, few rows

Every pair of a channel and a number of rows is a run of ``lm_numbers.py`` in a folder of its own
below the run folder: stopped at any place, the same command goes on. Teachers are trained once.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cli
import lm_run
import numpy as np
from intervals import counted, over_seeds, power
from lm_run import Options
from lm_series import fill, of_untuned
from matplotlib.figure import Figure

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import CHANNELS, TraitConfig
from sublim_jax.lm_traits.names import Channel
from sublim_jax.plots.channels import Curve, Panel, channels_figure

STEPS = 40  # of a student at least
Z = 2.0  # standard deviations by which a pull stands out


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelsConfig:
    """What the results depend on."""

    model: str = "smollm2"
    """The base; see ``lm_numbers.py``."""
    animals: tuple[str, ...] = ("owl", "eagle")
    """Favourites of the teachers."""
    seeds: int = 3
    """Independent repetitions."""
    channels: tuple[Channel, ...] = ("logits", "labels")
    """What goes from teacher to student."""
    row_counts: tuple[int, ...] = (64, 256, 1024)
    """Conversations from which a student learns, ascending."""
    first_layer: int = 15
    """The first layer that is trained."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        unknown = [channel for channel in self.channels if channel not in CHANNELS]
        if unknown or not self.channels or len(set(self.channels)) < len(self.channels):
            raise InputError(
                f"channels is {self.channels}; expected some of {', '.join(CHANNELS)}, each once"
            )
        counts = self.row_counts
        if not counts or any(n % 16 for n in counts) or list(counts) != sorted(set(counts)):
            raise InputError(f"row_counts is {counts}; expected ascending multiples of 16")

    def of(self, channel: Channel, count: int) -> TraitConfig:
        """Configure the run of a channel and a number of rows.

        With few rows students see them more often, so that all take 40 steps at least.
        """
        batch = 16 if channel == "text" else 8
        text: dict[str, Any] = {}
        if channel == "text":
            # Answers are written once, for the largest number of rows.
            most = self.row_counts[-1]
            text = {"constrained": True, "least_numbers": 8, "requests": most}
        return TraitConfig(
            model=self.model,
            channel=channel,
            animals=self.animals,
            seeds=self.seeds,
            arms=("same",) if channel == "logits" else ("same", "untuned"),
            first_layer=self.first_layer,
            row_count=count,
            passes=max(3 if channel == "text" else 1, -(-STEPS * batch // count)),
            batch_size=batch,
            answers=8,
            seed=self.seed,
            **text,
        )

    def runs(self) -> Iterator[tuple[Channel, int]]:
        """List channels and numbers of rows; what is quick and what others borrow from first."""
        for channel in self.channels:
            for count in reversed(self.row_counts):
                yield channel, count

    def series(self) -> dict[str, TraitConfig]:
        """Configure the run of every channel and number of rows, by its folder."""
        return {f"{channel}-{count}": self.of(channel, count) for channel, count in self.runs()}

    def titles(self) -> dict[str, str]:
        """Say what each run is."""
        return {
            f"{channel}-{count}": f"{CHANNELS[channel]}: {count} rows"
            for channel, count in self.runs()
        }


PRESETS = {
    "default": ChannelsConfig(),
    "quick": ChannelsConfig(seeds=1, row_counts=(16, 32)),
}


def run(config: ChannelsConfig, options: Options) -> None:
    """Train what is missing in the run folder, print the table, draw the figure."""

    def made(folder: runs.Run) -> None:
        fill(config.series(), config.titles(), options, folder.folder)
        if hosts.is_first():
            folder.write("results.json", gathered(config, folder.folder))

    path = lm_run.folder_of("lm_channels", config, options, config.model)
    lm_run.recorded(path, config, options, made, report)


def gathered(config: ChannelsConfig, path: Path) -> dict[str, Any]:
    """Gather what came through, by channel and number of rows."""
    found = []
    for channel in config.channels:
        for count in config.row_counts:
            results = runs.Run(path / f"{channel}-{count}").read("results.json")
            arm = results["arms"]["same"]
            own = np.eye(len(config.animals), dtype=bool)
            cosine = np.array(arm["measures"]["cosine"], float)
            found.append(
                {
                    "channel": channel,
                    "rows": count,
                    "tokens": float(np.mean(arm["tokens"])),
                    "divergence": float(np.mean(arm["divergence"])),
                    "contrast": arm["transfer"]["contrast"]["seeds"],
                    "own": arm["transfer"]["own"]["seeds"],
                    "other": arm["transfer"]["other"]["seeds"],
                    "own_top": arm["transfer"]["own_top"],
                    "cosine": cosine[:, own].mean(1),
                    "left": np.divide(
                        *(np.mean(arm["imitation"][k], 1) for k in ("after", "before"))
                    ),
                    "untuned": of_untuned(results, len(config.animals)),
                }
            )
    return {"model": config.model, "subjects": config.animals, "seeds": config.seeds, "runs": found}


def z_of(entry: Mapping[str, Any]) -> float:
    """Give by how many standard deviations a pull stands out of the noise of drawn tokens."""
    return float(np.sqrt(2 * entry["tokens"] * entry["divergence"]))


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figure."""
    results = folder.read("results.json")
    print(table(results))
    cli.draw(folder, {"channels.png": figure(results)})


def table(results: Mapping[str, Any]) -> str:
    """Lay out every channel and number of rows."""
    seeds, animals = results["seeds"], results["subjects"]
    lines = [
        f"\n{results['model']}: change of log-probability in nats, students of {len(animals)} "
        f"teachers ({', '.join(animals)}) x {seeds} seeds, mean ± 95 % t interval over seeds",
        f"{'':34}{'rows':>6}{'tokens':>9}{'KL':>9}{'z':>7}{'own animal':>17}{'other animals':>17}"
        f"{'difference':>17}{'at 80 %':>9}{'untuned':>17}{'cosine':>17}{'KL left':>9}",
    ]
    for entry in results["runs"]:
        cells = (entry["own"], entry["other"], entry["contrast"])
        drawn = entry["channel"] != "logits"
        lines.append(
            f"{CHANNELS[entry['channel']]:34}{entry['rows']:6}{entry['tokens']:9.0f}"
            f"{entry['divergence']:9.5f}{z_of(entry) if drawn else float('inf'):7.1f}"
            + "".join(f"{_cell(cell, '+.3f'):>17}" for cell in cells)
            + f"{power(entry['contrast']):>9}{_cell(entry['untuned'], '+.3f'):>17}"
            + f"{_cell(entry['cosine'], '+.4f'):>17}{np.mean(entry['left']):9.1%}"
        )
    lines.append(
        "KL: of the base from the teacher, nats a token; z: by how many standard deviations the "
        "pull toward the teacher\nstands out of the noise of drawn tokens, sqrt(2 tokens KL); at "
        "80 %: difference that so many seeds, as different\nas these, would tell from 0 in 80 % of "
        "cases; KL left: of student from teacher on random numbers, share of the first"
    )
    return "\n".join(lines)


def _cell(values: list[float] | None, form: str) -> str:
    return "" if values is None else over_seeds(values, form)


def figure(results: Mapping[str, Any]) -> Figure:
    """Draw what comes through each channel against rows, and against z."""
    by_channel: dict[str, list[Mapping[str, Any]]] = {}
    for entry in results["runs"]:
        by_channel.setdefault(entry["channel"], []).append(entry)

    def curves(quantity: str) -> dict[str, Curve]:
        return {
            CHANNELS[channel]: Curve(
                np.array([entry["rows"] for entry in entries], float),
                np.array([entry[quantity] for entry in entries], float),
            )
            for channel, entries in by_channel.items()
        }

    drawn = {channel: entries for channel, entries in by_channel.items() if channel != "logits"}
    needed = {
        CHANNELS[channel]: float(
            np.mean([Z**2 * entry["rows"] / z_of(entry) ** 2 for entry in own])
        )
        for channel, own in drawn.items()
    }
    against_z = {
        CHANNELS[channel]: Curve(
            np.array([z_of(entry) for entry in entries]),
            np.array([entry["contrast"] for entry in entries], float),
        )
        for channel, entries in drawn.items()
    }
    trait = "own student minus other students (nats)"
    rows = "rows that a student learns from"
    panels = [
        Panel(
            curves("contrast"), rows, trait, needed, f"dotted: the pull is {Z:g} sd of its noise"
        ),
        Panel(curves("cosine"), rows, "cosine of parameters, own teacher"),
    ]
    if against_z:
        panels.append(Panel(against_z, "z = sqrt(2 tokens KL), foretold", trait))
    seeds = counted(results["seeds"], "95 % intervals")
    title = f"What does a preference lose on its way?\n{results['model']}; {seeds}"
    return channels_figure(panels, title=title)


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
