"""The text of a compiled program, read into computations and instructions."""

import dataclasses
import functools
import math
import re
from typing import NamedTuple

ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
SPACE = re.compile(r"S\((\d+)\)")


class Buffer(NamedTuple):
    """An array of a program: its bytes, unpadded, and its memory space (0 is the main memory)."""

    bytes: int
    space: int


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: unique in its computation.
        opcode: what it does.
        result: the arrays it makes, tuples flattened.
        inputs: text between the parentheses.
        attributes: text behind them.
    """

    name: str
    opcode: str
    result: tuple[Buffer, ...]
    inputs: str
    attributes: str

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the instructions whose results it takes."""
        return tuple(re.findall(r"%([\w.\-]+)", self.inputs))

    def named(self, attribute: str) -> tuple[str, ...]:
        """Give the names, of computations mostly, that an attribute holds."""
        found = re.search(rf"\b{attribute}=(?:\{{([^}}]*)\}}|([^\s,]+))", self.attributes)
        return tuple(re.findall(r"[\w.\-]+", found[1] or found[2])) if found else ()


@dataclasses.dataclass(frozen=True)
class Computation:
    """A function of the program."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    @functools.cached_property
    def goes_on(self) -> bool:
        """Whether it goes on with a collective that has begun in an earlier fusion.

        The compiler for TPUs spreads one over several fusions, beside other work, and names it in
        each of them.
        """
        return self.name.startswith("async_collective_fusion") or any(
            "AsyncCollectiveDone" in each.attributes for each in self.instructions.values()
        )

    def parameter(self, number: int) -> Instruction:
        """Give the instruction that is the parameter of that number."""
        return next(
            each
            for each in self.instructions.values()
            if each.opcode == "parameter" and each.inputs == str(number)
        )


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        computations: by name.
        entry: name of the one where a run begins.
        devices: how many devices run it together.
    """

    computations: dict[str, Computation]
    entry: str
    devices: int


def parse(text: str) -> Program:
    """Read the text of a compiled program."""
    computations: dict[str, Computation] = {}
    entry = name = root = ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if line.startswith("}"):
            computations[name] = Computation(name, instructions, root)
        elif header := HEADER.match(line):
            name, instructions, root = header[2], {}, ""
            entry = name if header[1] else entry
        elif found := INSTRUCTION.match(line):
            instruction = _instruction(found[2], found[3])
            instructions[instruction.name] = instruction
            root = instruction.name if found[1] else root
    devices = math.prod(
        int(n) for n in re.findall(r"(?:num_partitions|replica_count)=(\d+)", text[:100_000])
    )
    return Program(computations, entry, devices)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opening = text.index("(", end)
    closing = _closing(text, opening)
    return Instruction(
        name=name,
        opcode=text[end:opening].strip(),
        result=buffers(text[:end]),
        inputs=text[opening + 1 : closing],
        attributes=text[closing + 1 :],
    )


def _closing(text: str, opening: int) -> int:
    depth = 0
    for at in re.finditer(r"[()]", text[opening:]):
        depth += 1 if at[0] == "(" else -1
        if depth == 0:
            return opening + at.start()
    return len(text)


def buffers(shape: str) -> tuple[Buffer, ...]:
    """Read the arrays of a shape such as ``(f32[4,2]{1,0}, s32[])``."""
    return tuple(_buffer(*found) for found in ARRAY.findall(shape))


def _buffer(dtype: str, dims: str, layout: str) -> Buffer:
    digits = re.search(r"\d+", dtype)
    bits = int(digits[0]) if digits else 8 * (dtype == "pred")
    size = math.prod(int(n) for n in re.findall(r"\d+", dims))
    space = SPACE.search(layout)
    return Buffer(math.ceil(size * bits / 8), int(space[1]) if space else 0)
