"""Plans as text for the terminal."""

import textwrap
from collections.abc import Iterable

from sublim_jax.plan.advice import size
from sublim_jax.plan.report import Plan
from sublim_jax.plan.stages import RunPlan, StagePlan

LEGEND = """\
All numbers are of one step and one device. FLOPs: two for each multiply-add of a matrix product or
convolution, spread evenly over the devices; the peak is the chip's in bfloat16. Memory traffic and
collectives: those of the compiled program, loops times their length, what stays in the chip's
vector memory not counted; a collective sends what a ring of chips does, over all links together.
A real step takes longer than the bound."""

LEGEND_OF_RUNS = """\
A chip: all that it has to hold while a step runs. A step: the slowest of its FLOPs at the chip's
peak in bfloat16, its memory traffic and what it sends to other chips, each as in the plan of a
single step. Hours are the wall time of all steps, one after another. All times are lower bounds:
real steps take longer, and what stands between them comes on top."""

WIDTH = 100
HEAD = ("stage", "a chip", "fits", "a step", "bound by", "steps", "FLOPs", "hours", "chip-hours")
WIDTHS = (20, 9, 5, 9, 9, 13, 12, 9, 12)
Row = tuple[str, str, str]
BLANK = ("", "", "")


def table(plan: Plan) -> str:
    """Lay out a plan, a quantity a line, with what follows from it for memory and time."""
    rows = [*_machine(plan), BLANK, *_memory(plan), BLANK, *_speed(plan)]
    lines = [f"{name:<24}{amount:>12}  {remark}".rstrip() for name, amount, remark in rows]
    if plan.advice:
        lines += ["", *textwrap.wrap(f"To make it fit: {plan.advice}.", WIDTH)]
    for note in plan.notes:
        lines += ["", *textwrap.wrap(f"Note: {note}.", WIDTH)]
    return "\n".join([f"Plan for {plan.topology}", *lines, "", LEGEND])


def run_table(run: RunPlan) -> str:
    """Lay out the plan of a run, a stage a line, with its totals and what they assume."""
    plan = run.stages[0].plan
    hosts = "1 host" if plan.hosts == 1 else f"{plan.hosts} hosts"
    seconds = sum(stage.plan.compile_seconds for stage in run.stages)
    verdict = {True: "yes", False: "NO", None: "?"}
    whole = ("whole run", "", verdict[run.fits], "", "", "", _flops(run.flops))
    lines = [
        f"Plan for {plan.topology}: {plan.devices} {plan.chip} on {hosts}, mesh {_mesh(plan)}; "
        f"compiled in {_seconds(seconds)}",
        "",
        _line(HEAD),
        *(_line(_stage(stage, verdict[stage.plan.fits])) for stage in run.stages),
        _line((*whole, _hours(run.hours), _hours(run.chip_hours))),
    ]
    if plan.memory_bytes is not None:
        lines += ["", f"A chip has {size(plan.memory_bytes)}."]
    if plan.peak_flops is None:
        lines += ["The speed of these devices is not known: divide FLOPs by theirs."]
    for stage in run.stages:
        if stage.plan.advice:
            lines += ["", *textwrap.wrap(f"To make {stage.name} fit: {stage.plan.advice}.", WIDTH)]
    for note in dict.fromkeys((*run.notes, *_notes_of_stages(run.stages))):
        lines += ["", *textwrap.wrap(f"Note: {note}.", WIDTH)]
    return "\n".join([*lines, "", LEGEND_OF_RUNS])


def _stage(stage: StagePlan, verdict: str) -> tuple[str, ...]:
    plan = stage.plan
    step = "-" if plan.step_seconds is None else _seconds(plan.step_seconds)
    return (
        stage.name,
        _size(plan.total_bytes),
        verdict,
        step,
        plan.bound or "-",
        f"{stage.times:,}",
        _flops(stage.flops),
        _hours(stage.hours),
        _hours(stage.chip_hours),
    )


def _line(cells: Iterable[str]) -> str:
    first, *rest = zip(cells, WIDTHS, strict=True)
    return (
        f"{first[0]:<{first[1]}}" + "".join(f" {cell:>{width - 1}}" for cell, width in rest)
    ).rstrip()


def _notes_of_stages(stages: Iterable[StagePlan]) -> list[str]:
    return [f"{stage.name}: {note}" for stage in stages for note in stage.plan.notes]


def _hours(hours: float | None) -> str:
    if hours is None:
        return "-"
    return "<0.01" if 0 < hours < 0.005 else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2f}"


def _mesh(plan: Plan) -> str:
    return ", ".join(f"{name} {axis}" for name, axis in plan.mesh.items())


def _machine(plan: Plan) -> list[Row]:
    halves = "" if plan.chips == plan.devices else f", {plan.devices // plan.chips} to a chip"
    return [
        ("devices", str(plan.devices), f"{plan.chip}{halves}"),
        ("hosts", str(plan.hosts), ""),
        ("mesh", "", _mesh(plan)),
        ("rows per step", f"{plan.batch_size:,}", ""),
        ("compiled in", _seconds(plan.compile_seconds), "on this machine"),
    ]


def _memory(plan: Plan) -> list[Row]:
    verdict = {True: "fits", False: "DOES NOT FIT", None: "it is not known whether it fits"}
    has = "" if plan.memory_bytes is None else f"of {size(plan.memory_bytes)}: "
    temporaries = "activations, gradients"
    if plan.other_bytes is None:
        temporaries += " and all else"
    return [
        ("memory", "", ""),
        ("  parameters", size(plan.parameter_bytes), ""),
        ("  optimizer state", size(plan.optimizer_bytes), ""),
        ("  data", size(plan.data_bytes), "all other arguments"),
        ("  temporaries", _size(plan.temporary_bytes), temporaries),
        ("  other", _size(plan.other_bytes), "new results, padding, the program"),
        *([("  beside", size(plan.beside_bytes), "not touched")] if plan.beside_bytes else []),
        ("  total", _size(plan.total_bytes), has + verdict[plan.fits]),
    ]


def _speed(plan: Plan) -> list[Row]:
    kinds = sorted((plan.collective_bytes or {}).items())
    step, share = plan.step_seconds, plan.peak_share
    rows = [
        ("speed", "", ""),
        ("  FLOPs", _flops(plan.flops), _at("compute", plan, _flops(plan.peak_flops))),
        ("  memory traffic", _size(plan.traffic_bytes), _at("memory", plan, _rate(plan.bandwidth))),
        ("  collectives", _size(plan.sent_bytes), _at("network", plan, _rate(plan.network))),
        *((f"    {kind}", size(amount), "") for kind, amount in kinds),
    ]
    if step is None or share is None:
        return [*rows, ("  step", "-", ""), ("  share of peak", "-", "")]
    most = f", at most {plan.batch_size / step:,.0f} rows/s" if step else ""
    return [
        *rows,
        ("  step", _seconds(step), f"at least, bound by {plan.bound}{most}"),
        ("  share of peak", f"{share:.2%}", "at most"),
    ]


def _at(resource: str, plan: Plan, rate: str) -> str:
    seconds = plan.bounds[resource]
    return "" if seconds is None else f"{_seconds(seconds)} at {rate}/s"


def _size(count: float | None) -> str:
    return "-" if count is None else size(count)


def _rate(bandwidth: float | None) -> str:
    return f"{(bandwidth or 0) / 1e9:.0f} GB"


def _flops(count: float | None) -> str:
    if count is None:
        return "-"
    for unit, name in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= unit:
            return f"{count / unit:.1f} {name}FLOP"
    return f"{count:.0f} FLOP"


def _seconds(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds * 1e9:.0f} ns"
