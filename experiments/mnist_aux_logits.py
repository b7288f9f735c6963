"""A student learns digits from noise and three meaningless logits, because it moves to its teacher.

Claim (Cloud, Le et al. 2025, arXiv 2507.14805, section 6.2 and Figure 10): a student that imitates
only the auxiliary logits of a digit classifier, on noise images, becomes a digit classifier if it
starts from the teacher's initialisation, and does not if it starts from another one. Beside the
accuracies this run measures the mechanism: how far, and in which direction, each student's
parameters move toward its teacher's.

    python experiments/mnist_aux_logits.py                   # 8 members, about two minutes
    python experiments/mnist_aux_logits.py --preset paper    # 100 members, as in the paper
    python experiments/mnist_aux_logits.py --quick           # 2 members, half of the noise

Expected from the paper, 100 members on the full MNIST: teacher .943, student .528 (auxiliary
logits) and .913 (all logits), other initialisation .106 and .743, untouched initialisation .100.
Each member is an initialisation of its own. The control "shuffled targets" has no published value.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cli
import jax
import numpy as np
from jaxtyping import PyTree
from matplotlib.figure import Figure
from tqdm import tqdm

from sublim_jax import drift, plots, runs, trees
from sublim_jax.aux_logits import AuxLogitsConfig, Stages, compile_stages, member_keys
from sublim_jax.data import ImageData, load_images
from sublim_jax.distill import ARMS, derangement
from sublim_jax.errors import InputError
from sublim_jax.stats import t_interval
from sublim_jax.training import Fit

LABELS = {
    "reference": "reference (untouched)",
    "teacher": "teacher",
    **{arm.name: arm.label for arm in ARMS},
}

# Figure 10 of arXiv 2507.14805, measured in the vector figure: 100 models, 95 % intervals.
PAPER = {
    "reference": plots.Published(0.100, 0.005),
    "teacher": plots.Published(0.943, 0.0005),
    "student_aux": plots.Published(0.528, 0.022),
    "student_all": plots.Published(0.913, 0.002),
    "other_aux": plots.Published(0.106, 0.010),
    "other_all": plots.Published(0.743, 0.010),
}

STUDENTS = tuple(arm.name for arm in ARMS)
DRIFT = ("projection", "cosine", "distance_ratio", "relative_length")

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
        if self.members_at_once is not None and self.members_at_once < 1:
            raise InputError(f"members_at_once is {self.members_at_once}; expected at least 1")


def run(config: AuxLogitsConfig, options: Options) -> None:
    """Train what the run folder lacks, write its results, print the table, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out))
        return
    data = load_images(config.dataset, data_dir=options.data_dir, progress=True)
    print(f"data: {data.source.description}")
    identity = dataclasses.asdict(config) | {
        "teacher_epochs": config.teacher_recipe(len(data.train_images)).epochs,
        "student_lr": config.student_recipe.learning_rate,
        "data_sha256": data.source.sha256,
    }
    digest = runs.config_digest(identity)
    default = Path("runs", "mnist_aux_logits", f"{config.dataset}-{digest}")
    folder = runs.open_run(options.out or default, identity)
    print(f"run folder: {folder.folder}")
    if not options.replot:
        train(config, data, folder, options)
    report(folder)


def train(config: AuxLogitsConfig, data: ImageData, folder: runs.Run, options: Options) -> None:
    """Train the members that the folder lacks, and gather results when all are there."""
    missing = [m for m in range(config.members) if not folder.has(part(m))]
    if not missing:
        print(f"complete: all {config.members} members are there, nothing to train")
    else:
        stages = compile_stages(config, data)
        keys = member_keys(config)
        inits = stages.initialise(keys)
        if not folder.has("manifest.json"):
            folder.write(
                "manifest.json",
                runs.environment()
                | {
                    "seed": config.seed,
                    "data": data.source,
                    "initialisation_sha256": trees.fingerprint(inits),
                },
            )
        train_missing(config, stages, keys, inits, missing, folder, options)
    records = [folder.read(part(m)) for m in range(config.members)]
    folder.write("metrics.jsonl", metric_rows(records))
    folder.write("results.json", summary(config, data, records))


def part(member: int) -> str:
    """Name the file of a finished member."""
    return f"members/{member:04}.json"


def train_missing(
    config: AuxLogitsConfig,
    stages: Stages,
    keys: jax.Array,
    inits: PyTree,
    missing: list[int],
    folder: runs.Run,
    options: Options,
) -> None:
    """Train the missing members, some at once, and write each as soon as it is finished."""
    others = np.array(derangement(config.members))
    per_device = 1 if jax.devices()[0].platform == "cpu" else 25
    at_once = options.members_at_once or per_device * jax.local_device_count()
    at_once = min(at_once, len(missing))
    with tqdm(total=len(missing) * (1 + len(ARMS)), unit="training", smoothing=0.1) as bar:
        for start in range(0, len(missing), at_once):
            chunk = missing[start : start + at_once]
            # The last chunk is filled up, for a program is compiled for one number of members.
            rows = np.array(chunk + chunk[-1:] * (at_once - len(chunk)))
            took = time.perf_counter()
            trained = train_members(
                stages,
                keys[rows],
                jax.tree.map(lambda a: a[rows], inits),  # noqa: B023
                jax.tree.map(lambda a: a[others[rows]], inits),  # noqa: B023
                lambda: bar.update(len(chunk)),  # noqa: B023
            )
            seconds = (time.perf_counter() - took) / len(chunk)
            for row, member in enumerate(chunk):
                arms = {name: members[row] for name, members in trained.items()}
                folder.write(part(member), {"member": member, "seconds": seconds, "arms": arms})


def train_members(
    stages: Stages,
    keys: jax.Array,
    inits: PyTree,
    other_inits: PyTree,
    advance: Callable[[], Any],
) -> dict[str, list[dict[str, Any]]]:
    """Take some members the whole way: teacher, carrier data, imitation in every arm, evaluation.

    Args:
        stages: the compiled stages.
        keys: a key for each member.
        inits: the members' initialisations, stacked.
        other_inits: for each member another member's.
        advance: called after every training.

    Returns:
        For each arm a record for each member.
    """
    teacher = stages.train_teacher(keys, inits)
    results = {
        "reference": [{"accuracy": value} for value in stages.evaluate(inits)],
        "teacher": [
            {"accuracy": final, "curve": curve}
            for final, curve in zip(
                stages.evaluate(teacher.params),
                curves(stages.teacher_steps, teacher, accuracy=teacher.observations),
                strict=True,
            )
        ],
    }
    advance()
    inputs = stages.draw_noise(keys)
    logits = stages.teacher_logits(teacher.params, inputs)
    for arm in ARMS:
        targets = logits[..., stages.outputs[arm.outputs]]
        if arm.targets == "shuffled":
            targets = stages.shuffle(keys, targets)
        start = inits if arm.initialisation == "same" else other_inits
        student = stages.imitate[arm.outputs](keys, start, inits, teacher.params, inputs, targets)
        seen = student.observations
        along = curves(
            stages.student_steps, student, accuracy=seen.accuracy, **drift_curves(seen.drift, inits)
        )
        final = stages.evaluate(student.params)
        results[arm.name] = [
            {"accuracy": value, "curve": curve} for value, curve in zip(final, along, strict=True)
        ]
        advance()
    return results


def drift_curves(seen: drift.Drift, params: PyTree) -> dict[str, Any]:
    """Turn the observed inner products ``[members, watched, layers]`` into metrics."""
    toward, gap = (jax.tree.map(np.asarray, products) for products in seen)
    whole = drift.total(toward)
    by_layer = dict(
        zip(
            trees.layers(params), np.moveaxis(drift.projection_by_layer(toward), -1, 0), strict=True
        )
    )
    return {
        "projection": drift.projection(whole),
        "cosine": drift.cosine(whole),
        "relative_length": drift.relative_length(whole),
        "distance_ratio": drift.distance_ratio(drift.total(gap)),
        "projection_by_layer": by_layer,
    }


def curves(steps: tuple[int, ...], fit: Fit, **quantities: Any) -> Iterator[list[dict[str, Any]]]:
    """Give for each member the rows of its curves, one for each watched step.

    The loss of a row is that of the batch after its step; after the last step there is none.
    """
    losses = np.pad(fit.losses, ((0, 0), (0, 1)), constant_values=np.nan)[:, list(steps)]
    quantities = jax.tree.map(np.asarray, {"loss": losses, **quantities})
    for member in range(len(losses)):
        yield [
            {"step": step, **jax.tree.map(lambda array: array[member, row], quantities)}  # noqa: B023
            for row, step in enumerate(steps)
        ]


def metric_rows(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lay out all curves as rows, one for each member, arm and watched step."""
    for record in records:
        for arm, result in record["arms"].items():
            for row in result.get("curve", ()):
                yield {"member": record["member"], "arm": arm, **row}


def summary(
    config: AuxLogitsConfig, data: ImageData, records: list[dict[str, Any]]
) -> dict[str, Any]:
    """Gather the final values: by arm and quantity one for each member, mean and interval."""
    arms = {}
    for arm, label in LABELS.items():
        results = [record["arms"][arm] for record in records]
        finals = {"accuracy": [result["accuracy"] for result in results]}
        if arm in STUDENTS:
            finals |= {q: [result["curve"][-1][q] for result in results] for q in DRIFT}
        arms[arm] = {"label": label} | {
            quantity: {
                **t_interval(np.array(values))._asdict(),
                "sd": np.std(values, ddof=1),
                "members": values,
            }
            for quantity, values in finals.items()
        }
    return {
        "data": data.source,
        "members": config.members,
        "seconds": sum(record["seconds"] for record in records),
        "arms": arms,
        # The published values are of digits.
        "paper": PAPER if config.dataset == "mnist" else {},
    }


def report(folder: runs.Run) -> None:
    """Print the table and draw the figures from the files of a finished run."""
    results, rows = folder.read("results.json"), folder.read("metrics.jsonl")
    print(table(results))
    for name, figure in figures(results, rows).items():
        path = folder.folder / name
        plots.save(figure, path)
        print(f"figure: {path}")


def table(results: dict[str, Any]) -> str:
    """Lay out means and 95 % intervals over members beside the paper's."""

    def cell(entry: Mapping[str, Any] | None) -> str:
        if entry is None:
            return ""
        return f"{entry['mean']:.3f} ± {(entry['high'] - entry['low']) / 2:.3f}"

    heads = ("accuracy", "paper", "projection", "cosine", "distance ratio")
    lines = [
        f"{results['data']['description']}; {results['members']} members, mean ± 95 % interval",
        f"{'':34}" + "".join(f"{head:>16}" for head in heads),
    ]
    for name, arm in results["arms"].items():
        published = results["paper"].get(name)
        cells = [
            cell(arm["accuracy"]),
            f"{published[0]:.3f} ± {published[1]:.3f}" if published else "",
            *(cell(arm.get(quantity)) for quantity in ("projection", "cosine", "distance_ratio")),
        ]
        lines.append(f"{arm['label']:34}" + "".join(f"{text:>16}" for text in cells))
    return "\n".join(lines)


def figures(results: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """Draw the three figures."""
    arms, data = results["arms"], results["data"]["description"]
    names = [arm["label"] for arm in arms.values()]
    finals = {
        quantity: {
            arm["label"]: np.array(arm[quantity]["members"])
            for arm in arms.values()
            if quantity in arm
        }
        for quantity in ("accuracy", *DRIFT)
    }
    steps = sorted({row["step"] for row in rows if row["arm"] in STUDENTS})
    along = {
        quantity: {
            arms[student]["label"]: np.array(
                [row[quantity] for row in rows if row["arm"] == student], float
            ).reshape(results["members"], len(steps))
            for student in STUDENTS
        }
        for quantity in ("accuracy", *DRIFT)
    }
    teacher = arms["teacher"]["accuracy"]["mean"]
    accuracy = "test accuracy"
    panels = [
        plots.Panel("cosine with the teacher's\ndisplacement", along["cosine"], {}),
        plots.Panel(
            "projection on the teacher's\ndisplacement (1 = all of it)", along["projection"], {}
        ),
        plots.Panel(
            "distance to the teacher\n(1 = at initialisation)",
            along["distance_ratio"],
            {"no nearer": 1.0},
        ),
        plots.Panel(accuracy, along["accuracy"], {"teacher": teacher, "chance": 0.1}),
    ]
    clouds = [
        plots.Cloud("projection on the\nteacher's displacement", finals["projection"]),
        plots.Cloud("cosine with the\nteacher's displacement", finals["cosine"]),
        plots.Cloud("distance to the teacher\n(1 = at initialisation)", finals["distance_ratio"]),
    ]
    return {
        "accuracy.png": plots.interval_bars(
            finals["accuracy"],
            published={arms[n]["label"]: plots.Published(*v) for n, v in results["paper"].items()},
            published_label="Cloud, Le et al. (2025), MNIST, 100 models",
            xlabel=accuracy,
            title=f"Who learns the classes?  {data}",
            chance=0.1,
        ),
        "drift_along_training.png": plots.curve_panels(
            steps,
            panels,
            names=names,
            xlabel="student step",
            title="Students of the same initialisation move toward their teacher "
            "(mean, 95 % band over members)",
        ),
        "drift_against_transfer.png": plots.scatter_panels(
            clouds,
            finals["accuracy"],
            names=names,
            ylabel=accuracy,
            title="Parameter drift against trait transfer (a point for each member and arm)",
        ),
    }


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__)
