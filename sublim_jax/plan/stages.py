"""A whole run as stages, each a step and how often it is done: what fits, and how long it takes."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sublim_jax.plan import topology
from sublim_jax.plan.plan import Planned, plan_for
from sublim_jax.plan.report import Plan

HOUR = 3600.0


class Stage(NamedTuple):
    """A part of a run.

    Attributes:
        name: as tables call it.
        planned: its step, built for given devices.
        times: that the run takes such a step.
    """

    name: str
    planned: Planned
    times: int


class Stages(NamedTuple):
    """A run, built for given devices.

    Attributes:
        stages: at least one, in the order of the run, which does one after another.
        notes: what is assumed and what is left out, in sentences without a full stop.
    """

    stages: Sequence[Stage]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What a stage takes.

    Attributes:
        name: as tables call it.
        plan: of one step.
        times: that the run takes such a step.
    """

    name: str
    plan: Plan
    times: int

    @property
    def flops(self) -> float:
        """Operations of all steps on all devices, in matrix products and convolutions."""
        return self.times * self.plan.flops * self.plan.devices

    @property
    def hours(self) -> float | None:
        """Least hours of all steps, if the speed of the chips is known."""
        step = self.plan.step_seconds
        return None if step is None else self.times * step / HOUR

    @property
    def chip_hours(self) -> float | None:
        """Hours times chips."""
        return None if self.hours is None else self.hours * self.plan.chips


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run takes, stage after stage on all chips of a topology.

    Attributes:
        stages: at least one.
        notes: what is assumed and what is left out, in sentences without a full stop.
    """

    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether all stages do; None where that is not known of one."""
        verdicts = [stage.plan.fits for stage in self.stages]
        return False if False in verdicts else None if None in verdicts else True

    @property
    def flops(self) -> float:
        """Operations of the run on all devices."""
        return sum(stage.flops for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """Least hours of the run, if those of all stages are known."""
        return _sum(stage.hours for stage in self.stages)

    @property
    def chip_hours(self) -> float | None:
        """Hours times chips."""
        return _sum(stage.chip_hours for stage in self.stages)


def plan_stages(name: str, build: Callable[[Sequence[Any]], Stages]) -> RunPlan:
    """Compile the step of every stage of a run for a topology, ahead of time.

    Args:
        name: of the topology, such as ``v5e:4x4`` or ``cpu:8``.
        build: devices (`jax.Device`) to the run on them.

    Raises:
        InputError: there is no such topology, or libtpu is missing.
    """
    place, devices = topology.read(name), topology.devices_of(name)
    run = build(devices)
    found = tuple(
        StagePlan(name=stage.name, plan=plan_for(place, devices, stage.planned), times=stage.times)
        for stage in run.stages
    )
    return RunPlan(stages=found, notes=tuple(run.notes))


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = [*amounts]
    return None if None in known else sum(amount for amount in known if amount is not None)
