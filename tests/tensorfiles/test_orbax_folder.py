import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as classic
import pytest
import tensor_contents as contents
import tensorstore
from jax.sharding import NamedSharding, PartitionSpec
from orbax.checkpoint import v1

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import open_tensors, orbax_folder
from sublim_jax.training import Checkpoints, TrainState
from sublim_jax.training.session import Progress

SHAPES = {"params/cube": (4, 3, 8), "params/hidden_0/kernel": (12, 8), "step": (), "tail": (11,)}
SPLITS = {
    "params/cube": (None, None, "x"),
    "params/hidden_0/kernel": ("x", "y"),
    "step": (),
    "tail": (),
}


def save_standard(path, tree):
    with classic.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)


def save_pytree(**options):
    def save(path, tree):
        with classic.PyTreeCheckpointer(**options) as checkpointer:
            checkpointer.save(path, tree)

    return save


SAVE = {
    "v1": v1.save,
    "standard": save_standard,
    "without a database": save_pytree(use_ocdbt=False),
    "third zarr": save_pytree(use_ocdbt=True, use_zarr3=True),
    "third zarr without a database": save_pytree(use_ocdbt=False, use_zarr3=True),
}


def mesh():
    auto = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((2, 2), ("x", "y"), axis_types=auto)


def nested(arrays, splits=SPLITS):
    """A tree of arrays on four devices from arrays by path."""
    tree = {}
    for name, array in arrays.items():
        *above, last = name.split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        sharding = NamedSharding(mesh(), PartitionSpec(*splits[name]))
        place[last] = jax.device_put(array, sharding)
    return tree


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("kind", SAVE)
def test_sharded_arrays_are_read_by_their_path(path, kind):
    arrays = contents.draw("float32", SHAPES)
    SAVE[kind](path, nested(arrays))
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "uint8", "bool"])
def test_types_are_read(path, dtype):
    arrays = contents.draw(dtype, SHAPES)
    v1.save(path, nested(arrays))
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("split", ["x", ("x", None), (None, "x"), (None, None, ("x", "y")), ()])
@pytest.mark.parametrize("box", [1, 5, 13, 40, 1 << 20])
def test_arrays_larger_than_a_box_are_read_however_they_are_split(path, split, box, monkeypatch):
    shape = (2, 6, 8)
    split = (split,) if isinstance(split, str) else split
    arrays = contents.draw("float32", {"a": shape})
    v1.save(path, nested(arrays, {"a": split}))
    monkeypatch.setattr(orbax_folder, "BOX", box)
    contents.assert_holds(open_tensors(path), arrays)


def test_chunks_that_do_not_divide_the_shape_are_read(path, monkeypatch):
    arrays = contents.draw("float32", {"a": (7, 5, 9)})
    save_pytree(use_ocdbt=False)(path, arrays)
    shutil.rmtree(path / "a")
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{path}/a/"},
        "metadata": {"shape": [7, 5, 9], "chunks": [2, 3, 4], "dtype": "<f4"},
    }
    tensorstore.open(spec, create=True).result()[...] = arrays["a"]
    for box in (1, 30, 100, 1 << 20):
        monkeypatch.setattr(orbax_folder, "BOX", box)
        contents.assert_holds(open_tensors(path), arrays, sizes=(1, 7, 50, 1 << 40))


@pytest.mark.parametrize("limit", [1, 6, 7, 20, 100, 1000])
def test_boxes_are_consecutive_and_within_the_limit(limit):
    for shape, chunk in (((7, 5, 9), (2, 3, 4)), ((30,), (4,)), ((1, 1, 8), (1, 1, 8)), ((), ())):
        places = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        boxes = [places[box] for box in orbax_folder._boxes(shape, chunk, limit)]
        assert all(box.size <= limit for box in boxes)
        np.testing.assert_array_equal(
            np.concatenate([box.reshape(-1) for box in boxes]), np.arange(places.size)
        )


def test_lists_and_numbers_are_named_and_what_is_no_array_is_left_out(path):
    tree = {"layers": [jnp.ones(2), {"b": jnp.zeros(3)}], "lr": 0.5, "note": "text", "none": None}
    v1.save(path, tree | {"empty": {}, "key": jax.random.key(1)})
    tensors = open_tensors(path).tensors
    assert set(tensors) == {"layers/0", "layers/1/b", "lr", "key"}
    assert tensors["lr"] == ("lr", (), "float64")
    assert list(open_tensors(path).blocks("lr", elements=1)) == [0.5]


def test_several_items_come_before_the_path(path):
    arrays = contents.draw("float32", {"model/w": (3, 2), "averaged/w": (3, 2)})
    items = {name.split("/")[0]: {"w": jnp.asarray(array)} for name, array in arrays.items()}
    v1.save_checkpointables(path, items)
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("kind", ["manager", "checkpointer"])
def test_a_step_of_a_managed_folder_is_read_and_the_whole_is_refused(path, kind):
    arrays = contents.draw("float32", {"w": (3, 2)})
    if kind == "manager":
        with classic.CheckpointManager(path) as manager:
            manager.save(5, args=classic.args.StandardSave(nested(arrays, {"w": ()})))
    else:
        with v1.training.Checkpointer(path) as checkpointer:
            checkpointer.save(5, nested(arrays, {"w": ()}))
    contents.assert_holds(open_tensors(path / "5"), arrays)
    assert "holds the checkpoints 5; expected the folder of one" in contents.refusal(path)


def test_a_checkpoint_of_a_training_is_read_by_the_names_of_its_leaves(path):
    arrays = contents.draw("float32", SHAPES)
    tree = nested(arrays)
    state = TrainState(tree["params"], (tree["step"],))
    checkpoints = Checkpoints(path)
    checkpoints.save("student", 7, Progress(state, tree["tail"], {}))
    checkpoints.wait()
    named = {f"state/{name}": array for name, array in arrays.items() if "params" in name}
    rest = {"state/opt_state/0": arrays["step"], "losses": arrays["tail"]}
    folder = path / "student" / "000000007"
    contents.assert_holds(open_tensors(folder), named | rest)
    assert "holds the checkpoints 000000007" in contents.refusal(path / "student")
    # Without names, as earlier versions wrote it, and with names for other leaves.
    seal = json.loads((folder / "seal.json").read_bytes())
    names = seal.pop("names")
    (folder / "seal.json").write_text(json.dumps(seal))
    assert set(open_tensors(folder).tensors) == set("0123")
    for wrong in (names[:-1], [*names[:-1], names[0]]):
        (folder / "seal.json").write_text(json.dumps(seal | {"names": wrong}))
        assert f"names {len(wrong)} leaves where there are 4; exp" in contents.refusal(folder)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "complex64", "int4"])
def test_other_types_are_refused_by_name(path, dtype):
    v1.save(path, {"a": jnp.ones(2), "odd": jnp.ones(2, dtype)})
    assert f"stores array 'odd' as {dtype}; expected real numbers" in contents.refusal(path)


def test_two_arrays_of_one_name_are_refused(path):
    v1.save(path, {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}})
    assert "has two arrays 'a/b'; expected distinct names" in contents.refusal(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"tree_metadata": {"a": {}}}', "\xff"])
def test_a_bad_description_of_the_tree_is_refused(path, text):
    v1.save(path, {"a": jnp.ones(2)})
    (path / "state" / "_METADATA").write_text(text, encoding="latin-1")
    contents.refusal(path)


def test_a_tree_without_its_description_is_refused(path):
    v1.save(path, {"a": jnp.ones(2)})
    (path / "state" / "_METADATA").unlink()
    assert "holds no _METADATA of orbax" in contents.refusal(path)


@pytest.mark.parametrize("kind", SAVE)
def test_files_that_are_damaged_or_missing_are_refused_or_do_not_matter(path, kind):
    SAVE[kind](path, nested(contents.draw("float32", SHAPES)))
    expected, outcomes = contents.read_all(path), []
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        content = file.read_bytes()
        for part in (content[: len(content) // 2], b"", None):
            if part is None:
                file.unlink()
            else:
                file.write_bytes(part)
            outcomes.append(contents.assert_refused_or(expected, path))
            assert outcomes[-1] != "other", (file, part)
        file.write_bytes(content)
    assert outcomes.count("refused") >= 6


def test_neither_orbax_nor_jax_is_needed(path):
    v1.save(path, {"a": jnp.ones(2)})
    program = (
        "import sys; from pathlib import Path; from sublim_jax.tensorfiles import open_tensors\n"
        "before = set(sys.modules)\n"
        f"source = open_tensors(Path({str(path)!r}))\n"
        "assert list(next(source.blocks('a', elements=2))) == [1, 1]\n"
        "assert not [m for m in set(sys.modules) - before if m.startswith(('orbax', 'jax'))]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_request_is_checked_at_once(path):
    v1.save(path, {"a": jnp.ones(2)})
    with pytest.raises(InputError, match="has no tensor 'b'"):
        open_tensors(path).blocks("b", elements=4)
