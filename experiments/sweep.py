"""Many runs of one experiment: every combination of some values of its options.

    python experiments/sweep.py mnist_aux_logits --vary student_lr=1e-4,3e-4 aux=3,10 --members 4
    python experiments/sweep.py mnist_aux_logits --vary ... --dry-run          # how many, of what
    python experiments/sweep.py mnist_aux_logits --vary ... --engine array     # in an array job
    python experiments/sweep.py mnist_aux_logits --vary ... --engine ray       # extra [ray]
    python experiments/sweep.py mnist_aux_logits --collect --out FOLDER        # the table alone

Configurations that differ in nothing that a compiled program depends on train side by side, as one
unit of work. Each has a run folder of its own in the sweep's folder; finished ones are skipped, so
the same command continues, and one with more values extends. One that fails is reported and does
not stop the others; the exit status is then 1. However it was executed, results.csv has a row for
each member of each finished configuration in the folder. What a sweep costs is the sum of its runs.
"""

import contextlib
import dataclasses
import functools
import importlib
import io
import os
import shutil
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import jax
import tyro

from sublim_jax import hosts, runs
from sublim_jax.errors import InputError
from sublim_jax.sinks import SinkName
from sublim_jax.sweep import (
    Outcome,
    Point,
    Sweep,
    Sweepable,
    Task,
    Unit,
    announced_task,
    grid,
    on_ray,
    serial,
    share,
    write_table,
)
from sublim_jax.sweep.table import cell, means

TABLE = "results.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(cli.Options):
    """How the sweep is executed; no result depends on these."""

    vary: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="FIELD=V1,V2,..."),
    ] = ()
    """Options of the experiment and their values, of which all combinations are run; sequences are
    written 64x64, an empty one ()."""
    out: Path | None = None
    """Folder of the sweep, with a run folder for each configuration; by default one below runs/
    that is named after the experiment and the grid."""
    engine: Literal["serial", "array", "ray"] = "serial"
    """In this process one after another; as one task of an array job (SLURM, PBS, Grid Engine, LSF,
    Kubernetes, AWS Batch), which takes its share; or side by side on Ray (extra [ray])."""
    index: int | None = None
    """With engine array: which task this is, from 0, where the environment does not tell."""
    count: int | None = None
    """With engine array: how many tasks there are. Where nothing tells, there is a task for each
    unit; --dry-run says how many units there are."""
    ray_address: str = "local"
    """With engine ray: auto or an address for a cluster that is there; by default Ray starts one on
    this machine."""
    cpus_per_task: float = 1.0
    """With engine ray: cores that a unit takes."""
    gpus_per_task: float | None = None
    """With engine ray: GPUs that a unit takes; by default one, if there are any."""
    collect: bool = False
    """Only write results.csv again from what is finished in the folder."""
    dry_run: bool = False
    """Only say which configurations there are, and which of them are finished."""
    show: tuple[str, ...] = ()
    """Columns of results.csv whose means are printed at the end, such as '*.accuracy'; by default
    as many as fit."""
    replot: Annotated[bool, *cli.HIDDEN] = False
    plan: Annotated[str | None, *cli.HIDDEN] = None
    log: Annotated[tuple[SinkName, ...], *cli.HIDDEN] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("index", "count"):
            if getattr(self, name) is not None and self.engine != "array":
                raise InputError(f"{name} is {getattr(self, name)}; expected it with engine array")
        if not self.cpus_per_task > 0:
            raise InputError(f"cpus_per_task is {self.cpus_per_task}; expected a positive number")
        if self.gpus_per_task is not None and not self.gpus_per_task >= 0:
            raise InputError(f"gpus_per_task is {self.gpus_per_task}; expected at least 0")


def main() -> None:
    """Find the experiment, parse its options and those of a sweep, run it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(f"usage: {Path(sys.argv[0]).name} EXPERIMENT [OPTIONS]\n\n{__doc__}")
        print(f"Experiments: {', '.join(experiments())}; EXPERIMENT --help explains all options.")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    try:
        experiment = load(Path(name).stem)
    except InputError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    options = dataclasses.make_dataclass(
        "SweepOptions", [], bases=(Options, experiment.Options), frozen=True, kw_only=True
    )
    parsed = cli.parse(experiment.PRESETS, options(), __doc__)
    alone(parsed.options)
    cli.guarded(functools.partial(run, experiment), parsed.config, parsed.options)


def experiments() -> list[str]:
    """Name the experiments beside this file that can be swept over."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if "\nSWEEP = " in file.read_text()]


def load(name: str) -> types.ModuleType:
    """Import an experiment: a module with PRESETS, Options and SWEEP, options to a `Sweepable`."""
    try:
        module = importlib.import_module(name)
    except ImportError as fault:
        if fault.name != name:
            raise
        module = None
    if not hasattr(module, "SWEEP"):
        raise InputError(f"experiment is {name}; expected one of {', '.join(experiments())}")
    return typing.cast(types.ModuleType, module)


def alone(options: Options) -> None:
    """Keep this process from taking what other processes need."""
    if options.engine == "ray":
        # The devices are for the tasks, which are processes of their own.
        jax.config.update("jax_platforms", "cpu")
    if options.engine == "array" and "JOB_COMPLETION_INDEX" in os.environ:
        # JAX would take the pods of the job for the hosts of one run.
        os.environ.pop("KUBERNETES_SERVICE_HOST", None)


def run(experiment: types.ModuleType, config: Any, options: Options) -> None:
    """Run what is not finished, write the table, say what came of it."""
    name = experiment.__name__
    values = read_vary(type(config), [word for words in options.vary for word in words])
    sweep = Sweep(sweepable(experiment, options), folder_of(name, config, values, options))
    if options.collect:
        if not sweep.grids(name):
            raise InputError(f"out is {sweep.folder}; expected the folder of a sweep")
        report(sweep, sweep.table(), options.show)
        return
    if not values:
        raise InputError("vary is empty; expected FIELD=V1,V2,...")
    units = sweep.units(grid(config, values))
    points = [point for unit in units for point in unit]
    print(f"{len(points)} configurations in {len(units)} units; sweep folder: {sweep.folder}")
    if options.dry_run:
        preview(sweep, units, values)
        return
    units = chosen(units, options)
    sweep.claim(name, config, values)
    failed = execute(sweep, units, values, options)
    if hosts.is_first():
        ours = {point.folder.name for point in points}
        rows = sweep.table()
        report(sweep, rows, options.show, [row for row in rows if row["run"] in ours])
    if failed:
        told(failed, sweep, values)


def sweepable(experiment: types.ModuleType, options: Options) -> Sweepable[Any]:
    """Give the experiment its own options, without those of the sweep."""
    names = [field.name for field in dataclasses.fields(experiment.Options) if field.init]
    return experiment.SWEEP(
        experiment.Options(**{name: getattr(options, name) for name in names}),
    )


def read_vary(config: type, words: Sequence[str]) -> dict[str, list[Any]]:
    """Parse ``FIELD=V1,V2,...`` to values of the field's type, by the name of the field.

    Raises:
        InputError: a field is unknown, or given twice, or a value is missing, given twice or no
            value of the type.
    """
    types_by_name = typing.get_type_hints(config)
    fields = [field.name for field in dataclasses.fields(config) if field.init]
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise InputError(f"vary is {word}; expected FIELD=V1,V2,...")
        if name not in fields:
            raise InputError(f"vary names {name}; expected one of {', '.join(fields)}")
        if name in found:
            raise InputError(f"vary names {name} twice; expected all of its values at once")
        found[name] = []
        for item in text.split(","):
            value = read_value(name, types_by_name[name], item.strip())
            if value in found[name]:
                raise InputError(f"vary has {item.strip()} twice for {name}; expected each once")
            found[name].append(value)
    return found


def read_value(name: str, kind: Any, text: str) -> Any:
    """Parse a value as the option of the experiment would be parsed."""
    kinds = (kind, *typing.get_args(kind))
    if any(typing.get_origin(one) is tuple for one in kinds) and text not in ("", "None"):
        arguments = ["--value", *([] if text == "()" else text.split("x"))]
    else:
        known = {"true": "True", "false": "False"} if bool in kinds else {}
        arguments = [f"--value={known.get(text, text)}"]
    target = dataclasses.make_dataclass("Value", [("value", kind)])
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            conversion = (tyro.conf.FlagConversionOff,)
            return tyro.cli(target, args=arguments, config=conversion).value  # pyright: ignore
    except SystemExit:
        wanted = getattr(kind, "__name__", None) if isinstance(kind, type) else None
        raise InputError(
            f"vary has {text or 'an empty value'} for {name}; expected {wanted or kind}".replace(
                "typing.", ""
            )
        ) from None


def folder_of(
    name: str, config: Any, values: Mapping[str, Sequence[Any]], options: Options
) -> Path:
    """Say where the sweep is kept."""
    if options.out is None and options.collect and not values:
        raise InputError("out is not given; expected the folder to collect from")
    digest = runs.config_digest({"base": config, "vary": values})
    return options.out or Path("runs", "sweep", f"{name}-{digest}")


def chosen(units: list[Unit[Any]], options: Options) -> list[Unit[Any]]:
    """Take the units of this process: all, or its share of an array job."""
    if options.engine != "array":
        return units
    index, count = options.index, options.count
    if index is None:
        task = announced_task(os.environ)
        index, count = task.index, count if count is not None else task.count
    taken = share(units, Task(index, count))
    print(f"task {index} of {len(units) if count is None else count}: {len(taken)} units")
    return taken


def execute(
    sweep: Sweep[Any],
    units: list[Unit[Any]],
    values: Mapping[str, Sequence[Any]],
    options: Options,
) -> list[Outcome[Any]]:
    """Run the units that are not finished, telling of each configuration; return what failed."""
    finished, rest = sweep.pending(units)
    if finished:
        print(f"{len(finished)} of {sum(map(len, units))} configurations are finished: skipped")
    failed, came = [], len(finished)
    for outcome in engine(sweep, rest, options) if rest else ():
        came += 1
        said = f"{outcome.status} {described(outcome.point, values)}"
        why = f": {outcome.reason}" * bool(outcome.reason)
        print(f"{came} of {sum(map(len, units))} configurations: {said}{why}", flush=True)
        if outcome.status == "failed":
            failed.append(outcome)
    return failed


def engine(sweep: Sweep[Any], units: list[Unit[Any]], options: Options) -> Iterator[Outcome[Any]]:
    """Run units as the options say."""
    if options.engine != "ray":
        return serial(units, sweep.run)
    if jax.process_count() > 1:
        raise InputError("engine is ray on several hosts; expected one process: Ray finds the rest")
    # Processes of Ray may start elsewhere.
    sweep = dataclasses.replace(sweep, folder=sweep.folder.absolute())
    units = [
        tuple(dataclasses.replace(point, folder=point.folder.absolute()) for point in unit)
        for unit in units
    ]
    return on_ray(
        units,
        functools.partial(in_process_of_its_own, sweep, options.devices),
        address=options.ray_address,
        num_cpus=options.cpus_per_task,
        num_gpus=options.gpus_per_task,
    )


def in_process_of_its_own(sweep: Sweep[Any], devices: int | None, unit: Unit[Any]) -> None:
    """Run a unit where `cli.guarded` has prepared nothing."""
    if devices is not None:
        jax.config.update("jax_num_cpu_devices", devices)
    sweep.run(unit)


def described(point: Point[Any], values: Iterable[str]) -> str:
    """Name a configuration by its folder and what varies."""
    varied = (f"{name}={cell(getattr(point.config, name)) or None}" for name in values)
    return " ".join((point.folder.name, *varied))


def preview(sweep: Sweep[Any], units: list[Unit[Any]], values: Iterable[str]) -> None:
    """Print the configurations unit by unit."""
    done = {point.folder for point in sweep.pending(units)[0]}
    for number, unit in enumerate(units):
        print(f"unit {number}:")
        for point in unit:
            print(f"    {described(point, values)}" + " (finished)" * (point.folder in done))


def told(failed: list[Outcome[Any]], sweep: Sweep[Any], values: Iterable[str]) -> None:
    """Say at the end what has failed, and leave with status 1."""
    for outcome in failed:
        print(f"failed: {described(outcome.point, values)}: {outcome.reason}", file=sys.stderr)
    where = sweep.folder / "failures"
    traces = f"; tracebacks: {where}" if where.exists() else ""
    print(
        f"error: {len(failed)} configurations failed; the same command tries them again{traces}",
        file=sys.stderr,
        flush=True,
    )
    sys.exit(1)


def report(
    sweep: Sweep[Any],
    rows: list[dict[str, Any]],
    show: Sequence[str],
    ours: list[dict[str, Any]] | None = None,
) -> None:
    """Write the table of all rows, print the means of ours."""
    write_table(sweep.folder / TABLE, rows)
    width = shutil.get_terminal_size((100, 24)).columns
    print(means(rows if ours is None else ours, show=show, width=width))
    print(f"table: {sweep.folder / TABLE} ({len(rows)} rows)")


if __name__ == "__main__":
    main()
