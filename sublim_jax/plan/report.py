"""What a plan says."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes that a device has to hold, by what they are for; None for what is not known.

    Attributes:
        parameter_bytes: parameters that a device holds.
        optimizer_bytes: optimizer state that a device holds.
        data_bytes: all other arguments that a device holds.
        temporary_bytes: activations, gradients and the like at their peak.
        other_bytes: results that do not take the place of an argument, padding, the program.
        beside_bytes: what the step does not touch and the device holds all the same.
        total_bytes: all that a device has to hold.
    """

    parameter_bytes: int
    optimizer_bytes: int
    data_bytes: int
    temporary_bytes: int | None
    other_bytes: int | None
    total_bytes: int | None
    beside_bytes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Held):
    """What one step takes of each device of a topology.

    A device is a chip, but on TPU v2, v3 and TPU7x, where it is half of one and has half of its
    figures. None stands for what is not known: a program that the compiler refuses has no traffic,
    and a CPU, or a chip without public figures, no peaks.

    Attributes:
        topology: its name.
        chip: name of the chip.
        devices: how many.
        chips: how many.
        hosts: how many.
        mesh: names and sizes of the axes that the devices are arranged in.
        batch_size: rows of a step over all devices.
        memory_bytes: what it can hold.
        fits: whether that is enough; for a TPU its compiler decides.
        flops: operations of a step in matrix products and convolutions, shared out evenly.
        traffic_bytes: bytes of a step to and from the main memory.
        collective_bytes: bytes of a step to other devices, by kind of collective.
        peak_flops: operations that a device can do in a second, in bfloat16.
        bandwidth: bytes a second to and from its memory.
        network: bytes a second to other devices, over all links together.
        compile_seconds: how long lowering and compiling took here.
        members: of an ensemble, stacked on each device.
        advice: the smallest change that would fit, if it does not.
        notes: what is counted less than it is, and what the compiler says.
    """

    topology: str
    chip: str
    devices: int
    chips: int
    hosts: int
    mesh: Mapping[str, int]
    batch_size: int
    memory_bytes: int | None
    fits: bool | None
    flops: float
    traffic_bytes: float | None
    collective_bytes: Mapping[str, float] | None
    peak_flops: float | None
    bandwidth: float | None
    network: float | None
    compile_seconds: float
    members: int = 1
    advice: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def sent_bytes(self) -> float | None:
        """Bytes of a step to other devices."""
        return None if self.collective_bytes is None else sum(self.collective_bytes.values())

    @property
    def bounds(self) -> Mapping[str, float | None]:
        """Least seconds that ``compute``, ``memory`` and ``network`` each need for a step."""
        return {
            "compute": _quotient(self.flops, self.peak_flops),
            "memory": _quotient(self.traffic_bytes, self.bandwidth),
            "network": _quotient(self.sent_bytes, self.network),
        }

    @property
    def step_seconds(self) -> float | None:
        """Least seconds of a step: those of the slowest of the three, if all are known."""
        known = [seconds for seconds in self.bounds.values() if seconds is not None]
        return max(known) if len(known) == len(self.bounds) else None

    @property
    def bound(self) -> str | None:
        """The slowest of the three, which bounds the time of a step, if all are known."""
        if self.step_seconds is None:
            return None
        return max(self.bounds, key=lambda name: self.bounds[name] or 0.0)

    @property
    def peak_share(self) -> float | None:
        """Largest share of a device's FLOP/s that a step can use: an upper bound on its MFU."""
        return _quotient(self.bounds["compute"], self.step_seconds)


def _quotient(amount: float | None, rate: float | None) -> float | None:
    return None if amount is None or not rate else amount / rate
