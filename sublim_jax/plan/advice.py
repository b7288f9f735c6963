"""The smallest change that would make a step fit, by a rule of thumb that is written down here.

Parameters and optimizer state shrink as they are sharded over more devices, by the factor by which
``fsdp`` grows. Temporaries are one gradient, as large as the parameters and sharded like them, and
activations, which shrink with the number of micro-batches that a batch is cut into. On more chips
the same batch leaves each fewer rows, so data and activations shrink with that, too. Everything
else (new outputs, padding, the program) stays. Stacked members of an ensemble take equal parts, and
fewer of them on a device are the change. Real programs differ: plan again after the change.
"""

import dataclasses
import itertools

from sublim_jax.plan.report import Plan
from sublim_jax.plan.topology import Topology, read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a step needs of each chip."""

    parameters: float
    optimizer: float
    data: float
    temporaries: float
    rest: float

    @classmethod
    def of(cls, plan: Plan) -> "Need":
        """Read the need off a plan; what is not known counts nothing."""
        return cls(
            parameters=plan.parameter_bytes,
            optimizer=plan.optimizer_bytes,
            data=plan.data_bytes,
            temporaries=plan.temporary_bytes or 0,
            # Some of what lies beside would be sharded, too, but copies kept for later are not.
            rest=(plan.other_bytes or 0) + plan.beside_bytes,
        )

    @property
    def state(self) -> float:
        """Parameters and optimizer state."""
        return self.parameters + self.optimizer

    @property
    def total(self) -> float:
        """All of it."""
        return self.state + self.data + self.temporaries + self.rest

    def after(self, change: "Change") -> "Need":
        """Estimate the need after a change, as the head of this file says."""
        gradient = min(self.parameters, self.temporaries)
        activations = (self.temporaries - gradient) / (change.accumulate * change.grown)
        return Need(
            parameters=self.parameters / change.shard,
            optimizer=self.optimizer / change.shard,
            data=self.data / change.grown,
            temporaries=gradient / change.shard + activations,
            rest=self.rest,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What is done differently.

    Attributes:
        shard: factor by which fsdp grows.
        accumulate: micro-batches that a batch is cut into.
        grown: factor by which the chips grow.
    """

    shard: int = 1
    accumulate: int = 1
    grown: int = 1


def advise(plan: Plan, most_chips: int | None = None) -> str | None:
    """Name the smallest change after which a step that does not fit would.

    One change goes before two, a small factor before a large one, and the same chips before more
    of them.

    Args:
        plan: what the step takes as it is.
        most_chips: how many of its chips there are to be had; by default no more than it has.

    Returns:
        A sentence with the numbers before and, estimated, after; None if it is not known how much
        memory there is.
    """
    if plan.memory_bytes is None:
        return None
    need, available = Need.of(plan), plan.memory_bytes
    if "members" in plan.mesh:
        return _fewer_members(plan, need, available)
    place = read(plan.topology)
    for wider in (place, *place.larger(most_chips or place.chips)):
        for change in _changes(plan, wider.chips // place.chips):
            if need.after(change).total <= available:
                return _said(need, available, change, plan, wider)
    return (
        f"parameters and optimizer state take {size(need.state)}, temporaries "
        f"{size(need.temporaries)} of {size(available)}: by estimate no sharding, accumulation or "
        f"larger topology of these chips holds the step; take a smaller model or batch"
    )


def _fewer_members(plan: Plan, need: Need, available: float) -> str:
    """Say how many stacked members a device can hold: everything but the rest is theirs."""
    each = (need.total - need.rest) / plan.members
    most = int((available - need.rest) // each)
    told = f"{plan.members} members side by side take {size(need.total)} of {size(available)}"
    if most < 1:
        return (
            f"{told} a device, one takes {size(each + need.rest)}: by estimate these chips do not "
            "hold a member; take a smaller model, or fewer rows"
        )
    return (
        f"{told} a device: train {most} side by side (members_at_once={most * plan.devices}); by "
        f"estimate {size(most * each + need.rest)} a device in all"
    )


def _changes(plan: Plan, grown: int) -> list[Change]:
    """List what can be done on so many times the chips, the smallest first."""
    fsdp, tensor = plan.mesh.get("fsdp", 1), plan.mesh.get("tensor", 1)
    devices = plan.devices * grown
    rows = max(1, plan.batch_size * tensor // devices)
    pairs = itertools.product(_divisors(devices // (fsdp * tensor)), _divisors(rows))
    changes = [Change(shard=shard, accumulate=parts, grown=grown) for shard, parts in pairs]
    return sorted(
        changes,
        key=lambda c: ((c.shard > 1) + (c.accumulate > 1), c.shard * c.accumulate, c.shard),
    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _said(need: Need, available: float, change: Change, plan: Plan, wider: Topology) -> str:
    after, parts = need.after(change), []
    if change.grown > 1:
        parts.append(
            f"the step takes {size(need.total)} of {size(available)} a device: take {wider} for "
            "the same batch"
        )
    if change.shard > 1:
        fsdp = change.shard * plan.mesh.get("fsdp", 1)
        parts.append(
            f"parameters and optimizer state take {size(need.state)} of {size(available)}: shard "
            f"them over fsdp={fsdp} ({size(after.state)} a device)"
        )
    if change.accumulate > 1:
        parts.append(
            f"temporaries take {size(need.temporaries)} of {size(available)}: accumulate over "
            f"{change.accumulate} micro-batches ({size(after.temporaries)} a device)"
        )
    return "; ".join(parts) + f"; by estimate {size(after.total)} a device in all"


def size(count: float) -> str:
    """Write a number of bytes for people.

    >>> size(16 * 2**30), size(1536), size(3)
    ('16.0 GiB', '1.5 KiB', '3 B')
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"
