"""The machine that is planned for: its name, its devices, and the process that stands in for it.

A planning process has no TPU. It runs on the CPU with libtpu beside it, whose compiler it asks for
programs; the variables that make libtpu do so have to be set before JAX is imported, so it is a
child of its own.
"""

import dataclasses
import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from sublim_jax.errors import InputError, first_line

MARKER = "SUBLIM_JAX_PLANNING"
MOST_CPU_DEVICES = 1024
EXPECTED = "expected a name like v5e:4x4, v4:4x4x4, v5p:2x2x4, v6e:8x8 or cpu:8"
TPU_VARIABLES = {
    "TPU_SKIP_MDS_QUERY": "1",  # ask no metadata server what this machine is
    # Both have to be there and are not looked at: the topology is asked for by name.
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several may plan at a time
    "TPU_LOG_DIR": "disabled",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # without a TPU nothing can be read back from it
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A name such as ``v5e:4x4`` or ``cpu:8``, read.

    Attributes:
        generation: of the chip, or ``cpu``.
        shape: chips along each direction; of a CPU, the number of virtual devices.
        suffix: what follows, ``_twisted`` for some tori.
    """

    generation: str
    shape: tuple[int, ...]
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.generation}:{'x'.join(map(str, self.shape))}{self.suffix}"

    @property
    def is_cpu(self) -> bool:
        """Whether it consists of virtual devices of this machine."""
        return self.generation == "cpu"

    @property
    def chips(self) -> int:
        """How many chips it has."""
        return math.prod(self.shape)

    def larger(self, most: int) -> Iterator["Topology"]:
        """Double the shortest side again and again, up to so many chips.

        >>> [str(each) for each in read("v5e:4x4").larger(64)]
        ['v5e:4x8', 'v5e:8x8']
        """
        shape = list(self.shape)
        while 2 * math.prod(shape) <= most:
            # The last of equals, as Google names slices: 4x8, 2x2x4.
            shortest = max(range(len(shape)), key=lambda side: (-shape[side], side))
            shape[shortest] *= 2
            yield Topology(self.generation, tuple(shape))


def read(name: str) -> Topology:
    """Read the name of a topology.

    Raises:
        InputError: it is not of the form of one.
    """
    found = re.fullmatch(r"([a-z][a-z0-9]*):(\d+(?:x\d+)*)(_twisted|_untwisted)?", name)
    if found is None:
        raise InputError(f"plan is {name!r}; {EXPECTED}")
    topology = Topology(found[1], tuple(map(int, found[2].split("x"))), found[3] or "")
    if topology.is_cpu:
        if len(topology.shape) != 1 or topology.suffix:
            raise InputError(f"plan is {name!r}; expected one number of devices, like cpu:8")
        if not 1 <= topology.chips <= MOST_CPU_DEVICES:
            raise InputError(f"plan is {name!r}; expected 1 to {MOST_CPU_DEVICES} CPU devices")
    elif topology.chips < 1:
        raise InputError(f"plan is {name!r}; expected at least one chip along each direction")
    return topology


def planning() -> str | None:
    """Tell for which topology this process plans; None in any other process."""
    return os.environ.get(MARKER)


def environment(topology: str) -> Mapping[str, str]:
    """Give the environment of a process that plans for a topology.

    Raises:
        InputError: the name is not one, or libtpu is needed and missing.
    """
    wanted = read(topology)
    changes = {MARKER: topology, "JAX_PLATFORMS": "cpu"}
    if wanted.is_cpu:
        changes["JAX_NUM_CPU_DEVICES"] = str(wanted.chips)
        # The older way to say how many; JAX refuses both at once.
        others = os.environ.get("XLA_FLAGS", "").split()
        flags = [flag for flag in others if "host_platform_device_count" not in flag]
        changes["XLA_FLAGS"] = " ".join(flags)
    else:
        _require_libtpu(topology)
        changes |= TPU_VARIABLES
    return {**os.environ, **changes}


def in_subprocess(topology: str, argv: Sequence[str]) -> int:
    """Run a Python command again in a child whose environment is made for planning.

    Args:
        topology: what to plan for; the child finds it by `planning`.
        argv: what comes after the name of the Python interpreter.

    Returns:
        The exit status of the child, 128 and the signal if one ended it.

    Raises:
        InputError: the name is not one, or libtpu is needed and missing.
    """
    child = subprocess.Popen([sys.executable, *argv], env=environment(topology))  # noqa: S603 (the user's own command)
    in_main = threading.current_thread() is threading.main_thread()
    # Otherwise a SIGTERM would leave the child to compile on for minutes.
    before = in_main and signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        status = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
    return status if status >= 0 else 128 - status


def devices_of(topology: str) -> Sequence[Any]:
    """Give the devices of a topology, as `jax.Device`; nothing can be run on those of a TPU.

    To be called in a process that `in_subprocess` has started, for a ``cpu`` topology also in one
    with enough virtual devices.

    Raises:
        InputError: there is no such topology, or libtpu is missing.
    """
    wanted = read(topology)
    if wanted.is_cpu:
        devices = jax.devices("cpu")
        if len(devices) < wanted.chips:
            raise InputError(
                f"plan is {topology!r} and this process has {len(devices)} CPU devices; expected "
                f"at least {wanted.chips}"
            )
        return devices[: wanted.chips]
    _require_libtpu(topology)
    from jax.experimental import topologies

    # Of the chips whose two cores JAX sees as one device, libtpu takes only v4 for two otherwise.
    options: dict[str, Any] = {}
    if wanted.generation == "v4":
        options["chip_config_name"] = "megacore"
    if wanted.chips < 4:  # less than a host has, so one host
        options["chips_per_host_bounds"] = (*wanted.shape, 1, 1)[:3]
    try:
        return topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **options
        ).devices
    except (jax.errors.JaxRuntimeError, ValueError, RuntimeError) as fault:
        reason = first_line(fault)
        raise InputError(
            f"plan is {topology!r}, which libtpu refuses ({reason}); {EXPECTED}"
        ) from fault


def _require_libtpu(topology: str) -> None:
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--plan {topology} needs libtpu; expected `pip install 'sublim_jax[tpu]'`"
        )
