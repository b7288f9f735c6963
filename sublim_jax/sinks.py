"""Where the rows of a metrics log are shown besides: TensorBoard, Weights & Biases.

Both packages are optional, and imported only where they are asked for.
"""

import contextlib
import os
import secrets
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.metrics import Sink, told
from sublim_jax.runs import plain, write_whole

SinkName = Literal["tensorboard", "wandb"]


def make_sinks(
    names: Sequence[SinkName], folder: Path, *, name: str, config: Mapping[str, Any]
) -> tuple[Sink, ...]:
    """Open the sinks of a run; on several hosts only the first process has any.

    Args:
        names: which ones.
        folder: the run folder, where their files go.
        name: what the run is called there.
        config: its configuration, as plain values.

    Returns:
        The sinks, to be given to a `MetricsLog`, which closes them.

    Raises:
        InputError: a name is unknown, a package is missing, or a sink cannot be opened.
    """
    for unknown in set(names) - set(get_args(SinkName)):
        raise InputError(f"log is {unknown}; expected {' or '.join(get_args(SinkName))}")
    if not hosts.is_first():
        return ()
    with contextlib.ExitStack() as opened:
        sinks = []
        for sink_name in dict.fromkeys(names):
            if sink_name == "tensorboard":
                sinks.append(tensorboard_sink(folder))
            else:
                sinks.append(wandb_sink(folder, name=name, config=config))
            opened.callback(sinks[-1].close)
        opened.pop_all()  # all are open, so none is closed here
    return tuple(sinks)


def tensorboard_sink(folder: Path) -> Sink:
    """Show metrics in TensorBoard, under the tags ``training/quantity``.

    Every row is in the file when it has been logged, so a kill loses none.

    Args:
        folder: the run folder; the events go below its ``tensorboard``, into one more file each
            time the run is continued.

    Raises:
        InputError: tensorboardX is missing, or the folder cannot be written.
    """
    with _package("tensorboard", "tensorboardX"):
        return _TensorBoard(folder / "tensorboard")


def wandb_sink(folder: Path, *, name: str, config: Mapping[str, Any]) -> Sink:
    """Show metrics in Weights & Biases, as ``training/quantity`` against ``training/step``.

    The variables that wandb reads decide all else, ``WANDB_MODE=offline`` and ``WANDB_PROJECT``
    among them. A run that is continued offline gets one more folder below ``wandb``; ``wandb sync``
    puts them together, because they have the same id.

    Args:
        folder: the run folder; wandb's files go below its ``wandb``, with the id of the run.
        name: what the run is called.
        config: its configuration, as plain values.

    Raises:
        InputError: wandb is missing or does not start, or the folder cannot be written.
    """
    with _package("wandb", "wandb"):
        return _Wandb(folder, name, config)


@contextlib.contextmanager
def _package(name: SinkName, package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as fault:
        raise InputError(
            f"log is {name}, which needs {package}; expected `pip install 'sublim_jax[{name}]'`"
        ) from fault


class _TensorBoard:
    """A file of events, framed as TFRecords.

    tensorboardX's own writer passes events to a thread: what it has not written is lost in a kill,
    and where the disk is full the thread ends and the training waits for it forever.
    """

    def __init__(self, folder: Path) -> None:
        # Where the package is missing, and in what protobuf generates, there is nothing to check.
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore
        from tensorboardX.record_writer import masked_crc32c  # pyright: ignore

        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        # TensorBoard takes the files of a folder by name, as one after the other.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        self._path = folder / f"events.out.tfevents.{seconds}.{nanoseconds:09}"
        with told(self._path, "written"):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        try:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except InputError:
            self._file.close()
            raise

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        summary = self._summary(
            value=[
                self._summary.Value(tag=f"{training}/{name}", simple_value=value)
                for name, value in values.items()
            ]
        )
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Any) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        rest = memoryview(b"".join([length, self._sum(length), content, self._sum(content)]))
        with told(self._path, "written"):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]

    def _sum(self, content: bytes) -> bytes:
        return struct.pack("<I", self._checksum(content))


class _Wandb:
    """A run of Weights & Biases."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        identity = folder / "wandb" / "id"
        if not identity.exists():
            write_whole(identity, secrets.token_hex(4).encode())
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "sublim_jax"),
                dir=str(folder),
                id=identity.read_text(),
                name=name,
                config=plain(config),
                resume="allow",
                # The console is the user's: progress bars, other runs of this process.
                settings=wandb.Settings(console="off"),
            )
        except (wandb.Error, OSError, ValueError) as fault:
            reason = " ".join(str(fault).split())
            raise InputError(
                f"log is wandb, which did not start ({reason}); "
                "expected `wandb login` first, or WANDB_MODE=offline"
            ) from fault
        self._defined = set[str]()

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        axis = f"{training}/step"
        if training not in self._defined:
            # Trainings have steps of their own, and wandb counts its steps only upwards.
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(f"{training}/*", step_metric=axis)
            self._defined.add(training)
        self._run.log({axis: step} | {f"{training}/{key}": value for key, value in values.items()})

    def close(self) -> None:
        self._run.finish()
