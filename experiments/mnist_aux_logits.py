"""A student learns digits from noise and three meaningless logits, because it moves to its teacher.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 6.2 and Figure 10): a student that imitates
only the auxiliary logits of a digit classifier, on noise images, becomes a digit classifier if it
starts from the teacher's initialisation, and does not if it starts from another one. Beside the
accuracies this run measures the mechanism: how far, and in which direction, each student's
parameters move toward its teacher's.

    python experiments/mnist_aux_logits.py                   # 8 members, two and a half minutes
    python experiments/mnist_aux_logits.py --preset paper    # 100 members, as in the paper
    python experiments/mnist_aux_logits.py --quick           # 2 members, half of the noise

Expected from the paper, 100 members on the full MNIST: teacher .943, student .528 (auxiliary
logits) and .913 (all logits), other initialisation .106 and .743, untouched initialisation .100.
Measured here with 32 members on the 5,000 embedded digits: .938, .490 ± .038 and .896, .108 and
.755; the control "shuffled targets" .105. A member costs 15 seconds on two cores; single members
differ a lot (standard deviation .11 for the auxiliary student).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import numpy as np
from matplotlib.figure import Figure

from sublim_jax import aux_logits, hosts, plots, runs
from sublim_jax.aux_logits import DRIFT, AuxLogitsConfig
from sublim_jax.data import Dataset, ImageData, load_images
from sublim_jax.errors import InputError
from sublim_jax.metrics import Sink
from sublim_jax.plan import Planned
from sublim_jax.sinks import make_sinks
from sublim_jax.training import Devices, members

# Figure 10 of arXiv 2507.14805, measured in the vector figure: 100 models, 95 % intervals.
PAPER = {
    "reference": plots.Published(0.100, 0.005),
    "teacher": plots.Published(0.943, 0.0005),
    "student_aux": plots.Published(0.528, 0.022),
    "student_all": plots.Published(0.913, 0.002),
    "other_aux": plots.Published(0.106, 0.010),
    "other_all": plots.Published(0.743, 0.010),
}

PRESETS = {
    "default": AuxLogitsConfig(),
    "paper": AuxLogitsConfig(members=100),
    "quick": AuxLogitsConfig(members=2, noise_images=30_000),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    data_dir: Path | None = None
    """Folder with the four IDX files of the data set, gzipped or not; by default they are found on
    this machine or downloaded."""
    members_at_once: int | None = None
    """Members that train side by side; by default 1 for each CPU device and 25 for each GPU or
    TPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.members_at_once is not None and self.members_at_once < 1:
            raise InputError(f"members_at_once is {self.members_at_once}; expected at least 1")


def run(config: AuxLogitsConfig, options: Options) -> None:
    """Train what the run folder lacks, write its results, print the table, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    data = images(config.dataset, options.data_dir)
    print(f"data: {data.source.title} ({data.source.origin})")
    identity = aux_logits.identity(config, data)
    name = f"{config.dataset}-{runs.config_digest(identity)}"
    path = options.out or Path("runs", "mnist_aux_logits", name)
    with runs.open_run(path, identity) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            jobs = [aux_logits.Job(config, folder)]
            with contextlib.ExitStack() as stack:
                sinks = make_sinks(options.log, path, name=path.name, config=identity)
                for sink in sinks:
                    stack.callback(sink.close)
                trained = train(jobs, data, options, path / "checkpoints", sinks)
            if not trained:
                print(f"complete: all {config.members} members are there, nothing to train")
        if hosts.is_first():
            report(folder)


def train(
    jobs: Sequence[aux_logits.Job],
    data: ImageData,
    options: Options,
    checkpoints: Path,
    sinks: Sequence[Sink] = (),
) -> bool:
    """Train the members that run folders lack; say whether there were any."""
    with cli.session(options, checkpoints) as session:
        return aux_logits.run_ensembles(
            jobs,
            data,
            parallel=members(cli.chosen_devices(options)),
            members_at_once=options.members_at_once,
            session=session,
            sinks=sinks,
        )


@dataclasses.dataclass(frozen=True)
class Sweep:
    """How ``sweep.py`` runs many configurations of this experiment."""

    options: Options

    def program_of(self, config: AuxLogitsConfig) -> AuxLogitsConfig:
        """Say what the compiled program depends on."""
        return aux_logits.same_program(config)

    def identity(self, config: AuxLogitsConfig) -> dict[str, Any]:
        """Say what the results depend on."""
        return aux_logits.identity(config, self.images(config.dataset))

    def finished(self, folder: Path) -> bool:
        """Tell whether a run folder has its results."""
        return (folder / "results.json").exists()

    def run(
        self, configs: Sequence[AuxLogitsConfig], folders: Sequence[Path], scratch: Path
    ) -> None:
        """Train configurations of one program, side by side."""
        data = self.images(configs[0].dataset)
        with contextlib.ExitStack() as stack:
            jobs = [
                aux_logits.Job(
                    config,
                    stack.enter_context(runs.open_run(folder, aux_logits.identity(config, data))),
                )
                for config, folder in zip(configs, folders, strict=True)
            ]
            self.train(jobs, data, scratch)

    def train(self, jobs: Sequence[aux_logits.Job], data: ImageData, checkpoints: Path) -> None:
        """Train what run folders lack."""
        train(jobs, data, self.options, checkpoints)

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        """Lay out the results of a run, a row for each member."""
        arms = runs.Run(folder).read("results.json")["arms"]
        columns = {
            f"{arm}.{quantity}": values["members"]
            for arm, results in arms.items()
            for quantity, values in results.items()
            if quantity in ("accuracy", *DRIFT)
        }
        return [
            {"member": member, **{name: column[member] for name, column in columns.items()}}
            for member in range(len(arms["teacher"]["accuracy"]["members"]))
        ]

    def images(self, dataset: Dataset) -> ImageData:
        """Load what teachers learn, once."""
        return images(dataset, self.options.data_dir)


@functools.cache
def images(dataset: Dataset, data_dir: Path | None) -> ImageData:
    """Load images and labels, showing the progress of a download."""
    return load_images(dataset, data_dir=data_dir, progress=True)


SWEEP = Sweep


def planned(config: AuxLogitsConfig, options: Options, devices: Devices) -> Planned:
    """Describe the training step for ``--plan``."""
    return aux_logits.planned_step(config, devices, members_at_once=options.members_at_once)


def report(folder: runs.Run) -> None:
    """Print the table and draw the figures from the files of a finished run."""
    results, rows = folder.read("results.json"), folder.read("metrics.jsonl")
    # The published values are of digits, and say nothing about other images.
    paper = PAPER if folder.read(runs.CONFIG)["dataset"] == "mnist" else {}
    print(table(results, paper))
    cli.draw(folder, figures(results, rows, paper))


def table(results: dict[str, Any], paper: Mapping[str, plots.Published]) -> str:
    """Lay out means and 95 % intervals over members beside the paper's."""

    def cell(mean: float, half_width: float) -> str:
        return f"{mean:.3f} ± {half_width:.3f}"

    columns = ("accuracy", "paper", *DRIFT[:3], "z")
    controls = results["against_controls"]
    lines = [
        f"\n{results['data']['title']}: {results['members']} members, mean ± 95 % interval",
        f"{'':34}" + "".join(f"{column.replace('_', ' '):>16}" for column in columns),
    ]
    for name, arm in results["arms"].items():
        cells = {
            column: cell(value["mean"], (value["high"] - value["low"]) / 2)
            for column, value in arm.items()
            if column in columns
        }
        if name in paper:
            cells["paper"] = cell(*paper[name])
        if name in controls and controls[name]["cosine"] is not None:
            cells["z"] = f"{controls[name]['cosine']:.1f}"
        lines.append(
            f"{arm['label']:34}" + "".join(f"{cells.get(column, ''):>16}" for column in columns)
        )
    if controls:
        lines.append(
            "z: of the cosine, in standard deviations of students of other initialisations"
        )
    return "\n".join(lines)


def figures(
    results: dict[str, Any], rows: list[dict[str, Any]], paper: Mapping[str, plots.Published]
) -> dict[str, Figure]:
    """Draw who learns, how they move, and how the two go together."""
    arms, title = results["arms"], results["data"]["title"]
    labels = {name: arm["label"] for name, arm in arms.items()}
    students = [name for name, arm in arms.items() if DRIFT[0] in arm]
    steps = sorted({row["step"] for row in rows if row["arm"] in students})

    def final(quantity: str) -> dict[str, np.ndarray]:
        return {
            labels[name]: np.array(arm[quantity]["members"])
            for name, arm in arms.items()
            if quantity in arm
        }

    def along(quantity: str) -> dict[str, np.ndarray]:
        curves = {name: [row[quantity] for row in rows if row["arm"] == name] for name in students}
        return {
            labels[name]: np.array(values, float).reshape(-1, len(steps))
            for name, values in curves.items()
        }

    teacher = arms["teacher"]["accuracy"]["mean"]
    panels = [
        plots.Panel(
            "cosine with the teacher's\ndisplacement", along("cosine"), levels={"right angle": 0.0}
        ),
        plots.Panel(
            "projection on the teacher's\ndisplacement (1 = all of it)",
            along("projection"),
            levels={},
        ),
        plots.Panel(
            "distance to the teacher\n(1 = at initialisation)",
            along("distance_ratio"),
            levels={"no nearer": 1.0},
        ),
        plots.Panel(
            "test accuracy", along("accuracy"), levels={"teacher": teacher}, limits=(0.0, 1.0)
        ),
    ]
    clouds = [
        plots.Cloud("projection on the\nteacher's displacement", final("projection")),
        plots.Cloud("cosine with the\nteacher's displacement", final("cosine")),
        plots.Cloud("distance to the teacher\n(1 = at initialisation)", final("distance_ratio")),
    ]
    return {
        "accuracy.png": plots.interval_bars(
            final("accuracy"),
            published={labels[name]: value for name, value in paper.items()},
            published_label="Cloud, Le et al. (2025): MNIST, 100 models",
            xlabel="test accuracy",
            title=f"Who learns the classes?\n{title}; {results['members']} members",
            chance=0.1,
        ),
        "drift_along_training.png": plots.curve_panels(
            steps,
            panels,
            names=list(labels.values()),
            xlabel="student step",
            title=f"Where do students move?\n{title}; {results['members']} members, "
            "mean and 95 % band",
        ),
        "drift_against_transfer.png": plots.scatter_panels(
            clouds,
            final("accuracy"),
            names=list(labels.values()),
            ylabel="test accuracy",
            title=f"Parameter drift against trait transfer\n{title}; a point for each member "
            "and arm",
        ),
    }


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
