import dataclasses
import json

import chex
import jax
import numpy as np
import pytest

from sublim_jax import aux_logits, runs, trees
from sublim_jax.aux_logits import AuxLogitsConfig, compile_stages, ensemble, member_keys
from sublim_jax.distill import ARMS

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


def opened(folder, data, config=CONFIG):
    return runs.open_run(folder, aux_logits.identity(config, data))


def contents(folder):
    """All files of a run but for the manifest, and without times."""

    def timeless(value):
        if isinstance(value, dict):
            return {name: timeless(item) for name, item in value.items() if name != "seconds"}
        return value

    return {
        str(path.relative_to(folder)): [
            timeless(json.loads(text))
            for text in (
                path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            )
        ]
        for path in sorted(folder.rglob("*.json*"))
        if path.name != "manifest.json"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_images):
    """A run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    assert aux_logits.run_ensemble(CONFIG, tiny_images, opened(folder, tiny_images))
    return folder


def test_resumed_equals_uninterrupted(whole, tmp_path, tiny_images, monkeypatch):
    write, written = runs.Run.write, []

    def killed_at_the_third(self, name, value):
        if name.startswith("members/"):
            written.append(name)
            if len(written) == 3:
                raise KeyboardInterrupt
        write(self, name, value)

    monkeypatch.setattr(runs.Run, "write", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        aux_logits.run_ensemble(CONFIG, tiny_images, opened(tmp_path, tiny_images))
    monkeypatch.undo()
    assert len(list((tmp_path / "members").iterdir())) == 2
    assert not (tmp_path / "results.json").exists()
    assert aux_logits.run_ensemble(CONFIG, tiny_images, opened(tmp_path, tiny_images))
    assert contents(tmp_path) == contents(whole)


def equal_up_to_rounding(one, other):
    for a, b in zip(one, other, strict=True):
        # A few Adam steps from tiny gradients amplify the last bits.
        chex.assert_trees_all_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_members_do_not_depend_on_how_many_train_at_once(tiny_images, batching):
    keys = member_keys(CONFIG)
    stages = compile_stages(CONFIG, tiny_images, devices=jax.local_devices()[:1], batching=batching)
    inits = stages.initialise(keys)

    def trained(rows):
        arguments = keys[rows], trees.take(inits, rows), trees.take(inits, (rows + 1) % 5)
        return dict(ensemble.train_members(stages, *arguments))

    together = trained(np.arange(3))
    for row in range(3):
        alone = trained(np.array([row]))
        for arm, members in together.items():
            equal_up_to_rounding(members[row : row + 1], alone[arm])


def test_a_complete_run_trains_nothing(whole, tiny_images, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(ensemble, "compile_stages", None)
    assert not aux_logits.run_ensemble(CONFIG, tiny_images, opened(whole, tiny_images))
    assert contents(whole) == before


def test_a_member_does_not_depend_on_the_number_of_members():
    few, many = (member_keys(dataclasses.replace(CONFIG, members=members)) for members in (2, 9))
    assert (jax.random.key_data(few) == jax.random.key_data(many)[:2]).all()


@pytest.mark.parametrize("batching", ["map", "vmap"])
def test_four_devices_equal_one(tiny_images, batching):
    keys = member_keys(CONFIG)
    one, four = (
        compile_stages(CONFIG, tiny_images, devices=jax.local_devices()[:count], batching=batching)
        for count in (1, 4)
    )
    inits = one.initialise(keys)
    others = trees.take(inits, np.array([1, 2, 3, 4, 0]))
    results = [dict(ensemble.train_members(stages, keys, inits, others)) for stages in (one, four)]
    for arm in results[0]:
        equal_up_to_rounding(results[0][arm], results[1][arm])


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
    manifest = json.loads((whole / "manifest.json").read_text())
    assert len(manifest["initialisation_sha256"]) == 64
    assert manifest["data"]["title"] == "tiny, 150/40"


def test_the_shared_initialisation_is_the_same_array(tiny_images):
    stages, keys = compile_stages(CONFIG, tiny_images), member_keys(CONFIG)
    inits = stages.initialise(keys)
    assert trees.fingerprint(inits) == trees.fingerprint(stages.initialise(keys))
    first = [trees.fingerprint(trees.take(inits, member)) for member in range(CONFIG.members)]
    assert len(set(first)) == CONFIG.members
