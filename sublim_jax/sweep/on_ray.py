"""Units as tasks of Ray: on all cores and devices of this machine, or of a cluster."""

import contextlib
import logging
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sublim_jax.errors import InputError, first_line
from sublim_jax.sweep.engines import Outcome, attempt, sentence, settled
from sublim_jax.sweep.folder import Unit
from sublim_jax.training.preemption import Preempted, listening

C = TypeVar("C")
STOPPED = True  # what a task returns when it was asked to stop


class Stopped(Preempted):
    """The sweep was asked to stop; its tasks have saved what they had done."""

    def __init__(self) -> None:
        super().__init__("its tasks", 0, saved=True)

    def __str__(self) -> str:
        return "asked to stop"


def on_ray(
    units: Iterable[Unit[C]],
    run: Callable[[Unit[C]], None],
    *,
    address: str = "local",
    num_cpus: float = 1,
    num_gpus: float | None = None,
    patience: float = 60.0,
) -> Iterator[Outcome[C]]:
    """Run units side by side, each in a process of its own with its own devices.

    Failures are treated as by `serial`, also that of a process that dies. When the sweep is to
    stop (SIGTERM, or an exception such as `KeyboardInterrupt`), its tasks are asked to save first.

    Args:
        units: what to run.
        run: runs a unit; pickled, so what it is made of has to be importable on every machine.
        address: of a running cluster, "auto" to find it; "local" starts one on this machine.
        num_cpus: cores that a task takes; as many tasks run at a time as there are cores for.
        num_gpus: GPUs that a task takes; by default one if there are any.
        patience: seconds that tasks get to save when the sweep is to stop.

    Yields:
        The outcome of each configuration, as they come.

    Raises:
        InputError: Ray is missing, or there is no cluster at the address.
        Preempted: the sweep was asked to stop.
    """
    ray = _import_ray()
    with _cluster(ray, address), listening() as stop_requested:
        if num_gpus is None:
            num_gpus = min(1, ray.cluster_resources().get("GPU", 0))
        # A process for each task: JAX keeps the devices that it has once seen. A task that dies is
        # not tried again here: the sweep reports it, and the same command does.
        remote = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_calls=1, max_retries=0)(_task)
        tasks = {remote.remote(run, unit): unit for unit in units}
        try:
            while tasks:
                if stop_requested():
                    raise Stopped
                for task in ray.wait(list(tasks), timeout=1.0)[0]:
                    unit, reason = tasks.pop(task), _result(ray, task)
                    if reason is not None and len(unit) > 1:
                        tasks |= {remote.remote(run, (point,)): (point,) for point in unit}
                    else:
                        yield from settled(unit, reason)
        finally:
            _stop(ray, list(tasks), patience)


def _task(run: Callable[[Unit[C]], None], unit: Unit[C]) -> Any:
    """Run a unit in a process of Ray; return its failure, `STOPPED` or None."""
    # Ray cancels a task by an interrupt; trainings listen to SIGTERM, and save.
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        return attempt(run, unit)
    except Preempted:
        return STOPPED


def _result(ray: Any, task: Any) -> str | None:
    try:
        result = ray.get(task)
    except ray.exceptions.RayError as fault:  # its process is gone, or could not begin
        cause = getattr(fault, "cause", fault)
        return f"{type(cause).__name__}: {first_line(cause)}"
    if result is STOPPED:
        raise Stopped
    return result


def _stop(ray: Any, tasks: list[Any], patience: float) -> None:
    """Cancel tasks, and give them time to save."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks), timeout=patience)


def _import_ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as fault:
        raise InputError(
            "engine is ray, which needs ray; expected `pip install 'sublim_jax[ray]'`"
        ) from fault
    return ray


@contextlib.contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Connect with a cluster, or start one that ends with the context."""
    if ray.is_initialized():  # by the caller, who will end it
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options["include_dashboard"] = False
    try:
        _reach(address)
        with warnings.catch_warnings():
            # JAX warns of every fork; Ray's processes start as other programs.
            warnings.filterwarnings("ignore", r"os\.fork\(\)", RuntimeWarning)
            ray.init(address, **options)
    except (OSError, ValueError) as fault:
        raise InputError(
            f"ray_address is {address} ({sentence(fault)}); expected local, auto or the address of "
            "a cluster that `ray start --head` has started, and RAY_AUTH_MODE=token in the "
            "environment if an address given by hand wants a token"
        ) from fault
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Fail where nothing listens at ``host:port``; Ray itself would try for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10.0).close()
