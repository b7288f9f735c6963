"""What a compiled program reads from and writes to the main memory of a chip (HBM on a TPU)."""

from collections.abc import Iterator, Mapping

from sublim_jax.plan import hlo, loops
from sublim_jax.plan.collectives import kind_of

FREE = frozenset(
    [
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "while",
        "conditional",
        "call",
        "call-start",
        "async-start",
        "optimization-barrier",
    ]
)
SLICES = frozenset(("slice", "dynamic-slice", "gather"))
KEY = "bytes"


def traffic_bytes(program: hlo.Program) -> loops.Total:
    """Sum the bytes that one chip reads and writes in one run of a program.

    Every instruction, and every fusion as a whole, reads its operands and writes its result once;
    of what it only takes a slice from, or updates in place, the slice counts. Arrays that the
    compiler keeps in the chip's own vector memory, and padding, do not count. The result has one
    kind, ``bytes``.
    """

    def cost(instruction: hlo.Instruction, computation: hlo.Computation) -> Mapping[str, float]:
        return {KEY: _moved(program, instruction, computation)}

    return loops.total(program, cost)


def _moved(program: hlo.Program, each: hlo.Instruction, computation: hlo.Computation) -> int:
    if each.opcode in FREE or each.opcode.endswith("-done"):
        return 0
    if each.opcode == "custom-call" and any(
        target in each.attributes for target in ('"AllocateBuffer"', '"ConcatBitcast"')
    ):
        return 0
    inputs = [computation.instructions[name].result for name in each.operands]
    if each.opcode == "slice-start":  # results: what it came from, the slice, a signal
        moved = each.result[1]
        return _in_memory((moved,)) + moved.bytes * _there(inputs[0])
    if each.opcode.endswith("-start"):
        return sum(map(_in_memory, inputs)) + _in_memory(_arriving(each))
    if each.opcode == "fusion":
        fused = program.computations[each.named("calls")[0]]
        reads = (
            min(_in_memory(buffers), _read(program, fused, fused.parameter(i)))
            for i, buffers in enumerate(inputs)
        )
        written = zip(each.result, _written(program, fused), strict=True)
        return sum(reads) + sum(size for buffer, size in written if buffer.space == 0)
    if each.opcode in SLICES:
        taken = sum(buffer.bytes for buffer in each.result)
        return (
            _in_memory(each.result) + taken * _there(inputs[0]) + sum(map(_in_memory, inputs[1:]))
        )
    if each.opcode in ("dynamic-update-slice", "scatter"):
        update = inputs[1 if each.opcode == "dynamic-update-slice" else -1]
        written = sum(buffer.bytes for buffer in update) * _there(each.result)
        return sum(map(_in_memory, inputs[1:])) + written
    return sum(map(_in_memory, inputs)) + _in_memory(each.result)


def _in_memory(buffers: tuple[hlo.Buffer, ...]) -> int:
    return sum(buffer.bytes for buffer in buffers if buffer.space == 0)


def _there(buffers: tuple[hlo.Buffer, ...]) -> bool:
    return bool(buffers) and buffers[0].space == 0


def _arriving(start: hlo.Instruction) -> tuple[hlo.Buffer, ...]:
    """Give what an asynchronous instruction fills; its results name its operands again, too."""
    if start.opcode == "copy-start":
        return start.result[:1]
    if start.opcode == "all-reduce-start":
        return start.result
    count = len(start.operands)
    return start.result[count : 2 * count]


def _read(program: hlo.Program, fused: hlo.Computation, parameter: hlo.Instruction) -> int:
    """Tell how many bytes of a parameter the instructions of a fusion take."""
    most = sum(buffer.bytes for buffer in parameter.result)
    taken = 0
    for user in fused.instructions.values():
        for place, name in enumerate(user.operands):
            if name != parameter.name:
                continue
            if user.opcode == "bitcast":
                taken += _read(program, fused, user)
            elif user.opcode == "fusion":
                inner = program.computations[user.named("calls")[0]]
                taken += _read(program, inner, inner.parameter(place))
            elif user.opcode in SLICES and place == 0:
                taken += sum(buffer.bytes for buffer in user.result)
            elif not (user.opcode == "dynamic-update-slice" and place == 0) and not (
                fused.goes_on and _passes(user)
            ):
                return most
    return min(taken, most)


def _passes(each: hlo.Instruction) -> bool:
    """Whether an instruction belongs to a collective whose bytes were counted where it began."""
    return each.opcode in ("tuple", "custom-call") or kind_of(each) is not None


def _written(program: hlo.Program, fused: hlo.Computation) -> Iterator[int]:
    """Tell how many bytes of each of its results a fusion writes."""
    root = fused.instructions[fused.root]
    names = root.operands if root.opcode == "tuple" else (root.name,)
    for name in names:
        last = fused.instructions[name]
        while last.opcode == "bitcast":
            last = fused.instructions[last.operands[0]]
        if last.opcode == "dynamic-update-slice":
            update = fused.instructions[last.operands[1]]
            yield sum(buffer.bytes for buffer in update.result)
        elif fused.goes_on and (last.opcode == "parameter" or _passes(last)):
            yield from (0 for _ in last.result)
        elif last.opcode == "fusion":
            yield from _written(program, program.computations[last.named("calls")[0]])
        else:
            yield from (buffer.bytes for buffer in last.result)
