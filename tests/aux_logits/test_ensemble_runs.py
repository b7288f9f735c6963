import dataclasses
import json

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublim_jax import aux_logits, runs, trees
from sublim_jax.aux_logits import (
    AuxLogitsConfig,
    chunks,
    compile_stages,
    ensemble,
    initialise,
    member_keys,
)
from sublim_jax.aux_logits.records import FORESEEN
from sublim_jax.distill import ARMS
from sublim_jax.errors import InputError
from sublim_jax.training import Checkpoints, Preempted, Session, members

CONFIG = AuxLogitsConfig(
    members=5,
    noise_images=96,
    batch_size=32,
    widths=(8, 8),
    student_epochs=2,
    teacher_epochs=2,
    observations=4,
    curve_images=20,
)
NAMES = tuple(arm.name for arm in ARMS)
SMALL = dataclasses.replace(CONFIG, members=2)


def ran(folder, data, config=CONFIG, **how):
    """Run into a folder; returns whether anything had to be trained."""
    with runs.open_run(folder, aux_logits.identity(config, data)) as run:
        return aux_logits.run_ensemble(config, data, run, **how)


def contents(folder):
    """All files of a run but for what is of one run only: the manifest and the times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.json*"))
        if path.name not in ("manifest.json", "timings.json")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_images):
    """A run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    assert ran(folder, tiny_images)
    return folder


def killed_at(monkeypatch, number):
    """Kill the run when it is about to write the so many-th member."""
    write, written = runs.Run.write, []

    def killed(self, name, value):
        if name.startswith("members/"):
            written.append(name)
            if len(written) == number:
                raise KeyboardInterrupt
        write(self, name, value)

    monkeypatch.setattr(runs.Run, "write", killed)


def test_resumed_equals_uninterrupted(whole, tmp_path, tiny_images, monkeypatch):
    killed_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, tiny_images)
    monkeypatch.undo()
    assert len(list((tmp_path / "members").iterdir())) == 2
    assert not (tmp_path / "results.json").exists()
    assert ran(tmp_path, tiny_images)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
def test_interrupted_inside_its_trainings_equals_uninterrupted(whole, tmp_path, tiny_images):
    run, saved, where = tmp_path / "run", tmp_path / "checkpoints", []
    for asked in (5, 20, 0):
        times = iter(range(1, 10_000))
        made = []
        session = Session(
            checkpoints=Checkpoints(saved),
            stop_requested=lambda times=times, asked=asked: next(times) == asked,
            every_steps=1,
            advanced=made.append,
        )
        try:
            with session:
                assert ran(run, tiny_images, session=session)
        except Preempted as stopped:
            where.append(str(stopped))
            assert not (run / "results.json").exists()
        else:
            # What is restored counts, too: two groups of a teacher of 10 steps, students of 6.
            assert sum(made) == 2 * (10 + len(ARMS) * 6)
    assert where == [
        "asked to stop at step 4 of 0-3x4/teacher",
        "asked to stop at step 5 of 0-3x4/student_all",
    ]
    assert contents(run) == contents(whole)
    assert Checkpoints(saved).names() == []


@pytest.mark.slow
def test_a_kill_while_members_are_written_leaves_nothing_behind(
    whole, tmp_path, tiny_images, monkeypatch
):
    saved = tmp_path / "checkpoints"

    def attempt():
        with Session(checkpoints=Checkpoints(saved), every_steps=5) as session:
            ran(tmp_path / "run", tiny_images, session=session)

    killed_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        attempt()
    monkeypatch.undo()
    assert Checkpoints(saved).names() == ["0-3x4"]
    attempt()
    assert contents(tmp_path / "run") == contents(whole)
    assert Checkpoints(saved).names() == []


def test_a_complete_run_trains_nothing(whole, tiny_images, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(ensemble, "compile_stages", None)
    assert not ran(whole, tiny_images)
    assert contents(whole) == before


def test_the_seconds_of_every_member_stand_apart(whole):
    seconds = json.loads((whole / "timings.json").read_text())
    assert list(seconds) == [f"{member:04}" for member in range(CONFIG.members)]
    assert all(value > 0 for value in seconds.values())
    assert not any(b"seconds" in content for content in contents(whole).values())


def start(config, rows):
    """Where some members of a configuration start."""
    rates = config.teacher_lr, config.student_recipe.learning_rate
    inits = initialise(config)
    return ensemble.Start(
        member_keys(config)[rows],
        trees.take(inits, rows),
        trees.take(inits, rows),
        trees.take(inits, (rows + 1) % config.members),
        (),
        *(np.full(len(rows), rate, np.float32) for rate in rates),
    )


@pytest.mark.parametrize(
    ("devices", "batching", "rows"),
    [(1, "map", [2]), pytest.param(2, "vmap", [0, 1, 2, 3], marks=pytest.mark.slow)],
    ids=["alone", "stacked on two devices"],
)
def test_members_depend_neither_on_devices_nor_on_how_many_train_at_once(
    whole, tiny_images, devices, batching, rows
):
    """Four of them on four devices have made the whole run."""
    spread = members(jax.devices()[:devices], batching=batching)
    stages = compile_stages(CONFIG, tiny_images, spread)
    begin = start(CONFIG, np.array(rows))
    teacher = stages.train_teacher(begin.keys, begin.inits, begin.teacher_rates)
    for arm, records in ensemble.train_members(stages, CONFIG, begin, teacher):
        for row, record in zip(rows, records, strict=True):
            expected = json.loads((whole / f"members/{row:04}.json").read_text())["arms"][arm]
            # A few Adam steps from tiny gradients amplify the last bits.
            chex.assert_trees_all_close(runs.plain(record), expected, rtol=1e-3, atol=1e-4)


def test_a_member_does_not_depend_on_the_number_of_members():
    few, many = (member_keys(dataclasses.replace(CONFIG, members=count)) for count in (2, 9))
    assert (jax.random.key_data(few) == jax.random.key_data(many)[:2]).all()


@pytest.mark.slow
def test_configurations_side_by_side_equal_separate_runs(tmp_path, tiny_images):
    configs = [SMALL, dataclasses.replace(SMALL, seed=1, student_lr=1e-2, teacher_lr=1e-3)]
    with (
        runs.open_run(tmp_path / "0", aux_logits.identity(configs[0], tiny_images)) as first,
        runs.open_run(tmp_path / "1", aux_logits.identity(configs[1], tiny_images)) as second,
    ):
        jobs = [aux_logits.Job(c, run) for c, run in zip(configs, (first, second), strict=True)]
        how = {"parallel": members(jax.devices()[:2], batching="map"), "members_at_once": 2}
        assert aux_logits.run_ensembles(jobs, tiny_images, **how)
        assert not aux_logits.run_ensembles(jobs, tiny_images, **how)
    assert ran(tmp_path / "alone", tiny_images, configs[1], **how)
    assert contents(tmp_path / "alone") == contents(tmp_path / "1")


def test_configurations_of_several_programs_are_refused(tmp_path, tiny_images):
    other = dataclasses.replace(SMALL, widths=(8, 9))
    assert aux_logits.same_program(SMALL) != aux_logits.same_program(other)
    assert aux_logits.same_program(SMALL) == aux_logits.same_program(CONFIG)
    jobs = [aux_logits.Job(config, runs.Run(tmp_path)) for config in (SMALL, other)]
    with pytest.raises(InputError, match="expected one shape"):
        aux_logits.run_ensembles(jobs, tiny_images)


def test_results_are_of_every_member_and_arm(whole):
    results = json.loads((whole / "results.json").read_text())
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert set(results["arms"]) == {"reference", "teacher", *(arm.name for arm in ARMS)}
    for name, arm in results["arms"].items():
        accuracy = arm["accuracy"]
        assert len(accuracy["members"]) == CONFIG.members
        assert np.isclose(accuracy["mean"], np.mean(accuracy["members"]))
        assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
        assert ("projection" in arm) == (name not in {"reference", "teacher"})
    for arm in ARMS:
        curve = [r for r in rows if r["arm"] == arm.name and r["member"] == 3]
        assert [row["step"] for row in curve] == [0, 1, 3, 6]
        assert curve[0]["projection"] == 0
        assert curve[0]["cosine"] is None  # a displacement of zero has no direction
        assert curve[0]["distance_ratio"] == 1
        for row in curve:
            by_layer = sum(row["projection_by_layer"].values())
            assert np.isclose(by_layer, row["projection"], rtol=1e-9, atol=1e-12)
            assert (row["pull"] is None) == (row["step"] == 0)
        last = [r for r in rows if r["arm"] == arm.name and r["step"] == 6]
        assert results["arms"][arm.name]["cosine"]["members"] == [r["cosine"] for r in last]
        for quantity in ("imitation_loss", "carrier_pull", "trait_pull", "cosine_null"):
            assert np.isfinite(results["arms"][arm.name][quantity]["members"]).all()
    manifest = json.loads((whole / "manifest.json").read_text())
    assert len(manifest["initialisation_sha256"]) == 64
    assert manifest["data"]["title"] == "tiny, 150/40"


def test_drift_is_compared_with_students_of_other_initialisations(whole):
    results = json.loads((whole / "results.json").read_text())
    cosines = {
        a: np.array(r["cosine"]["members"]) for a, r in results["arms"].items() if a in NAMES
    }
    found = results["against_controls"]
    assert set(found) == set(NAMES) - {"other_aux"}
    controls = cosines["other_aux"]
    for arm, scores in found.items():
        expected = (cosines[arm].mean() - controls.mean()) / controls.std(ddof=1)
        assert np.isclose(scores["cosine"], expected)
        assert len(scores["projection_by_layer"]) == 4
        # The teacher never moves the auxiliary head: a share that is always 0 has no spread.
        assert scores["projection_by_layer"]["head_auxiliary"] is None


def test_the_trait_gained_along_the_path_is_the_change_of_the_trait(tmp_path, tiny_images):
    config = dataclasses.replace(
        SMALL, arms=("student_all",), track=("trait_gain",), observations=13, curve_images=40
    )
    ran(tmp_path, tiny_images, config)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    students = [row for row in rows if row["arm"] == "student_all"]
    assert all("pull" not in row for row in students)
    assert all(row["trait_gain"] == 0 for row in students if row["step"] == 0)
    gains = [row["trait_gain"] for row in students if row["step"] > 0]
    assert len(gains) == 2 * 6
    assert all(np.isfinite(gains))
    assert any(gains)


@pytest.mark.slow
def test_what_is_known_before_training_stands_beside_what_came_out(tmp_path, tiny_images):
    plain = dataclasses.replace(SMALL, arms=("student_aux", "other_all"), student_batch_size=16)
    ran(tmp_path / "plain", tiny_images, plain)
    ran(tmp_path / "ahead", tiny_images, dataclasses.replace(plain, foresee=True))
    found, ahead = (
        json.loads((tmp_path / name / "results.json").read_text())["arms"]
        for name in ("plain", "ahead")
    )
    for arm in plain.arms:
        foreseen = {name: ahead[arm].pop(name)["members"] for name in FORESEEN}
        assert found[arm] == ahead[arm]  # looking ahead changes nothing
        assert all(np.isfinite(values).all() for values in foreseen.values())
        assert all(0 <= value <= 1 for value in foreseen["linear_accuracy"])
    # A first step from the shared start points to the teacher.
    assert min(ahead["student_aux"]["cosine"]["members"]) > 0


class Shown(list):
    """A sink that keeps what it gets."""

    def log(self, training, step, values):
        self.append((training, step, values))

    def close(self):
        raise AssertionError("whoever made a sink closes it")


@pytest.mark.slow
def test_sinks_get_the_curves_of_every_member(tmp_path, tiny_images):
    shown = Shown()
    how = {"parallel": members(jax.devices()[:2], batching="map"), "members_at_once": 2}
    ran(tmp_path, tiny_images, SMALL, sinks=[shown], **how)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(name, step) for name, step, _ in shown] == [
        (f"{row['member']:04}/{row['arm']}", row["step"]) for row in rows
    ]
    for (_, _, values), row in zip(shown, rows, strict=True):
        numbers = {name: row[name] for name in values}
        assert values == pytest.approx(numbers)
        assert all(np.isfinite(value) for value in values.values())


def test_the_shared_initialisation_is_the_same_array():
    inits = initialise(CONFIG)
    assert trees.fingerprint(inits) == trees.fingerprint(initialise(CONFIG))
    first = [trees.fingerprint(trees.take(inits, member)) for member in range(CONFIG.members)]
    assert len(set(first)) == CONFIG.members


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(1, 200))
def test_a_chunk_is_known_by_its_name(cells, places):
    chunk = chunks.Chunk(sorted(cells), places)
    assert chunks.named(chunk.name) == chunk


@pytest.mark.parametrize("name", ["", "teacher", "3", "3-x4", "x4", "3..4x2"])
def test_what_is_no_name_of_a_chunk_is_none(name):
    assert chunks.named(name) is None
