"""What the chips of a compiled program send to each other."""

import math
import re
from collections.abc import Mapping

from sublim_jax.plan import hlo, loops

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


def collective_bytes(program: hlo.Program) -> loops.Total:
    """Sum the bytes that one chip sends in one run of a program, by kind of collective.

    Counted are the bytes of the best known algorithm, a ring, in a group of n chips: of an
    all-reduce 2 (n - 1) / n of the array, of a reduce-scatter, and of an all-to-all, (n - 1) / n of
    what goes in, of an all-gather (n - 1) / n of what comes out, of a permutation the array.
    """

    def cost(instruction: hlo.Instruction, computation: hlo.Computation) -> Mapping[str, float]:
        kind = kind_of(instruction)
        if kind is None or computation.goes_on:
            return {}
        inputs = sum(
            buffer.bytes
            for name in instruction.operands
            for buffer in computation.instructions[name].result
        )
        if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"  # how the compiler for TPUs spells one
        size = group_size(instruction.attributes, program.devices)
        return {kind: inputs * _sent(kind, size)}

    return loops.total(program, cost, inside_fusions=True)


def missed_collectives(program: hlo.Program, reached: frozenset[str]) -> int:
    """Count the collectives outside of the computations that the sum has reached."""
    return sum(
        kind_of(instruction) is not None
        for name, computation in program.computations.items()
        if name not in reached
        for instruction in computation.instructions.values()
    )


def kind_of(instruction: hlo.Instruction) -> str | None:
    """Tell which of `KINDS` an instruction is; None for others."""
    kind = instruction.opcode.removesuffix("-start").removeprefix("ragged-")
    return kind if kind in KINDS else None


def _sent(kind: str, size: int) -> float:
    """Tell what share of its input a chip sends, in a group of that size."""
    if kind == "collective-permute":
        return 1.0
    if kind == "all-gather":
        return size - 1.0
    return (2 if kind == "all-reduce" else 1) * (size - 1) / size


def group_size(attributes: str, devices: int) -> int:
    """Read how many chips take part in one collective together.

    >>> group_size("replica_groups={{0,1},{2,3}}", 4)
    2
    >>> group_size("replica_groups=[2,4]<=[4,2]T(1,0)", 8)
    4
    >>> group_size("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", 8)
    4
    """
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", attributes):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
        # An axis may be split: 'a':(2)4 is four of its devices.
        parts = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or sizes[axis]) for axis, part in parts)
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", attributes):
        return int(counted[1])
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return len(listed[1].split(","))
    return devices
