"""Where an experiment on rows gets them: from a run that is there, or from teachers of its own."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_run import Options, filled, folder_of, recorded

from sublim_jax import hosts, lm_traits, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.lm_traits.names import CarrierName


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What rows depend on."""

    run: Path | None = None
    """A run folder with rows of teachers (channel text); by default teachers are trained here and
    write, as the options that say "without run" tell."""
    model: str = "smollm2"
    """The base of everybody, without run."""
    carrier: CarrierName = "numbers"
    """What teachers write, without run."""
    animals: tuple[str, ...] = ("owl", "eagle")
    """Favourites of the teachers, without run; one more has none."""
    seeds: int = 3
    """Independent repetitions, without run."""
    requests: int = 128
    """That every teacher answers, without run."""
    first_layer: int = 15
    """The first layer that is trained in a teacher, without run."""
    seed: int = 0
    """Of everything that is drawn."""

    def writing(self) -> TraitConfig:
        """Configure the teachers that write, without run."""
        return TraitConfig(
            model=self.model,
            channel="text",
            carrier=self.carrier,
            animals=self.animals,
            seeds=self.seeds,
            arms=("same", "untuned"),
            first_layer=self.first_layer,
            row_count=1,
            requests=self.requests,
            constrained=True,
            least_numbers=8 if self.carrier == "numbers" else 1,
            answer_tokens=64 if self.carrier == "numbers" else 128,
            answers=0,
            seed=self.seed,
        )


def on_rows(
    name: str,
    config: Source,
    options: Options,
    *,
    gathered: Callable[[TraitConfig, runs.Run, runs.Run], Mapping[str, Any]],
    report: Callable[[runs.Run], None],
) -> None:
    """Run an experiment on rows: get them, gather results, report.

    Args:
        name: of the experiment, and of the folder of its runs.
        config: of the experiment.
        options: how it is executed.
        gathered: gives the results: configuration of the run with the rows, the experiment's own
            run folder, where it keeps what is done, and the one with the rows.
        report: prints what a complete run found, and draws its figures.
    """

    def fill(folder: runs.Run) -> None:
        if not folder.has("results.json"):
            source, rows = written(config, options, folder.folder)
            found = gathered(source, folder, rows)
            if hosts.is_first():
                folder.write("results.json", found)

    recorded(folder_of(name, config, options), config, options, fill, report)


def written(config: Source, options: Options, path: Path) -> tuple[TraitConfig, runs.Run]:
    """Give the run with the rows, made in a folder of its own below ``path`` if none was given.

    Raises:
        InputError: the run that was given has no rows.
    """
    if config.run is not None:
        given = runs.Run(config.run)
        if not given.has(runs.CONFIG) or not given.has("rows"):
            raise InputError(
                f"run is {config.run}, which has no rows of teachers; expected the folder of a run "
                "with channel text"
            )
        source = lm_traits.config_of(given)
        if source.trait != "preference":
            raise InputError(
                f"run is {config.run} with trait {source.trait}; expected one of a preference"
            )
        return source, given
    source = config.writing()
    with runs.open_run(path / "rows", dataclasses.asdict(source)) as folder:
        filled(source, options, folder, lm_traits.write_only)
    return source, runs.Run(path / "rows")
