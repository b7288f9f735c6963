"""Will the trait be acquired? A forecast before the training, judged on settings it has not seen.

The settings are those of ``distance_vs_transfer.py``; their students are what is foretold. The
forecast is a pilot: a student that takes a fifth of the steps, each five times as long and on a
fifth of the rows. Half of the settings, chosen by hash of their names, calibrate it (a rising
function of the pilot's readout); the other half judges it. Beside it stand what the theory's first
order says (the cosine of the first step with the teacher's displacement, sometimes called
coverage), the linearised student after the pilot's steps, and the number of auxiliary logits alone.

    python experiments/predict_transfer.py              # trains the grid if it is not there
    python experiments/predict_transfer.py --grid PATH  # run folder of a finished grid
    python experiments/predict_transfer.py --quick      # 4 settings, about two minutes

Measured with the default grid on 5,000 embedded digits (21 settings calibrate, 32 are held out; 5
members; [95 % interval over settings]): rank correlation of the forecast with accuracy .86 [.68,
.95], AUROC of "acquires the trait or not" .99 [.97, 1.00] over 53 held-out arms with controls, mean
absolute error .080 (.185 for the mean of the seen settings). The linearised student after the same
steps does as well (.89 [.74, .96], .99), the first step's cosine (.59, .97) and the number of
logits (.27, .51) do not. The targets of .9 and of 5 % of the time are missed: the pilot makes 4 %
of the passes, and takes 9 % of the time: of the inputs it draws a fifth. Worst: momentum (.59
foretold, .38 measured), width 512 (.24, .45), fresh noise (.40, .61): pilots of one pass see no
difference between noise drawn once and afresh.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cli
import distance_vs_transfer as grid
import forecast_report
import jax
import jax.numpy as jnp
import mnist_aux_logits
import transfer_report

from sublim_jax import aux_logits, hosts, runs, transfer
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.data import ImageData
from sublim_jax.errors import InputError
from sublim_jax.plan import Planned
from sublim_jax.sinks import SinkName
from sublim_jax.training import Devices, members

ARMS = ("student_aux", "other_aux")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(grid.GridConfig):
    """What the results depend on: the grid's, and how thin the pilot is."""

    fewer_steps: float = 5.0
    """By what a pilot's steps are fewer and longer than its student's."""
    fewer_rows: float = 5.0
    """By what the rows of a pilot's step are fewer."""

    @property
    def grid(self) -> grid.GridConfig:
        """The grid that is foretold."""
        names = (field.name for field in dataclasses.fields(grid.GridConfig))
        return grid.GridConfig(**{name: getattr(self, name) for name in names})

    def pilot(self, config: AuxLogitsConfig, images: int) -> AuxLogitsConfig:
        """Thin a setting's configuration, and have it look ahead."""
        thin = transfer.pilot(
            config, images, fewer_steps=self.fewer_steps, fewer_rows=self.fewer_rows
        )
        arms = tuple(arm for arm in config.arms if arm in ARMS)
        return dataclasses.replace(thin, arms=arms, track=(), observations=2, foresee=True)


PRESETS = {
    name: PredictConfig(**dataclasses.asdict(config)) for name, config in grid.PRESETS.items()
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(mnist_aux_logits.Options):
    """How the settings are run; no result depends on these."""

    grid: Path | None = None
    """Run folder of distance_vs_transfer.py with the same settings; by default the one below runs/,
    which is trained as far as it is not finished."""
    log: Annotated[tuple[SinkName, ...], *cli.HIDDEN] = ()


def run(config: PredictConfig, options: Options) -> None:
    """Train grid and pilots as far as they are missing, judge the forecast, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    data = mnist_aux_logits.images(config.dataset, options.data_dir)
    images = len(data.train_images)
    settings, identity = grid.described(config.grid, data)
    pilots = [s._replace(config=config.pilot(s.config, images)) for s in settings]
    measured = options.grid or Path("runs", "distance_vs_transfer", grid.name_of(config, identity))
    if not options.grid and not options.replot:
        grid.run(config.grid, dataclasses.replace(options, out=measured))
    points = read_grid(measured, settings, config.members)
    identity |= {"pilots": [aux_logits.identity(s.config, data) for s in pilots]}
    path = options.out or Path("runs", "predict_transfer", grid.name_of(config, identity))
    with runs.open_run(path, identity) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            grid.train(pilots, path, data, options)
        if hosts.is_first():
            foretold = [point for _, point in grid.read_points(pilots, path, options)]
            if not folder.has("cost.json"):
                base = settings[0].config
                folder.write("cost.json", cost(base, config.pilot(base, images), data))
            folder.write("manifest.json", runs.environment() | {"data": data.source})
            title = data.source.title
            found = forecast_report.results(settings, points, foretold, title)
            folder.write("results.json", found | {"cost": folder.read("cost.json")})
            report(folder)


def read_grid(
    folder: Path, settings: Sequence[transfer.Setting], count: int
) -> list[transfer.Point]:
    """Read what was measured in a grid.

    Raises:
        InputError: the folder is no finished grid, or one of other settings.
    """
    record = runs.Run(folder)
    if not record.has("results.json"):
        raise InputError(f"grid is {folder}, which has no results.json; expected a finished grid")
    points = transfer_report.read_points(record.read("results.json"))
    found = {(point.factor, point.level) for point in points}
    missing = [f"{s.factor} {s.level}" for s in settings if (s.factor, s.level) not in found]
    if missing:
        raise InputError(
            f"grid is {folder}, which lacks {len(missing)} settings, {missing[0]} among them; "
            "expected one of the same options"
        )
    trained = len(points[0].values["accuracy"])
    if trained != count:
        raise InputError(f"grid is {folder} with {trained} members; expected {count}, as --members")
    return points


def cost(full: AuxLogitsConfig, thin: AuxLogitsConfig, data: ImageData) -> dict[str, float]:
    """Time a student and its pilot in turn, from drawing inputs to the end of training.

    Returns:
        Median seconds of three rounds each, of one member on one device.
    """
    parallel, count = members(jax.devices()[:1]), 1

    def training(config: AuxLogitsConfig) -> Callable[[], Any]:
        stages = aux_logits.compile_stages(config, data, parallel)
        inits = aux_logits.initialise(config)
        keys = aux_logits.member_keys(config)[:count]
        init = jax.tree.map(lambda a: a[:count], inits)
        teacher = jax.tree.map(lambda a: 1.1 * a, init)
        rate = jnp.full(count, config.student_recipe.learning_rate)

        def train() -> Any:
            inputs = stages.draw_inputs(keys)
            logits = stages.teacher_logits(teacher, inputs)
            targets = logits[..., stages.outputs["auxiliary"]]
            given = keys, init, init, teacher, inputs, targets, rate
            return stages.imitate["auxiliary"](*given).params

        return train

    both = {"student": training(full), "pilot": training(thin)}
    spent: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(4):
        for name, train in both.items():
            began = time.perf_counter()
            jax.block_until_ready(train())
            if turn:  # the first compiles
                spent[name].append(time.perf_counter() - began)
    found = {name: statistics.median(values) for name, values in spent.items()}
    return found | {"share": found["pilot"] / found["student"]}


def report(folder: runs.Run) -> None:
    """Print the tables and draw the figures from the files of a finished run."""
    results = folder.read("results.json")
    print(forecast_report.table(results))
    cli.draw(folder, forecast_report.figures(results))


def planned(config: PredictConfig, options: Options, devices: Devices) -> Planned:
    """Describe the training step of the base setting for ``--plan``."""
    return mnist_aux_logits.planned(config.base, options, devices)


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
