import itertools
import json
import os
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from folders import ENVIRONMENT, command, contents, failing, python, refusal, sentence
from hypothesis import given, settings

from sublim_jax.metrics import MetricsLog


class Recorder:
    """A sink that remembers, and checks that the file knows first."""

    def __init__(self, path):
        self.path, self.rows, self.closed = path, [], 0

    def log(self, training, step, values):
        assert f'"{training}", "step": {step},' in self.path.read_text()
        self.rows.append((training, step, dict(values)))

    def close(self):
        self.closed += 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def rows(path):
    # Strict JSON: other languages read no NaN.
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def values(training, steps):
    """Losses that tell trainings and steps apart."""
    steps = np.asarray(steps)
    return {"loss": steps + len(training) / 8, "accuracy": np.float32(1) / (1 + steps)}


def write(log, training, start, stop):
    log.write(training, range(start, stop), values(training, range(start, stop)))


def program(log, phases, at):
    """Train to the end, as a user of the log would, from a checkpoint (phase and step).

    A phase is some trainings side by side, a chunk of steps at a time, with a checkpoint after some
    of the chunks; phases follow each other, as students follow their teacher.

    Yields:
        After each write the checkpoint made then, or None.
    """
    for index in range(at[0], len(phases)):
        trainings, total, chunk, every = phases[index]
        first = at[1] if index == at[0] else 0
        for training in trainings:
            log.rewind(training, first)
        for number, start in enumerate(range(first, total, chunk), 1):
            stop = min(start + chunk, total)
            for training in trainings:
                write(log, training, start, stop)
                ends = training == trainings[-1] and number % every == 0
                yield (index, stop) if ends else None


@st.composite
def programs(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    names = iter(["0/teacher", "1/teacher", "a", "β", "line\nbreak", 'quo"te', "", "x", "y"])
    number = st.integers(1, 4)
    return [
        (list(itertools.islice(names, size)), draw(st.integers(1, 9)), draw(number), draw(number))
        for size in sizes
    ]


@settings(deadline=None)
@given(programs(), st.data())
def test_interrupted_anywhere_it_ends_as_in_one_go(tmp_path_factory, phases, data):
    folder = tmp_path_factory.mktemp("log")
    path, whole = folder / "metrics.jsonl", folder / "whole.jsonl"
    with MetricsLog(whole) as log:
        writes = len(list(program(log, phases, (0, 0))))
    checkpoints = [((0, 0), 0)]
    for alive in data.draw(st.lists(st.integers(0, writes), max_size=5)):
        with MetricsLog(path) as log:
            steps = itertools.islice(program(log, phases, checkpoints[-1][0]), alive)
            checkpoints.extend((made, path.stat().st_size) for made in steps if made)
        # The newest checkpoints may be damaged, and an older one be taken.
        del checkpoints[data.draw(st.integers(1, len(checkpoints))) :]
        # What was on the disk at a checkpoint stays; of what came later a kill may leave any part.
        durable, size = checkpoints[-1][1], path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(data.draw(st.integers(durable, max(size, durable))))
    with MetricsLog(path) as log:
        list(program(log, phases, checkpoints[-1][0]))
    assert path.read_bytes() == whole.read_bytes()


LOOP = """
from sublim_jax.runs import write_whole
folder = Path(sys.argv[1])
checkpoint = folder / "checkpoint"
with MetricsLog(folder / "metrics.jsonl") as log:
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    log.rewind("a", start)
    for step in range(start, 400, 4):
        steps = range(step, step + 4)
        log.write("a", steps, {"loss": [1 / (s + 1) for s in steps]})
        if step % 24 == 0:
            write_whole(checkpoint, str(step + 4).encode())
        print(step, flush=True)
"""


def test_a_killed_process_leaves_a_log_that_goes_on(tmp_path, path):
    for lines in (3, 20, 11):
        with subprocess.Popen(
            command(LOOP, tmp_path), stdout=subprocess.PIPE, env=ENVIRONMENT
        ) as process:
            for _ in range(lines):
                assert process.stdout.readline()
            process.kill()
    assert 0 < len(path.read_text().splitlines()) < 400
    assert python(LOOP, tmp_path).returncode == 0
    assert [(row["step"], row["loss"]) for row in rows(path)] == [
        (step, 1 / (step + 1)) for step in range(400)
    ]


def test_rows_hold_what_was_measured(path):
    with MetricsLog(path) as log:
        log.write("a", [0, 5], {"loss": [0.5, np.nan], "share": np.ones((2, 2), np.float32) / 3})
        log.write("b", np.array([3]), {"loss": np.array([-np.inf])})
        log.write("b", [], {"loss": []})
    third = float(np.float32(1) / 3)
    assert rows(path) == [
        {"training": "a", "step": 0, "loss": 0.5, "share": [third, third]},
        {"training": "a", "step": 5, "loss": None, "share": [third, third]},
        {"training": "b", "step": 3, "loss": None},
    ]


def test_rewinding_drops_one_trainings_rows_from_a_step_on(path):
    with MetricsLog(path) as log:
        for training in "ab":
            write(log, training, 0, 6)
        lines = path.read_bytes().splitlines(keepends=True)
        log.rewind("a", 4)
        assert path.read_bytes() == b"".join(lines[:4] + lines[6:])
        log.rewind("b", 0)
        assert path.read_bytes() == b"".join(lines[:4])


def test_rewinding_where_nothing_is_dropped_leaves_the_file_itself(path):
    with MetricsLog(path) as log:
        write(log, "a", 0, 6)
        before = path.stat()
        for training, step in (("a", 6), ("a", 60), ("b", 0)):
            log.rewind(training, step)
        assert path.stat() == before


def test_a_log_with_nothing_in_it_is_a_file(path):
    MetricsLog(path).close()
    assert rows(path) == []


@pytest.mark.parametrize("steps", [[1, 1], [2, 1], [0, 1]])
def test_a_step_that_is_there_is_not_written_again(path, steps):
    with MetricsLog(path) as log:
        write(log, "a", 0, 1)
    with MetricsLog(path) as log:
        before = path.read_bytes()
        with pytest.raises(ValueError, match="go up"):
            log.write("a", steps, {"loss": [0.5, 0.5]})
        assert path.read_bytes() == before
        write(log, "b", 0, 2)


@pytest.mark.parametrize("columns", [{"loss": [0.5]}, {"loss": 0.5}, {"step": [1, 2]}])
def test_columns_have_a_value_for_each_step_and_a_name_of_their_own(path, columns):
    with MetricsLog(path) as log, pytest.raises(ValueError, match="expected"):
        log.write("a", [0, 1], columns)
    assert rows(path) == []


def test_sinks_see_what_the_file_has(path):
    sinks = Recorder(path), Recorder(path)
    with MetricsLog(path, sinks) as log:
        log.write("a", [0, 2], {"loss": [0.5, np.inf], "count": [1, 2], "share": [[0.1], [0.2]]})
        log.rewind("a", 2)
        log.write("a", [2], {"loss": [0.25]})
    log.close()
    for sink in sinks:
        assert sink.closed == 1
        assert sink.rows == [
            ("a", 0, {"loss": 0.5, "count": 1}),
            ("a", 2, {"loss": np.inf, "count": 2}),
            ("a", 2, {"loss": 0.25}),
        ]


def test_a_sink_that_fails_to_close_does_not_keep_the_others_open(path):
    sinks = Recorder(path), Recorder(path), Recorder(path)
    sinks[1].close = failing(5)
    with pytest.raises(OSError, match="error"):
        MetricsLog(path, sinks).close()
    assert sinks[0].closed == sinks[2].closed == 1


@pytest.mark.parametrize(
    "damage", [b"{\n", b"3\n", b"\0\n", b'{"step": 3}\n', b'{"training": "a", "step": "b"}\n']
)
def test_a_file_of_something_else_is_refused_and_left_alone(path, damage):
    good = b'{"training": "a", "step": 0}\n'
    path.write_bytes(good + damage + b"half")
    assert f"{path} line 2" in refusal(MetricsLog, path)
    assert path.read_bytes() == good + damage + b"half"


def test_what_is_no_file_is_refused(path):
    path.mkdir()
    sink = Recorder(path)
    assert str(path) in refusal(MetricsLog, path, [sink])
    assert sink.closed == 1
    (path / "file").write_text("precious")
    assert str(path) in refusal(MetricsLog, path / "file" / "metrics.jsonl")


LIMITED = """
log = MetricsLog(Path(sys.argv[1]) / "metrics.jsonl")
log.write("a", range(100), {"loss": [0.5] * 100})
resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
try:
    log.write("a", range(100, 1000), {"loss": [0.5] * 900})
except InputError as fault:
    print(fault, log.path.stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.write("a", range(100, 1000), {"loss": [0.5] * 900})
"""


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(tmp_path, path):
    finished = python(LIMITED, tmp_path)
    assert finished.returncode == 0, finished
    told, size = finished.stdout.rsplit(" ", 1)
    assert f"{path} cannot be written (File too large)" in told
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == list(range(1000))
    assert int(size) == sum(map(len, lines[:100]))


NOBODY = """
jax.devices()
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
MetricsLog(Path("metrics.jsonl")).write("a", [1], {})
"""


@pytest.mark.parametrize(("mode", "done"), [(0o755, "written"), (0o700, "read")])
def test_a_file_without_permission_is_refused(tmp_path, path, mode, done):
    path.write_text('{"training": "a", "step": 0}\n')
    path.chmod(0o444)
    tmp_path.chmod(mode)
    finished = python(NOBODY, tmp_path)
    if os.geteuid() != 0 and done == "read":
        pytest.skip("one's own folder can be read")
    assert f"metrics.jsonl cannot be {done} (Permission denied)" in sentence(finished)


def test_a_file_that_is_gone_is_not_begun_again(tmp_path, path):
    log = MetricsLog(path)
    write(log, "a", 0, 2)
    path.unlink()
    assert str(path) in refusal(write, log, "a", 2, 4)
    assert str(path) in refusal(log.rewind, "a", 1)
    assert contents(tmp_path) == {}


def test_a_rewinding_that_fails_leaves_the_file(path, monkeypatch):
    log = MetricsLog(path)
    write(log, "a", 0, 4)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(28))
        assert str(path) in refusal(log.rewind, "a", 2)
    assert path.read_bytes() == before
    log.rewind("a", 2)
    write(log, "a", 2, 4)
    assert path.read_bytes() == before
