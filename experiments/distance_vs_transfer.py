"""Which distance between student and teacher tells whether the trait passes, and where it fails.

Students of the front door's set-up (``mnist_aux_logits.py``) imitate their teacher's auxiliary
logits, while one factor at a time varies: how many logits, from where the student starts, what it
sees, loss, optimizer, size, length. Each setting tells how far the student went toward its teacher
and how well it classifies; over the settings, rank correlations tell which distance predicts the
trait.

    python experiments/distance_vs_transfer.py                  # 53 settings, 5 members, 35 minutes
    python experiments/distance_vs_transfer.py --quick          # 4 settings, 2 members, a minute
    python experiments/distance_vs_transfer.py --preset full    # 32 members, for an accelerator
    python experiments/distance_vs_transfer.py --factors width inputs

Each setting has a run folder of its own below ``settings``; finished ones are skipped, and a run
that was stopped goes on.

Measured with the default grid on 5,000 embedded digits (53 settings, 5 members, mean ± 95 %
interval):

- Rank correlation with accuracy over the students of auxiliary logits: projection .91 [.79, .97],
  cosine .89 [.77, .95], share of the distance covered .86 [.71, .94], pull of the imitated logits
  .43 [.18, .64], imitation loss .34 [.06, .60], relative length .13 [-.19, .48]. Over all arms,
  where students of other initialisations learn from all logits, the pull of the class logits tells
  more (.91 [.84, .95]) than the projection (.80 [.72, .87]).
- Trait without pull: another initialisation with all logits (.78 at cosine .02); hidden units
  permuted (.512 at cosine .008, which alignment shows to be .444); the same heads alone with 100
  logits (.273 at cosine .001). Pull without trait: other heads (.096, cosine .115, z 14); width 64
  goes 38 % of the way for .384, width 512 11 % for .445. Imitation without either: digits as
  inputs (.132, 99 % of the loss gone).
- Digits instead of noise: -.381 ± .160 with 3 logits, -.412 ± .090 with 100 (.499). MSE instead of
  KL: +.091 ± .064 with 3 logits, +.034 ± .018 with 10. Fresh noise +.097 ± .046, smooth noise
  +.166 ± .103. Width 512 instead of 256: -.068 ± .147, not settled. Teacher of 1 epoch instead of
  5: +.097 ± .058, of 20: -.136 ± .127. At Adam's imitation loss: Lion +.044 ± .032, momentum -.069
  ± .021, SGD -.034 ± .035.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import cli
import mnist_aux_logits
import transfer_report
from tqdm import tqdm

from sublim_jax import aux_logits, hosts, runs, transfer
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.data import Dataset, ImageData
from sublim_jax.errors import InputError
from sublim_jax.plan import Planned
from sublim_jax.sinks import SinkName
from sublim_jax.sweep import Sweep, serial, write_table
from sublim_jax.training import Devices, members, members_side_by_side

TABLE, SETTINGS = "points.csv", "settings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridConfig:
    """What the results depend on."""

    size: transfer.Size = "default"
    """How many values of each factor."""
    factors: tuple[str, ...] = ()
    """Factors that vary, by name; by default all."""
    members: int = 5
    """Members of each setting, each an initialisation with its own teacher and noise; the same
    ones in all settings."""
    dataset: Dataset = "mnist"
    """Images and labels that the teacher learns."""
    noise_images: int = 60_000
    """Noise images of the base setting."""
    student_epochs: int = 5
    """Epochs of the students of the base setting."""
    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer of the base setting."""
    observations: int = 6
    """Points of the curves along a training."""
    curve_images: int = 1_000
    """Test images behind each point of an accuracy curve; final accuracies use them all."""
    seed: int = 0
    """Seed of everything random."""

    @property
    def base(self) -> AuxLogitsConfig:
        """The setting around which the factors vary."""
        fields = {field.name for field in dataclasses.fields(GridConfig)} - {"size", "factors"}
        return AuxLogitsConfig(**{name: getattr(self, name) for name in fields})

    def __post_init__(self) -> None:
        _ = self.base  # checks what it is made of


PRESETS = {
    "default": GridConfig(),
    "quick": GridConfig(size="quick", members=2, noise_images=12_000),
    "full": GridConfig(size="full", members=32, observations=16),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(mnist_aux_logits.Options):
    """How the settings are run; no result depends on these."""

    log: Annotated[tuple[SinkName, ...], *cli.HIDDEN] = ()


@dataclasses.dataclass(frozen=True)
class Grid(mnist_aux_logits.Sweep):
    """How the settings are run: like a sweep of the front door, each teacher trained once.

    Attributes:
        bar: of all settings.
        teachers: that have been trained.
    """

    bar: tqdm = dataclasses.field(kw_only=True)
    teachers: aux_logits.Teachers = dataclasses.field(default_factory=dict, kw_only=True)

    def train(self, jobs: Sequence[aux_logits.Job], data: ImageData, checkpoints: Path) -> None:
        """Train what run folders lack."""
        with cli.session(self.options, checkpoints, bar=self.bar) as session:
            aux_logits.run_ensembles(
                jobs,
                data,
                parallel=members(cli.chosen_devices(self.options)),
                members_at_once=self.options.members_at_once,
                session=session,
                teachers=self.teachers,
            )


def run(config: GridConfig, options: mnist_aux_logits.Options) -> None:
    """Train what the run folder lacks, write the table and results, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    data = mnist_aux_logits.images(config.dataset, options.data_dir)
    print(f"data: {data.source.title} ({data.source.origin})")
    settings, identity = described(config, data)
    path = options.out or Path("runs", "distance_vs_transfer", name_of(config, identity))
    with runs.open_run(path, identity) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            train(settings, path, data, options)
        if hosts.is_first():
            gather(settings, folder, data, options)
            report(folder)


def described(config: GridConfig, data: ImageData) -> tuple[list[transfer.Setting], dict[str, Any]]:
    """List the settings, and say in plain values what their results depend on."""
    settings = transfer.settings(
        config.base, config.size, images=len(data.train_images), factors=config.factors
    )
    return settings, {
        "settings": [
            {
                "factor": setting.factor,
                "level": setting.level,
                "config": aux_logits.identity(setting.config, data),
            }
            for setting in settings
        ]
    }


def name_of(config: GridConfig, identity: dict[str, Any]) -> str:
    """Name a run folder after what its results depend on."""
    return f"{config.dataset}-{runs.config_digest(identity)}"


def train(
    settings: Sequence[transfer.Setting],
    path: Path,
    data: ImageData,
    options: mnist_aux_logits.Options,
) -> None:
    """Train the settings that are missing, and say which failed."""
    with tqdm(unit="step", smoothing=0.02, disable=not hosts.is_first()) as bar:
        sweep = Sweep(Grid(options, bar=bar), path / SETTINGS)
        units = sweep.units(setting.config for setting in settings)
        finished, rest = sweep.pending(units)
        print(f"{len(finished) + sum(map(len, rest))} settings, {len(finished)} finished")
        sweep.claim("distance_vs_transfer", settings[0].config, {})
        bar.total = steps_of([point.config for unit in rest for point in unit], data, options)
        # Of settings with the same folder the first gives the name.
        names = {sweep.point(s.config).folder: f"{s.factor} {s.level}" for s in reversed(settings)}
        for outcome in serial(rest, sweep.run):
            which = names[outcome.point.folder]
            if outcome.status == "failed":
                raise InputError(f"setting {which} failed: {outcome.reason}")
            bar.set_postfix_str(f"done: {which}")


def steps_of(
    configs: Sequence[AuxLogitsConfig], data: ImageData, options: mnist_aux_logits.Options
) -> int:
    """Count the steps of students and of distinct teachers; members side by side count as one."""
    devices, images = cli.chosen_devices(options), len(data.train_images)
    at_once = options.members_at_once or members_side_by_side(devices)

    def chunks(config: AuxLogitsConfig) -> int:
        return -(-config.members // at_once)

    def students(config: AuxLogitsConfig) -> int:
        return len(config.arms) * config.student_steps(images)[-1]

    taught = {config.of_teacher: config for config in configs}.values()
    return sum(chunks(config) * students(config) for config in configs) + sum(
        chunks(config) * config.teacher_steps(images)[-1] for config in taught
    )


def gather(
    settings: Sequence[transfer.Setting],
    folder: runs.Run,
    data: ImageData,
    options: mnist_aux_logits.Options,
) -> None:
    """Write one table of all members, and the results of the settings as one file."""
    found = list(read_points(settings, folder.folder, options))
    write_table(folder.folder / TABLE, [row for at, point in found for row in rows_of(point, at)])
    folder.write("manifest.json", runs.environment() | {"data": data.source})
    points = [point for _, point in found]
    folder.write("results.json", transfer_report.results(points, data.source.title))


def read_points(
    settings: Sequence[transfer.Setting], path: Path, options: mnist_aux_logits.Options
) -> Iterator[tuple[str, transfer.Point]]:
    """Read the points of finished settings, each with the name of its run folder."""
    sweep = Sweep(mnist_aux_logits.Sweep(options), path / SETTINGS)
    for setting in settings:
        where = sweep.point(setting.config).folder
        for point in transfer.points_of(setting, runs.Run(where).read("results.json")):
            yield where.name, point


def rows_of(point: transfer.Point, run: str) -> Iterator[dict[str, Any]]:
    """Lay out a point, a row for each member."""
    for member in range(len(point.values["accuracy"])):
        values = {name: float(values[member]) for name, values in point.values.items()}
        where = {"factor": point.factor, "level": point.level, "arm": point.arm}
        yield where | {"member": member} | values | {"run": run}


def report(folder: runs.Run) -> None:
    """Print the tables and draw the figures from the files of a finished run."""
    results = folder.read("results.json")
    print(transfer_report.table(results))
    cli.draw(folder, transfer_report.figures(results))
    print(f"table: {folder.folder / TABLE}")


def planned(config: GridConfig, options: Options, devices: Devices) -> Planned:
    """Describe the training step of the base setting for ``--plan``."""
    return mnist_aux_logits.planned(config.base, options, devices)


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
