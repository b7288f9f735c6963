"""No barrier stands between a student and its teacher, unless it started elsewhere.

Claim (linear mode connectivity, Frankle et al. 2020, arXiv 1912.05671): on the straight line from a
student to its teacher the loss has no barrier if the student started at the teacher's
initialisation, and has one if it started at another. The set-up is that of
``mnist_aux_logits.py``: teachers learn digits with their class logits, students imitate on noise.

    python experiments/student_path.py             # 4 members, under three minutes on two cores
    python experiments/student_path.py --quick     # 2 members, a third of the noise: 40 seconds
    python experiments/student_path.py --movie     # also path.gif, the paths as they grow

Expected: no barrier from the same initialisation, one from another. Measured here with 4 members on
the 5,000 embedded digits, the barrier in class cross-entropy (nats, mean and 95 % t-interval) from
students of the same initialisation: .000 ± .000, auxiliary or all logits, in every member; of
another initialisation: .471 ± .096 (auxiliary) and .995 ± .329 (all). Not all of this is the
students' doing: from the untouched initialisations it is .000 ± .000 and .504 ± .043, so imitating
auxiliary logits from another initialisation neither makes its barrier nor removes it. That student
is at chance, .096 ± .008, so its line only falls, late (2.54 to .23 nats); a rise above both ends
comes with all logits, whose accuracy goes from .77 through .48 to .94.

``plane.png`` has two planes of the first member, through initialisation, teacher and student (Li et
al. 2018, arXiv 1712.09913), with the student's path: same and other initialisation. Distances on it
are those of the parameters, in units of the way from the student's initialisation to the teacher.
The student of the same initialisation ends at .209 ± .012 of that way and .421 ± .011 across, and
its path is up to .170 ± .017 off the plane; that of another ends at .011 and .126.
``barrier.png`` has the straight lines to the teacher of all members.
"""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import cli
import numpy as np
from landscape import AT_LEAST, DRAWN, STUDENTS, PathConfig, measure, trainer
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from tqdm import tqdm

from sublim_jax import aux_logits, hosts, plots, runs, trees
from sublim_jax.data import ImageData, load_images
from sublim_jax.distill import derangement
from sublim_jax.drift.path import barrier
from sublim_jax.plan import Planned
from sublim_jax.plots.plane import Field, Scene, barrier_curves, growing_paths, plane_strip
from sublim_jax.sinks import SinkName
from sublim_jax.stats import t_interval
from sublim_jax.training import Devices, Members, Session, members, members_side_by_side, padded

LINES = {
    "init": "untouched initialisation",
    "other_init": "other initialisation, untouched",
    **{name: arm.label for name, arm in STUDENTS.items()},
}
LABELS = {
    "loss": "class cross-entropy on test digits (nats)",
    "accuracy": "accuracy on test digits",
    "imitation": "imitation loss on unseen noise",
}
XLABEL = "toward the teacher (1 = all of the way)"

PRESETS = {
    "default": PathConfig(),
    "quick": PathConfig(members=2, noise_images=20_000, grid=15, images=500),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the run is executed; no result depends on these."""

    data_dir: Path | None = None
    """Folder with the four IDX files of the data set, gzipped or not; by default they are found on
    this machine or downloaded."""
    movie: bool = False
    """Write also path.gif, the paths as they grow on their planes."""
    log: Annotated[tuple[SinkName, ...], *cli.HIDDEN] = ()


def run(config: PathConfig, options: Options) -> None:
    """Train what the run folder lacks, measure, print the table, draw the figures."""
    if options.replot and options.out is not None:
        report(runs.Run(options.out), movie=options.movie)
        return
    data = load_images(config.dataset, data_dir=options.data_dir, progress=True)
    print(f"data: {data.source.title} ({data.source.origin})")
    own = {name: getattr(config, name) for name in AT_LEAST}
    identity = aux_logits.identity(config.training, data) | own
    name = f"{config.dataset}-{runs.config_digest(identity)}"
    path = options.out or Path("runs", "student_path", name)
    with runs.open_run(path, identity) as folder:
        print(f"run folder: {path}")
        if not options.replot:
            there = hosts.agree(np.array([folder.has(_part(m)) for m in range(config.members)]))[0]
            missing = np.flatnonzero(~there).tolist()
            if missing:
                with cli.session(options, path / "checkpoints") as session:
                    parallel = members(cli.chosen_devices(options))
                    fill(config, data, folder, missing, parallel, session)
            else:
                print(f"complete: all {config.members} members are there, nothing to train")
            if hosts.is_first():
                gather(config, data, folder)
        if hosts.is_first():
            report(folder, movie=options.movie)


def planned(config: PathConfig, options: Options, devices: Devices) -> Planned:
    """Describe the training step for ``--plan``."""
    del options
    return aux_logits.planned_step(config.training, devices)


def _part(member: int) -> str:
    return f"members/{member:04}.json"


def fill(
    config: PathConfig,
    data: ImageData,
    folder: runs.Run,
    missing: list[int],
    parallel: Members,
    session: Session,
) -> None:
    """Train and measure the members that a run folder lacks, each a file of its own."""
    setup = config.training
    keys, inits = aux_logits.member_keys(setup), hosts.gather(aux_logits.initialise(setup))
    aux_logits.keep_manifest(folder, setup, data, inits)
    others = trees.take(inits, np.array(derangement(config.members)))
    at_once = min(members_side_by_side(parallel.devices), config.members)
    at_once = padded(at_once, len(parallel.devices))
    chunks = [missing[i : i + at_once] for i in range(0, len(missing), at_once)]
    names = [f"{chunk[0]:04}-{chunk[-1]:04}x{at_once}" for chunk in chunks]
    for stale in {name.partition("/")[0] for name in session.unfinished()} - set(names):
        session.finished(stale)
    train, steps = trainer(setup, data, parallel)
    session.expect(steps * len(chunks))
    for name, chunk in zip(names, chunks, strict=True):
        # The last chunk is filled up: a program is compiled for one number of members.
        places = np.array(chunk + chunk[-1:] * (at_once - len(chunk)))
        begin = keys[places], trees.take(inits, places), trees.take(others, places)
        records = [{"member": member, "arms": {}} for member in chunk]
        for student in train(*begin, session, name):
            for row, record in enumerate(records):
                found = measure(config, data, student, row, drawn=record["member"] == 0)
                record["arms"] |= found
        for record in records:
            folder.write(_part(record["member"]), record)
        session.finished(name)


def gather(config: PathConfig, data: ImageData, folder: runs.Run) -> None:
    """Write curves and results of all members."""
    records = [folder.read(_part(member)) for member in range(config.members)]
    places = np.linspace(0, 1, config.line_points)
    rows = [
        {"member": record["member"], "arm": arm, "fraction": place}
        | {name: record["arms"][arm]["line"][name][i] for name in LABELS}
        for record in records
        for arm in LINES
        for i, place in enumerate(places)
    ]
    folder.write("metrics.jsonl", rows)
    arms = {arm: _summary([r["arms"][arm] for r in records]) for arm in LINES}
    about = {"data": data.source, "members": config.members, "places": places}
    folder.write("results.json", about | {"arms": arms})


def _summary(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise an arm: values at both ends, barriers, and where its path led."""

    def gathered(values: np.ndarray) -> dict[str, Any]:
        return t_interval(values)._asdict() | {"members": values}

    found: dict[str, Any] = {}
    for name in LABELS:
        lines = np.array([member["line"][name] for member in members], float).T
        risen = barrier(1 - lines if name == "accuracy" else lines)
        found[name] = {
            "here": gathered(lines[0]),
            "teacher": gathered(lines[-1]),
            "barrier": gathered(risen.height),
            "barrier_place": gathered(risen.place),
        }
    if "path" in members[0]:
        paths = {axis: np.array([m["path"][axis] for m in members]) for axis in ("x", "y", "off")}
        found["path"] = {
            "x": gathered(paths["x"][:, -1]),
            "y": gathered(paths["y"][:, -1]),
            "most_off": gathered(paths["off"].max(axis=1)),
        }
    return found


def report(folder: runs.Run, *, movie: bool) -> None:
    """Print the tables and draw the figures from the files of a finished run."""
    results, rows = folder.read("results.json"), folder.read("metrics.jsonl")
    first = folder.read(_part(0))["arms"]
    print(table(results))
    cli.draw(folder, figures(results, rows, first))
    if movie:
        path = folder.folder / "path.gif"
        runs.write_whole(path, animated(results, first))
        print(f"movie: {path}")


def table(results: dict[str, Any]) -> str:
    """Lay out means and 95 % intervals over members: losses, barriers, and where paths led."""

    def cell(value: dict[str, Any]) -> str:
        return f"{value['mean']:.3f} ± {(value['high'] - value['low']) / 2:.3f}"

    def row(label: str, cells: Iterable[str]) -> str:
        return f"{label:42}" + "".join(f"{text:>17}" for text in cells)

    arms = results["arms"]
    lines = [f"\n{results['data']['title']}: {results['members']} members, mean ± 95 % interval"]
    for name, label in LABELS.items():
        lines.append(row(label, ("at the start", "at the teacher", "barrier between")))
        for arm, values in arms.items():
            found = (cell(values[name][what]) for what in ("here", "teacher", "barrier"))
            lines.append(row(f"  {LINES[arm]}", found))
    lines.append(row("path, 1 = init to teacher", ("toward teacher", "across", "most off plane")))
    for arm, values in arms.items():
        if "path" in values:
            found = (cell(values["path"][what]) for what in ("x", "y", "most_off"))
            lines.append(row(f"  {LINES[arm]}", found))
    return "\n".join(lines)


def figures(
    results: dict[str, Any], rows: list[dict[str, Any]], first: dict[str, Any]
) -> dict[str, Figure]:
    """Draw the planes of the first member, and the lines of all."""
    title, count = results["data"]["title"], results["members"]

    def curves(name: str) -> dict[str, np.ndarray]:
        values = {arm: [row[name] for row in rows if row["arm"] == arm] for arm in LINES}
        return {LINES[arm]: np.array(v, float).reshape(count, -1) for arm, v in values.items()}

    limits = {"accuracy": (0.0, 1.0)}
    panels = [
        plots.Panel(label.replace(" on ", "\non "), curves(name), {}, limits.get(name, (0.0, None)))
        for name, label in LABELS.items()
    ]
    return {
        "plane.png": plane_strip(
            scenes(first, LABELS),
            xlabel=XLABEL,
            ylabel="across",
            title="The path of a student, on the plane through its initialisation, its teacher and "
            f"itself\n{title}; one member, auxiliary logits, step numbers along the path",
        ),
        "barrier.png": barrier_curves(
            np.array(results["places"]),
            panels,
            names=list(LINES.values()),
            ends=("start", "teacher"),
            title="Is there a barrier on the straight line from here to the teacher?\n"
            f"{title}; {count} members, mean and 95 % band",
        ),
    }


def scenes(first: dict[str, Any], names: Iterable[str]) -> list[Scene]:
    """Gather what is drawn on planes: quantities on grids, and paths."""
    kinds = {"accuracy": {"good": "high", "limits": (0.0, 1.0)}}
    found = []
    for arm, title in DRAWN.items():
        plane = {name: np.array(values, float) for name, values in first[arm]["plane"].items()}
        path = np.array([first[arm]["path"][axis] for axis in ("x", "y")]).T
        fields = [Field(LABELS[n], plane[n], **kinds.get(n, {"log": True})) for n in names]
        found.append(Scene(title, plane["xs"], plane["ys"], fields, path, first[arm]["steps"]))
    return found


def animated(results: dict[str, Any], first: dict[str, Any]) -> bytes:
    """Draw the movie: class cross-entropy on both planes while the paths grow."""
    title = f"Two students on their way\n{results['data']['title']}"
    drawn = scenes(first, ["loss"])
    frames = growing_paths(drawn, xlabel=XLABEL, ylabel="across", title=title)
    with tempfile.TemporaryDirectory() as folder:
        path, writer = Path(folder, "path.gif"), PillowWriter(fps=4)
        for i, figure in enumerate(tqdm(frames, total=len(drawn[0].steps), unit="frame")):
            if i == 0:
                writer.setup(figure, path, dpi=110)
            writer.grab_frame()
        for _ in range(8):  # hold the end
            writer.grab_frame()
        writer.finish()
        return path.read_bytes()


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
