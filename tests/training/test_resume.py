"""However a training is cut into chunks, interrupted and moved, it ends the same."""

import contextlib
import json

import chex
import jax
import numpy as np
import pytest
import toy

from sublim_jax import trees
from sublim_jax.metrics import MetricsLog
from sublim_jax.training import (
    Checkpoints,
    Preempted,
    Session,
    Watch,
    make_fit,
    members,
    mesh_parallel,
    one_device,
    pmap_parallel,
)


def interrupted(fit, given, key, folder, asked, **options):
    """Train until the session is asked to stop; returns the step at which it was."""
    with pytest.raises(Preempted) as stopped, toy.stopping(folder, asked, **options) as session:
        fit(*given, key=key, attached=session)
    assert stopped.value.saved
    return Checkpoints(folder).steps("training")[-1]


@pytest.mark.parametrize("kind", toy.KINDS)
def test_chunks_of_any_length_give_the_same_bits(kind):
    fit, (given, key), whole = toy.training(kind)
    for options in (
        {"every_steps": 1},
        {"every_steps": 2},
        {"every_steps": 5, "every_minutes": None},
        {"chunk_seconds": 1e-9},
        {"chunk_seconds": 1e9},
    ):
        with Session(**options) as session:
            found = fit(*given, key=key, attached=session)
        chex.assert_trees_all_equal(found, whole)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_resumed_from_any_step_is_uninterrupted_to_the_bit(kind, tmp_path):
    fit, (given, key), whole = toy.training(kind)
    # In every kind after a few steps, in one of them after many a number, none and all included.
    steps = (0, 1, 2, 4, 8, 9) if kind == "mesh of data and fsdp" else (5,)
    for step in steps:
        folder = tmp_path / str(step)
        assert interrupted(fit, given, key, folder, step + 1, every_steps=1) == step
        with Session(checkpoints=Checkpoints(folder)) as session:
            found = fit(*given, key=key, attached=session)
        chex.assert_trees_all_equal(found, whole)
        assert toy.same_shardings(found, whole)


@pytest.mark.parametrize("kind", ["pmap", "members by map"])
def test_interrupted_again_and_again_is_uninterrupted_to_the_bit(kind, tmp_path):
    fit, (given, key), whole = toy.training(kind)
    reached = [interrupted(fit, given, key, tmp_path, 3, every_steps=1) for _ in range(4)]
    assert reached == [2, 4, 6, 8]
    with Session(checkpoints=Checkpoints(tmp_path)) as session:
        chex.assert_trees_all_equal(fit(*given, key=key, attached=session), whole)


@pytest.mark.parametrize("kind", ["one device", "pmap", "members by map"])
def test_a_kill_between_checkpoints_goes_back_to_the_last_one(kind, tmp_path):
    fit, (given, key), whole = toy.training(kind)

    def killed(steps):
        if steps:
            made.append(steps)
        if sum(made) == 7:
            raise KeyboardInterrupt

    made = []
    session = Session(
        checkpoints=Checkpoints(tmp_path), every_steps=3, advanced=killed, chunk_seconds=1e-9
    )
    with pytest.raises(KeyboardInterrupt), session:
        fit(*given, key=key, attached=session)
    assert Checkpoints(tmp_path).steps("training") == [3, 6]
    made = []
    session = Session(checkpoints=Checkpoints(tmp_path), advanced=made.append)
    with session:
        chex.assert_trees_all_equal(fit(*given, key=key, attached=session), whole)
    assert made[0] == 6
    assert sum(made) == toy.STEPS


@pytest.mark.parametrize("kind", ["one device", "pmap"])
def test_metrics_have_no_gap_and_no_step_twice(kind, tmp_path):
    fit, (given, key), whole = toy.training(kind)
    path = tmp_path / "losses.jsonl"
    for asked in (3, 4, 0):
        # Killed between two checkpoints, when it has logged more than it has saved.
        log, times = MetricsLog(path), iter(range(10_000))

        def kill(_, times=times, asked=asked):
            if next(times) == asked > 0:
                raise KeyboardInterrupt

        session = Session(
            checkpoints=Checkpoints(tmp_path / "checkpoints"),
            every_steps=2,
            metrics=log,
            advanced=kill,
            chunk_seconds=1e-9,
        )
        with contextlib.suppress(KeyboardInterrupt), session, log:
            found = fit(*given, key=key, attached=session)
    chex.assert_trees_all_equal(found, whole)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(toy.STEPS))
    assert {row["training"] for row in rows} == {"training"}
    np.testing.assert_array_equal(np.float32([row["loss"] for row in rows]), whole.losses)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (mesh_parallel, lambda: mesh_parallel(jax.devices()[:2], fsdp=2)),
        (lambda: mesh_parallel(fsdp=2, tensor=2), lambda: mesh_parallel(jax.devices()[2:])),
        (pmap_parallel, one_device),
        (one_device, lambda: mesh_parallel(fsdp=4)),
        (lambda: mesh_parallel(fsdp=2), pmap_parallel),
        (one_device, lambda: pmap_parallel(jax.devices()[1:])),
    ],
    ids=["4 to 2", "4 to the last 2", "pmap to 1", "1 to 4", "mesh to pmap", "1 to pmap of 3"],
)
def test_a_checkpoint_goes_on_where_there_are_more_or_fewer_devices(before, after, tmp_path):
    _, (given, key), whole = toy.training("one device")
    moved = [make_fit(toy.loss, toy.RECIPE, watch=toy.WATCH, parallel=p()) for p in (before, after)]
    interrupted(moved[0], given, key, tmp_path, 6, every_steps=1)
    made = []
    with Session(checkpoints=Checkpoints(tmp_path), advanced=made.append) as session:
        found = moved[1](*given, key=key, attached=session)
    assert made[0] == 5
    there = moved[1].parallel.place(given[0], "state")
    assert toy.same_shardings(found.params, there)
    chex.assert_trees_all_close(found, whole, **toy.ROUNDING)


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_members_go_on_on_more_or_fewer_devices(batching, tmp_path):
    several, (given, key), whole = toy.training(f"members by {batching}")
    alone = members(jax.devices()[:1], batching=batching)
    one = make_fit(toy.loss, toy.RECIPE, watch=toy.WATCH, parallel=alone)
    for first, second in ((several, one), (one, several)):
        folder = tmp_path / str(len(first.parallel.devices))
        interrupted(first, given, key, folder, 5, every_steps=1)
        with Session(checkpoints=Checkpoints(folder)) as session:
            found = second(*given, key=key, attached=session)
        chex.assert_trees_all_close(found, whole, **toy.ROUNDING)


def test_what_is_restored_is_only_what_is_still_to_come(tmp_path):
    fit, (given, key), whole = toy.training("one device")
    interrupted(fit, given, key, tmp_path, 5, every_steps=1)
    resumed = []

    class Looking(Session):
        def resume(self, training, progress):
            resumed.append(super().resume(training, progress))
            return resumed[-1]

        def reached(self, training, step, steps, progress):
            if len(resumed) == 1:
                resumed.append(jax.device_get(progress))
            return super().reached(training, step, steps, progress)

    with Looking(checkpoints=Checkpoints(tmp_path)) as session:
        fit(*given, key=key, attached=session)
    _, progress = resumed
    np.testing.assert_array_equal(progress.losses[:4], whole.losses[:4])
    assert np.isnan(progress.losses[4:]).all()
    chex.assert_trees_all_equal(
        trees.take(progress.observations, slice(2)), trees.take(whole.observations, slice(2))
    )


def test_trainings_of_one_session_do_not_mix(tmp_path):
    fit, (given, key), _ = toy.training("one device")
    keys = {"a": key, "b/c": jax.random.key(8)}
    whole = {name: fit(*given, key=k) for name, k in keys.items()}

    def run(asked):
        with toy.stopping(tmp_path, asked, every_steps=1) as session:
            return {n: fit(*given, key=k, attached=session, name=n) for n, k in keys.items()}

    with pytest.raises(Preempted, match="asked to stop at step 4 of b/c"):
        run(10 + 5)  # at all the bounds of the first and some of the second
    assert Checkpoints(tmp_path).steps("a")[-1] == toy.STEPS
    chex.assert_trees_all_equal(run(0), whole)


@pytest.mark.slow
def test_what_is_remembered_of_the_observation_before_survives(tmp_path):
    _, (given, key), _ = toy.training("one device")
    watch = Watch((0, 2, 5, 9), lambda p, before: trees.sub(p, before), remember=lambda p: p)
    fit = make_fit(toy.loss, toy.RECIPE, watch=watch)
    whole = fit(*given, key=key)
    for asked in range(1, toy.STEPS + 1):  # watched steps among them
        interrupted(fit, given, key, tmp_path / str(asked), asked, every_steps=1)
        with Session(checkpoints=Checkpoints(tmp_path / str(asked))) as session:
            chex.assert_trees_all_equal(fit(*given, key=key, attached=session), whole)
