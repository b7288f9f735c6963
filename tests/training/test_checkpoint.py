import logging
import shutil

import chex
import folders
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.training import Checkpoints, mesh_parallel

TRAINING = "student"


def flip(path):
    """Change a byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def values(step):
    """Values that cannot be compressed, some of them in several parts, others whole."""
    key = jax.random.key(step)
    tree = {"w": jax.random.normal(key, (32, 64)), "v": jax.random.normal(key, (8,)), "n": step}
    return mesh_parallel(fsdp=2).place(jax.tree.map(jnp.asarray, tree), "state")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("sound")
    checkpoints = Checkpoints(folder)
    for step in (3, 12):
        checkpoints.save(TRAINING, step, values(step))
    checkpoints.wait()
    return folder


@pytest.fixture
def copied(sound, tmp_path):
    """A copy of the folder to be damaged, afresh every time it is asked for."""

    def copy():
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        folder = shutil.copytree(sound, tmp_path / "copy")
        return folder, sorted((folder / TRAINING).iterdir())[-1]

    return copy


def restored(folder):
    """Restore the newest sound checkpoint; returns its step after a look at its values."""
    found = Checkpoints(folder).restore(TRAINING, values(0))
    if found is None:
        return None
    step, tree = found
    chex.assert_trees_all_equal(tree, values(step))
    assert tree["w"].sharding == values(0)["w"].sharding
    return step


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 5, 10, 200, 1000):
        checkpoints.save("a/b", step, values(step))
    checkpoints.wait()
    checkpoints.save("c", 1, values(1))
    checkpoints.wait()
    assert checkpoints.steps("a/b") == [10, 200, 1000]
    assert checkpoints.steps("c") == [1]
    assert checkpoints.steps("other") == []
    assert checkpoints.names() == ["a", "c"]
    checkpoints.delete("a")
    assert checkpoints.names() == ["c"]
    assert checkpoints.steps("a/b") == []


def test_the_newest_is_restored_and_nothing_is_said(sound, caplog, capfd):
    assert restored(sound) == 12
    assert warnings_of(caplog) == []
    assert capfd.readouterr() == ("", "")


def test_a_step_saved_again_holds_the_new_values(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(TRAINING, 7, values(1))
    checkpoints.save(TRAINING, 7, values(7))
    assert checkpoints.restore(TRAINING, values(0))[0] == 7  # waits for what is being written
    assert restored(tmp_path) == 7


def test_without_checkpoints_there_is_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "none").names() == []
    assert Checkpoints(tmp_path / "none").steps(TRAINING) == []
    assert restored(tmp_path / "none") is None
    (tmp_path / TRAINING).mkdir()
    assert restored(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, delete, halve, empty])
def test_of_a_damaged_file_the_values_are_not_taken(damage, copied, caplog, capfd):
    """Whatever the file, the values are right: of this checkpoint or of the one before it."""
    _, newest = copied()
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    files = [name for name in files if (newest / name).stat().st_size]
    assert len(files) >= 5
    before, wrong = 0, {}
    for name in files:
        folder, newest = copied()
        damage(newest / name)
        caplog.clear()
        try:
            step = restored(folder)
        except AssertionError:
            wrong[str(name)] = "other values"
            continue
        said = warnings_of(caplog)
        aside = sorted(path.name for path in newest.parent.iterdir())
        if step == 3:
            before += 1
            told = len(said) == 1 and f"checkpoint {newest} is damaged (" in said[0]
            if not told or aside != ["000000003", "000000012.damaged"] or "\n" in said[0]:
                wrong[str(name)] = said, aside
        elif step != 12 or said or aside != ["000000003", "000000012"]:
            wrong[str(name)] = step, said, aside
    assert wrong == {}
    assert before >= 2
    assert capfd.readouterr() == ("", "")


def test_an_emptied_checkpoint_is_set_aside(copied, caplog, capfd):
    folder, newest = copied()
    for path in list(newest.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert restored(folder) == 3
    (said,) = warnings_of(caplog)
    assert said.startswith(f"checkpoint {newest} is damaged (")
    assert "set aside, and the one before it is used" in said
    assert not newest.exists()
    assert newest.with_name("000000012.damaged").is_dir()
    # Next time it is not spoken of, and a new one takes its place.
    caplog.clear()
    checkpoints = Checkpoints(folder)
    assert restored(folder) == 3
    checkpoints.save(TRAINING, 12, values(12))
    checkpoints.wait()
    assert restored(folder) == 12
    assert warnings_of(caplog) == []
    assert capfd.readouterr() == ("", "")


def test_where_none_is_sound_there_is_nothing_to_restore(copied, caplog):
    folder, newest = copied()
    for path in newest.parent.iterdir():
        shutil.rmtree(path)
        path.mkdir()
    assert restored(folder) is None
    assert [said.split(" is damaged (")[0] for said in warnings_of(caplog)] == [
        f"checkpoint {path}" for path in (newest, newest.with_name("000000003"))
    ]


def test_half_a_checkpoint_that_a_kill_left_is_passed_over(copied, caplog, capfd):
    folder, newest = copied()
    half = newest.with_name("000000015.orbax-checkpoint-tmp")
    shutil.copytree(newest, half)
    assert Checkpoints(folder).steps(TRAINING) == [3, 12]
    assert restored(folder) == 12
    checkpoints = Checkpoints(folder)
    checkpoints.save(TRAINING, 15, values(15))
    checkpoints.wait()
    assert restored(folder) == 15
    assert not half.exists()
    assert warnings_of(caplog) == []
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_another_shape_is_not_taken(copied, caplog):
    folder, _ = copied()
    other = mesh_parallel().place({"w": jnp.ones((4, 4)), "v": jnp.ones(8), "n": 0}, "state")
    assert Checkpoints(folder).restore(TRAINING, other) is None
    assert len(warnings_of(caplog)) == 2


@pytest.mark.slow
def test_values_may_be_given_away_while_they_are_written(tmp_path):
    """A megabyte in four parts and one whole, changed in place right after each save."""
    place = mesh_parallel(fsdp=4).place
    advance = jax.jit(lambda tree: jax.tree.map(lambda a: 1.5 * a + 1, tree), donate_argnums=0)
    tree = {"parts": jnp.arange(2.0**18).reshape(512, 512), "whole": jnp.arange(2.0**18)}
    tree, checkpoints, expected = place(tree, "state"), Checkpoints(tmp_path, keep=6), {}
    for step in range(6):
        expected[step] = jax.tree.map(np.array, tree)
        checkpoints.save(TRAINING, step, tree)
        for _ in range(5):
            tree = advance(tree)
    checkpoints.wait()
    for step in reversed(range(6)):
        found = Checkpoints(tmp_path).restore(TRAINING, tree)
        assert found[0] == step
        chex.assert_trees_all_equal(found[1], expected[step])
        shutil.rmtree(tmp_path / TRAINING / f"{step:09}")


@pytest.mark.parametrize("blocked", [".", TRAINING])
def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(blocked, tmp_path, capfd):
    folder = tmp_path / "checkpoints"
    place = folder / blocked
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    checkpoints = Checkpoints(folder)

    def save():
        checkpoints.save(TRAINING, 1, values(1))
        checkpoints.wait()

    said = folders.refusal(save)
    path = folder / TRAINING / "000000001"
    assert said.startswith(f"checkpoint {path} cannot be written (")
    assert said.endswith("); expected a writable folder with room")
    assert capfd.readouterr() == ("", "")


FULL = """
from sublim_jax.training import Checkpoints
import numpy as np
checkpoints = Checkpoints(Path(sys.argv[1]))
tree = {"a": jax.device_put(np.random.default_rng(0).random(200_000, np.float32))}
checkpoints.save("t", 1, tree)
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
try:
    checkpoints.save("t", 2, tree)
    checkpoints.wait()
except InputError as fault:
    print(fault)
step, found = checkpoints.restore("t", tree)
assert step == 1 and (found["a"] == tree["a"]).all()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
checkpoints.save("t", 2, tree)
checkpoints.wait()
assert checkpoints.restore("t", tree)[0] == 2
"""


def test_a_full_disk_is_told_in_a_sentence_and_what_was_there_stays(tmp_path):
    finished = folders.python(FULL, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    (said,) = finished.stdout.splitlines()
    assert said.startswith(f"checkpoint {tmp_path / 't' / '000000002'} cannot be written (")


def test_what_cannot_be_written_does_not_stay_in_the_way(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (tmp_path / TRAINING).write_text("a file")
    with pytest.raises(InputError):
        checkpoints.save(TRAINING, 1, values(1))
    checkpoints.wait()
    (tmp_path / TRAINING).unlink()
    checkpoints.save(TRAINING, 1, values(1))
    checkpoints.wait()
    assert restored(tmp_path) == 1
