"""Sums over what a device executes of a compiled program, loops times their length.

What a program costs is summed over its instructions, those in the body of a loop as many times as
it turns. XLA's own ``cost_analysis`` counts such a body once.
"""

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sublim_jax.plan import hlo

CALLS = frozenset(("call", "call-start", "async-start"))


class Total(NamedTuple):
    """A sum over a program.

    Attributes:
        counts: amounts by kind.
        unknown_loops: how many loops were counted once for want of a number.
        reached: names of the computations that were looked at.
    """

    counts: Mapping[str, float]
    unknown_loops: int
    reached: frozenset[str]


Cost = Callable[[hlo.Instruction, hlo.Computation], Mapping[str, float]]


def total(program: hlo.Program, cost: Cost, *, inside_fusions: bool = False) -> Total:
    """Sum a cost over all instructions that one device executes in one run of the program.

    The body of a loop counts as many times as it turns where the program says so, else once; of
    the branches of a condition the most expensive one counts.

    Args:
        program: as compiled.
        cost: amounts by kind, of one execution of one instruction.
        inside_fusions: whether to look into fusions, too, or take each as one instruction.
    """
    unknown: set[tuple[str, str]] = set()
    reached: set[str] = set()

    @functools.cache
    def of(name: str) -> Counter[str]:
        reached.add(name)
        computation, counts = program.computations[name], Counter[str]()
        for each in computation.instructions.values():
            _add(counts, inner(each, computation), 1)
            _add(counts, cost(each, computation), 1)
        return counts

    def inner(each: hlo.Instruction, computation: hlo.Computation) -> Counter[str]:
        counts = Counter[str]()
        if each.opcode == "while":
            turns = trip_count(program, each, computation)
            if turns is None:
                unknown.add((computation.name, each.name))
            for name in each.named("body") + each.named("condition"):
                _add(counts, of(name), 1 if turns is None else turns)
        elif each.opcode == "conditional":
            branches = each.named("branch_computations") or (
                each.named("true_computation") + each.named("false_computation")
            )
            counts = max(map(of, branches), key=lambda branch: sum(branch.values()))
        elif each.opcode in CALLS or (each.opcode == "fusion" and inside_fusions):
            for name in each.named("calls") or each.named("to_apply"):
                _add(counts, of(name), 1)
        return counts

    return Total(dict(of(program.entry)), len(unknown), frozenset(reached))


def one_turn(program: hlo.Program) -> hlo.Program:
    """Give a program that is one turn of the loop whose length is an argument of this one.

    Raises:
        LookupError: the program has no such loop, or several.
    """
    loops = [
        each
        for computation in program.computations.values()
        for each in computation.instructions.values()
        if each.opcode == "while" and trip_count(program, each, computation) is None
    ]
    if len(loops) != 1:
        raise LookupError(f"{len(loops)} loops of unknown length; expected one")
    return dataclasses.replace(program, entry=loops[0].named("body")[0])


def _add(counts: Counter[str], more: Mapping[str, float], times: int) -> None:
    for kind, amount in more.items():
        counts[kind] += times * amount  # pyright: ignore[reportArgumentType] (amounts are floats)


def trip_count(
    program: hlo.Program, loop: hlo.Instruction, computation: hlo.Computation
) -> int | None:
    """Tell how often a loop turns, or None where it cannot be read off the program.

    Compilers for CPUs and GPUs write the number down; that for TPUs does not, so the loop is read:
    a counter of constant start and step that is compared with a constant.
    """
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(noted[1])
    condition = program.computations[loop.named("condition")[0]]
    body = program.computations[loop.named("body")[0]]
    start_tuple = computation.instructions[loop.operands[0]]
    compared = _comparison(program, condition)
    if compared is None or start_tuple.opcode != "tuple":
        return None
    counter, bound = (_source(condition, name) for name in compared)
    index, step = _index(counter), None
    if index is None:
        return None
    following = _source(body, body.instructions[body.root].operands[index])
    if following.opcode == "add":
        parts = [_source(body, name) for name in following.operands]
        steps = [part for part in parts if _index(part) != index]
        step = _integer(steps[0], start_tuple, computation) if len(steps) == 1 else None
    start = _integer(counter, start_tuple, computation)
    stop = _integer(bound, start_tuple, computation)
    if start is None or stop is None or not step or step < 0:
        return None
    return max(0, math.ceil((stop - start) / step))


def _comparison(program: hlo.Program, condition: hlo.Computation) -> tuple[str, ...] | None:
    """Give the two names in ``a < b``, which ends the condition as it is or as a fusion."""
    last = condition.instructions[condition.root]
    if last.opcode == "fusion":
        fused = program.computations[last.named("calls")[0]]
        inner = fused.instructions[fused.root]
        inputs = [_source(fused, name) for name in inner.operands]
        if any(each.opcode != "parameter" for each in inputs):
            return None
        names = tuple(last.operands[int(each.inputs)] for each in inputs)
    else:
        inner, names = last, last.operands
    less = inner.opcode == "compare" and "direction=LT" in inner.attributes
    return names if less and len(names) == 2 else None


def _source(computation: hlo.Computation, name: str) -> hlo.Instruction:
    """Follow copies back to what they copy."""
    found = computation.instructions[name]
    while found.opcode in ("copy", "bitcast", "convert", "copy-start", "copy-done"):
        found = computation.instructions[found.operands[0]]
    return found


def _index(source: hlo.Instruction) -> int | None:
    """Tell which element of the state of the loop an instruction reads."""
    return int(source.named("index")[0]) if source.opcode == "get-tuple-element" else None


def _integer(
    source: hlo.Instruction, start: hlo.Instruction, outside: hlo.Computation
) -> int | None:
    """Give the integer that an instruction in a loop has at its start, if it is a constant."""
    index = _index(source)
    if index is not None:
        source = _source(outside, start.operands[index])
    literal = source.opcode == "constant" and re.fullmatch(r"-?\d+", source.inputs)
    return int(source.inputs) if literal else None
