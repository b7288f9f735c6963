"""A plan as text for the terminal."""

import textwrap

from sublim_jax.plan.advice import size
from sublim_jax.plan.report import Plan

LEGEND = """\
All numbers are of one step and one device. FLOPs: two for each multiply-add of a matrix product or
convolution, spread evenly over the devices; the peak is the chip's in bfloat16. Memory traffic and
collectives: those of the compiled program, loops times their length, what stays in the chip's
vector memory not counted; a collective sends what a ring of chips does, over all links together.
A real step takes longer than the bound."""

WIDTH = 100
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


def _machine(plan: Plan) -> list[Row]:
    halves = "" if plan.chips == plan.devices else f", {plan.devices // plan.chips} to a chip"
    return [
        ("devices", str(plan.devices), f"{plan.chip}{halves}"),
        ("hosts", str(plan.hosts), ""),
        ("mesh", "", ", ".join(f"{name} {axis}" for name, axis in plan.mesh.items())),
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
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= unit:
            return f"{count / unit:.1f} {name}FLOP"
    return f"{count:.0f} FLOP"


def _seconds(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds * 1e9:.0f} ns"
