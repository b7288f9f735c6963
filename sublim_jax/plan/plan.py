"""Compile a training step for a machine that is not there, and say what it would take."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from sublim_jax.plan import hlo, loops, memory, topology
from sublim_jax.plan.advice import advise, size
from sublim_jax.plan.chips import CHIPS, Chip
from sublim_jax.plan.collectives import collective_bytes, missed_collectives
from sublim_jax.plan.flops import count_flops
from sublim_jax.plan.report import Held, Plan
from sublim_jax.plan.traffic import traffic_bytes


class Planned(NamedTuple):
    """A step to be planned, built for given devices.

    Attributes:
        step: a jitted or pmapped function: it has ``lower(*arguments)``.
        arguments: descriptions of what it is called with, with shardings.
        parameters: the part of the arguments that are parameters.
        optimizer: the part of the arguments that is optimizer state.
        mesh: names and sizes of the axes that the devices are arranged in.
        batch_size: rows of a step over all devices.
        looped: whether ``step`` is a loop over steps whose length is one of its arguments: counted
            is one turn of it then.
        turns: of this loop in one call, where that is known: what is moved once for all of them is
            shared out then.
        members: of an ensemble, stacked on each device.
        copies: groups of devices that each do all of the step, instead of a share of it.
        beside: descriptions of arrays that lie on the devices meanwhile and are no arguments.
    """

    step: Any
    arguments: tuple[PyTree, ...]
    parameters: PyTree
    optimizer: PyTree
    mesh: Mapping[str, int]
    batch_size: int
    looped: bool = False
    turns: int | None = None
    members: int = 1
    copies: int = 1
    beside: PyTree = ()


def plan(name: str, build: Callable[[Sequence[Any]], Planned]) -> Plan:
    """Compile a step for a topology, ahead of time, and count what it takes.

    Args:
        name: of the topology, such as ``v5e:4x4`` or ``cpu:8``.
        build: devices (`jax.Device`) to the step for them.

    Raises:
        InputError: there is no such topology, or libtpu is missing.
    """
    place, devices = topology.read(name), topology.devices_of(name)
    return plan_for(place, devices, build(devices))


def plan_for(place: topology.Topology, devices: Sequence[Any], planned: Planned) -> Plan:
    """Compile a step that was built for the devices of a topology, and count what it takes."""
    counted = count_flops(planned.step, *planned.arguments)
    started = time.perf_counter()
    program, refused = _compiled(planned)
    seconds = time.perf_counter() - started
    held = _refused(planned, refused) if refused else _held(planned, program, place)
    traffic, sent, notes = _moved(program, planned)
    if refused is not None:
        notes += (f"the compiler says: {' '.join(refused.message.split())[:400].rstrip('.')}",)
    chip = None if place.is_cpu else CHIPS.get(devices[0].device_kind)
    split = len(devices) // place.chips
    has = _memory(place, chip, split, refused)
    found = Plan(
        topology=str(place),
        chip=chip.name if chip else devices[0].device_kind,
        devices=len(devices),
        chips=place.chips,
        hosts=len({device.process_index for device in devices}),
        mesh=dict(planned.mesh),
        batch_size=planned.batch_size,
        members=planned.members,
        **dataclasses.asdict(held),
        memory_bytes=has,
        fits=_fits(place, held, has, refused),
        flops=counted.count * planned.copies / len(devices),
        traffic_bytes=traffic,
        collective_bytes=sent,
        peak_flops=chip and chip.flops / split,
        bandwidth=chip and chip.bandwidth / split,
        network=chip and chip.network / split,
        compile_seconds=seconds,
        notes=notes if planned.looped else counted.notes + notes,
    )
    if found.fits is False:
        return dataclasses.replace(found, advice=advise(found, chip.pod if chip else None))
    return found


def _compiled(planned: Planned) -> tuple[Any, memory.Refusal | None]:
    """Compile the step, or give the compiler's refusal of a program that is too large."""
    lowered = planned.step.lower(*planned.arguments)
    try:
        return lowered.compile(), None
    except jax.errors.JaxRuntimeError as fault:
        refused = memory.refusal(fault)
        if refused is None:
            raise
        return None, refused


def _refused(planned: Planned, refused: memory.Refusal) -> Held:
    parameters, optimizer, data = _arguments(planned)
    rest = refused.needed and max(0, refused.needed - parameters - optimizer - data)
    beside = memory.chip_bytes(planned.beside)
    return Held(
        parameter_bytes=parameters,
        optimizer_bytes=optimizer,
        data_bytes=data,
        temporary_bytes=rest,
        other_bytes=None,
        beside_bytes=beside,
        total_bytes=refused.needed and refused.needed + beside,
    )


def _held(planned: Planned, program: Any, place: topology.Topology) -> Held:
    parameters, optimizer, data = _arguments(planned)
    size = program.memory_analysis()
    # A jitted function drops the arguments that it does not use.
    data = max(0, min(data, size.argument_size_in_bytes - parameters - optimizer))
    # Results that take the place of a donated argument need no bytes of their own.
    results = size.output_size_in_bytes - size.alias_size_in_bytes
    fixed = size.argument_size_in_bytes + results + size.generated_code_size_in_bytes
    total = fixed + size.temp_size_in_bytes
    if not place.is_cpu:
        # Temporaries also use the room of donated arguments, so their sum may exceed the chip's
        # memory where the peak does not. (The peak includes vector memory, so neither always wins;
        # that of the compiler for CPUs leaves out too much.)
        peak = size.peak_memory_in_bytes + size.generated_code_size_in_bytes
        total = max(fixed, min(total, peak))
    temporaries = total - fixed
    other = max(0, fixed - parameters - optimizer - data)
    beside = memory.chip_bytes(planned.beside)
    return Held(
        parameter_bytes=parameters,
        optimizer_bytes=optimizer,
        data_bytes=data,
        temporary_bytes=temporaries,
        other_bytes=other,
        beside_bytes=beside,
        total_bytes=total + beside,
    )


def _arguments(planned: Planned) -> tuple[int, int, int]:
    """Tell what a device holds of parameters, of optimizer state and of all other arguments."""
    parameters, optimizer = map(memory.chip_bytes, (planned.parameters, planned.optimizer))
    everything = memory.chip_bytes(planned.arguments)
    return parameters, optimizer, max(0, everything - parameters - optimizer)


def _moved(
    program: Any, planned: Planned
) -> tuple[float | None, Mapping[str, float] | None, tuple[str, ...]]:
    """Count the memory traffic and the collectives of a step, and note what is uncertain."""
    if program is None:
        return None, None, ()
    try:
        text = hlo.parse(program.as_text())
        step = loops.one_turn(text) if planned.looped else text
        traffic, sent = traffic_bytes(step), collective_bytes(step)
        whole = traffic_bytes(text), collective_bytes(text)
    except (LookupError, ValueError, StopIteration) as fault:
        # No interface promises this text; the rest of the plan does not hang on it.
        return None, None, (f"the compiled program could not be read ({fault!r})",)
    moved, counts, notes = sum(traffic.counts.values()), sent.counts, ()
    if missed := missed_collectives(text, whole[1].reached):
        notes += (f"{missed} collectives of the compiled program are in parts not understood",)
    if traffic.unknown_loops:
        notes += (
            f"memory traffic and collectives count {traffic.unknown_loops} of the loops once, for "
            "the compiled program does not tell their length",
        )
    once = sum(whole[0].counts.values()) - moved
    if planned.looped and planned.turns:
        moved += once / planned.turns
        every, own = whole[1].counts, sent.counts
        shares = {kind: every[kind] - own.get(kind, 0) for kind in every}
        counts = {kind: own.get(kind, 0) + shares[kind] / planned.turns for kind in every}
    elif planned.looped and once > moved / 100:
        notes += (f"once for many steps {size(once)} of memory traffic come on top",)
    return moved, counts, notes


def _memory(
    place: topology.Topology, chip: Chip | None, split: int, refused: memory.Refusal | None
) -> int | None:
    if place.is_cpu:  # the devices are virtual and share the machine
        machine = memory.machine_bytes()
        return machine and machine // place.chips
    if refused is not None and refused.available is not None:
        return refused.available
    return round(chip.memory / split) if chip else None


def _fits(
    place: topology.Topology, held: Held, has: int | None, refused: memory.Refusal | None
) -> bool | None:
    if not place.is_cpu and (refused is not None or not held.beside_bytes):
        return refused is None
    return None if held.total_bytes is None or has is None else held.total_bytes <= has
