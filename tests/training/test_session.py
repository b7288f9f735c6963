import types

import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.training import Checkpoints, Preempted, Session, session
from sublim_jax.training.session import QUIET, Progress


def progress(made, steps=9):
    """Losses of a training that has made some steps."""
    losses = jnp.where(jnp.arange(steps) < made, jnp.arange(float(steps)), jnp.nan)
    return Progress({"made": jnp.int32(made)}, losses, ())


class Recorder:
    """Checkpoints and a log in one, which note in which order they are called."""

    def __init__(self, found=None):
        self.events, self.found = [], found or {}

    def restore(self, training, like):
        return self.found.get(training)

    def save(self, training, step, tree):
        assert int(tree.state["made"]) == step
        self.events.append(("save", training, step))

    def wait(self):
        self.events.append(("wait",))

    def delete(self, training):
        self.events.append(("delete", training))

    def names(self):
        return ["of", "them"]

    def rewind(self, training, step):
        self.events.append(("rewind", training, step))

    def write(self, training, steps, values):
        assert isinstance(values["loss"], np.ndarray)
        assert list(values["loss"]) == list(steps)
        self.events.append(("write", training, *steps))

    def of(self, *kinds):
        return [event for event in self.events if event[0] in kinds]


@pytest.fixture
def clock(monkeypatch):
    """A clock for sessions that stands still unless it is put forward."""
    now = types.SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(session, "time", types.SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def train(attached, name, *, steps=9, bounds=range(10), start=0, each=lambda: None):
    """Go through the bounds of a training, from where it goes on."""
    begun = progress(start, steps)
    start, _ = attached.resume(name, begun)
    for step in bounds:
        if step >= start:
            each()
            attached.reached(name, step, steps, progress(step, steps))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["minutes", "steps"])
def test_intervals_that_are_not_positive_are_refused(name, value):
    with pytest.raises(InputError, match=f"checkpoint_{name} is {value}; expected a positive"):
        Session(**{f"every_{name}": value})


def test_rows_are_on_the_disk_before_the_checkpoint_that_covers_them():
    recorder = Recorder()
    attached = Session(checkpoints=recorder, metrics=recorder, every_steps=3)
    train(attached, "t", bounds=(0, 2, 3, 6, 9))
    assert recorder.events == [
        ("rewind", "t", 0),
        ("write", "t", 0, 1),
        ("write", "t", 2),
        ("save", "t", 3),
        ("write", "t", 3, 4, 5),
        ("save", "t", 6),
        ("write", "t", 6, 7, 8),
        ("save", "t", 9),
    ]


def test_rows_after_the_checkpoint_are_dropped_and_written_again():
    recorder = Recorder(found={"t": (6, progress(6))})
    train(Session(checkpoints=recorder, metrics=recorder), "t", bounds=(6, 7, 9))
    assert recorder.events == [("rewind", "t", 6), ("write", "t", 6), ("write", "t", 7, 8)]


@pytest.mark.parametrize("start", [0, 4, 9])
def test_every_step_is_told_exactly_once(start):
    told = []
    recorder = Recorder(found={"t": (start, progress(start))} if start else {})
    attached = Session(checkpoints=recorder, advanced=told.append)
    train(attached, "t", bounds=(0, 1, 3, 4, 8, 9))
    assert sum(told) == 9
    assert told[0] == start
    train(attached, "next", bounds=(0, 5, 9))
    assert sum(told) == 18


def test_the_expected_steps_are_passed_on():
    told = []
    Session(expected=told.append).expect(45)
    assert told == [45]


def test_an_interval_of_time_saves_what_has_finished_first(clock):
    recorder = Recorder()
    attached = Session(checkpoints=recorder, every_minutes=1)
    for name in ("a", "b"):
        train(attached, name, each=lambda: setattr(clock, "seconds", clock.seconds + 1))
    assert recorder.of("save") == []  # 20 seconds
    train(
        attached,
        "c",
        bounds=(0, 2, 4, 6, 9),
        each=lambda: setattr(clock, "seconds", clock.seconds + 15),
    )
    assert recorder.of("save") == [("save", "a", 9), ("save", "b", 9), ("save", "c", 4)]
    # The next interval has begun with the save, and what is saved is not saved again.
    clock.seconds += 1000
    train(attached, "d", bounds=(0, 1, 9))
    assert recorder.of("save")[3:] == [("save", "c", 9), ("save", "d", 0)]


def test_without_intervals_nothing_is_saved(clock):
    recorder = Recorder()
    attached = Session(checkpoints=recorder, every_minutes=None)
    train(attached, "t", each=lambda: setattr(clock, "seconds", clock.seconds + 1e6))
    assert recorder.of("save") == []


def test_chunks_are_as_long_as_asked_for_and_end_at_multiples(clock):
    """Two steps a second."""
    attached = Session(checkpoints=Recorder(), every_steps=50, chunk_seconds=4)
    step, _ = attached.resume("t", progress(0, 200))
    bounds = []
    while step < 110:
        step = attached.reached("t", step, 200, progress(step, 200))
        bounds.append(step)
        clock.seconds += (step - (bounds[-2] if bounds[:-1] else 0)) / 2
    # At most doubled, then 8 steps; cut at 50 and 100.
    assert bounds == [1, 3, 7, 15, 23, 31, 39, 47, 50, 58, 66, 74, 82, 90, 98, 100, 108, 116]


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_a_chunk_has_at_least_a_step_and_a_limited_number(seconds, clock):
    attached = Session(chunk_seconds=seconds)
    step, _ = attached.resume("t", progress(0))
    for _ in range(20):
        stop = attached.reached("t", step, 10**9, progress(0))
        assert step < stop <= 2 * step + 1
        step = stop


def test_a_request_to_stop_saves_everything_and_waits_for_it(clock):
    asked = []
    recorder = Recorder()
    attached = Session(
        checkpoints=recorder, metrics=recorder, stop_requested=lambda: len(asked) == 13
    )
    train(attached, "a", each=lambda: asked.append(1))
    with pytest.raises(Preempted, match="asked to stop at step 2 of b") as stopped:
        train(attached, "b", each=lambda: asked.append(1))
    assert stopped.value.saved
    assert recorder.events[-4:] == [
        ("write", "b", 1),
        ("save", "a", 9),
        ("save", "b", 2),
        ("wait",),
    ]


def test_a_request_to_stop_is_heard_at_the_end_of_a_training_too(clock):
    recorder = Recorder()
    attached = Session(checkpoints=recorder, stop_requested=lambda: True)
    with pytest.raises(Preempted, match="asked to stop at step 9 of a"):
        attached.reached("a", 9, 9, progress(9))
    assert recorder.events == [("save", "a", 9), ("wait",)]


def test_without_checkpoints_a_stop_says_that_nothing_is_saved():
    with pytest.raises(Preempted) as stopped:
        train(Session(stop_requested=lambda: True), "a")
    assert not stopped.value.saved


def test_what_has_finished_for_good_is_forgotten_with_its_checkpoints(clock):
    recorder = Recorder()
    attached = Session(checkpoints=recorder, every_minutes=1)
    for name in ("g/a", "g/b", "g", "ga", "h"):
        train(attached, name, bounds=(0, 9))
    attached.finished("g")
    assert recorder.events == [("delete", "g")]
    clock.seconds += 100
    train(attached, "h2", bounds=(0,))
    assert recorder.of("save") == [("save", "ga", 9), ("save", "h", 9), ("save", "h2", 0)]


def test_what_is_unfinished_is_named():
    assert Session(checkpoints=Recorder()).unfinished() == ["of", "them"]
    assert Session().unfinished() == []
    Session().finished("anything")


def test_the_end_waits_for_the_last_checkpoint():
    recorder = Recorder()
    with Session(checkpoints=recorder):
        assert recorder.events == []
    assert recorder.events == [("wait",)]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, InputError])
def test_the_end_waits_after_a_fault_too(fault):
    recorder = Recorder()
    with pytest.raises(fault), Session(checkpoints=recorder):
        raise fault
    assert recorder.events == [("wait",)]


class Failing(Recorder):
    def wait(self):
        raise InputError("the disk is full")


def test_a_last_checkpoint_that_fails_is_told():
    with pytest.raises(InputError, match="the disk is full"), Session(checkpoints=Failing()):
        pass


def test_of_two_faults_the_first_is_told():
    with pytest.raises(RuntimeError, match="first"), Session(checkpoints=Failing()):
        raise RuntimeError("first")


@pytest.mark.parametrize("made", [4, 9])
def test_a_checkpoint_that_was_gone_on_from_is_not_written_again(made, tmp_path):
    """While it was, a kill would lose it."""

    def stopped_at_once():
        attached = Session(checkpoints=Checkpoints(tmp_path), stop_requested=lambda: True)
        step, _ = attached.resume("t", progress(0))
        with pytest.raises(Preempted):
            attached.reached("t", made, 9, progress(made))
        return step

    assert stopped_at_once() == 0
    (folder,) = (tmp_path / "t").iterdir()
    before = folder.stat().st_mtime_ns
    assert stopped_at_once() == made
    assert folder.stat().st_mtime_ns == before


def test_nothing_attached_goes_through_to_the_end():
    begun = progress(0)
    assert QUIET.resume("t", begun) == (0, begun)
    assert QUIET.reached("t", 0, 9, begun) == 9
