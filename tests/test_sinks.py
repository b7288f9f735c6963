import errno
import importlib.util
import math
import os
import struct
import subprocess
import sys

import jax
import numpy as np
import pytest
from folders import ENVIRONMENT, command, contents, refusal

from sublim_jax import sinks
from sublim_jax.errors import InputError
from sublim_jax.metrics import MetricsLog
from sublim_jax.sinks import make_sinks, tensorboard_sink

NAMED = {"name": "digits", "config": {"seed": 1, "widths": (8, 8)}}


def needs(package):
    return pytest.mark.skipif(not importlib.util.find_spec(package), reason=f"needs {package}")


def crc32c(content):
    """Castagnoli's checksum, bit by bit."""
    rest = 0xFFFFFFFF
    for byte in content:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def records(content):
    """The records of a TFRecord file, each with its masked checksums compared."""
    while content:
        length, length_sum = struct.unpack("<QI", content[:12])
        record, (record_sum,) = (
            content[12:][:length],
            struct.unpack("<I", content[12 + length :][:4]),
        )
        for part, told in ((content[:8], length_sum), (record, record_sum)):
            sum_ = crc32c(part)
            assert ((sum_ >> 15 | sum_ << 17) + 0xA282EAD8) & 0xFFFFFFFF == told
        yield record
        content = content[12 + length + 4 :]


def events(folder):
    """Step, tag and value of all scalars in the files of a folder, in the order of TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("*tfevents*")):
        first, *rest = map(Event.FromString, records(path.read_bytes()))
        assert first.file_version == "brain.Event:2"
        yield from (
            (event.step, value.tag, value.simple_value)
            for event in rest
            for value in event.summary.value
        )


@needs("tensorboardX")
def test_tensorboard_shows_every_row_in_order_also_when_continued(tmp_path):
    expected = []
    for start in range(0, 6, 2):
        with MetricsLog(
            tmp_path / "m.jsonl", make_sinks(["tensorboard"], tmp_path, **NAMED)
        ) as log:
            steps = [start, start + 1]
            log.write("0/teacher", steps, {"loss": np.array(steps) / 4, "norm": [1, 2]})
            for step, norm in zip(steps, [1, 2], strict=True):
                expected += [(step, "0/teacher/loss", step / 4), (step, "0/teacher/norm", norm)]
            # Before it is closed: whatever ends the process, the rows are there.
            assert list(events(tmp_path / "tensorboard")) == expected
    assert len(contents(tmp_path / "tensorboard")) == 3


@needs("tensorboardX")
def test_tensorboard_shows_the_undefined(tmp_path):
    sink = tensorboard_sink(tmp_path)
    sink.log("a", 3, {"loss": math.nan, "norm": math.inf})
    sink.close()
    (_, _, loss), (_, _, norm) = events(tmp_path / "tensorboard")
    assert math.isnan(loss)
    assert norm == math.inf


FILL = """
from sublim_jax.sinks import tensorboard_sink
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
sink = tensorboard_sink(Path(sys.argv[1]))
try:
    for step in range(1000):
        sink.log("a", step, {"loss": 0.5})
except InputError as fault:
    print(fault)
sink.close()
"""


@needs("tensorboardX")
def test_tensorboard_says_that_the_disk_is_full(tmp_path):
    finished = subprocess.run(
        command(FILL, tmp_path), capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert f"cannot be written ({os.strerror(errno.EFBIG)})" in finished.stdout


@needs("tensorboardX")
def test_tensorboard_without_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "tensorboard" in refusal(tensorboard_sink, tmp_path / "file")


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch, name, package):
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert refusal(make_sinks, [name], tmp_path, **NAMED) == (
        f"log is {name}, which needs {package}; expected `pip install 'sublim_jax[{name}]'`"
    )
    assert contents(tmp_path) == {}


def test_an_unknown_sink_is_refused(tmp_path):
    assert refusal(make_sinks, ["csv"], tmp_path, **NAMED) == (
        "log is csv; expected tensorboard or wandb"
    )


class Opened:
    closed = 0

    def close(self):
        self.closed += 1


def test_a_sink_that_does_not_open_closes_those_before_it(tmp_path, monkeypatch):
    first = Opened()

    def refuse(*args, **options):
        raise InputError("no")

    monkeypatch.setattr(sinks, "tensorboard_sink", lambda folder: first)
    monkeypatch.setattr(sinks, "wandb_sink", refuse)
    assert refusal(make_sinks, ["tensorboard", "wandb"], tmp_path, **NAMED) == "no"
    assert first.closed == 1


def test_sinks_are_opened_once_each_and_by_the_first_host(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "tensorboard_sink", lambda folder: Opened())
    (sink,) = make_sinks(["tensorboard", "tensorboard"], tmp_path, **NAMED)
    assert sink.closed == 0
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert make_sinks(["tensorboard", "wandb"], tmp_path, **NAMED) == ()
    assert contents(tmp_path) == {}


WATCHED = """
from sublim_jax.sinks import make_sinks
folder, start = Path(sys.argv[1]), int(sys.argv[2])
sinks = make_sinks(["wandb"], folder, name="digits", config={"widths": (8, 8)})
with MetricsLog(folder / "metrics.jsonl", sinks) as log:
    for training in ("teacher", "student"):
        log.write(training, [start, start + 1], {"loss": [start / 4, float("nan")]})
"""


def watched(folder, start, **variables):
    """Run the program above as a user without an account."""
    home = {name: text for name, text in ENVIRONMENT.items() if not name.startswith("WANDB")}
    return subprocess.run(
        command(WATCHED, folder, start),
        capture_output=True,
        text=True,
        env=home | {"HOME": str(folder), "WANDB_SILENT": "true"} | variables,
        stdin=subprocess.DEVNULL,
    )


@needs("wandb")
def test_wandb_continues_one_run_offline(tmp_path):
    for start in (0, 2):
        finished = watched(tmp_path, start, WANDB_MODE="offline")
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    identity = (tmp_path / "wandb" / "id").read_text()
    files = sorted(tmp_path.glob(f"wandb/offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(files) == len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    for path, start in zip(files, (0, 2), strict=True):
        content = path.read_bytes()
        for word in ("digits", "widths", "teacher/step", "student/loss", f"{start / 4}"):
            assert word.encode() in content


@needs("wandb")
@pytest.mark.parametrize("variables", [{}, {"WANDB_MODE": "of"}], ids=["no account", "bad mode"])
def test_wandb_that_does_not_start_is_told_in_one_sentence(tmp_path, variables):
    finished = watched(tmp_path, 0, **variables)
    assert finished.returncode == 1
    *_, last = finished.stderr.splitlines()
    assert last.startswith("sublim_jax.errors.InputError: log is wandb, which did not start (")
    assert last.endswith("expected `wandb login` first, or WANDB_MODE=offline")
