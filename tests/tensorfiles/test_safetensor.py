import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
import tensor_contents as contents

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import open_tensors, read_tensor


def raw_file(path, header, data=b"", length=None):
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", contents.FLOATS + contents.INTEGERS)
def test_what_the_library_writes_is_read(path, dtype):
    arrays = contents.draw(dtype)
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    contents.assert_holds(open_tensors(path), arrays)


def test_what_jax_writes_is_read(path):
    arrays = contents.draw("bfloat16")
    safetensors.flax.save_file({name: jnp.asarray(a) for name, a in arrays.items()}, path)
    contents.assert_holds(open_tensors(path), arrays)


def test_order_is_that_of_the_file(path):
    raw_file(path, {"b": entry(), "a": entry(offsets=(8, 16))}, bytes(16))
    assert list(open_tensors(path).tensors) == ["b", "a"]


def test_a_file_without_tensors_is_one(path):
    safetensors.numpy.save_file({}, path)
    assert dict(open_tensors(path).tensors) == {}


def test_several_tensors_can_be_read_at_the_same_time(path):
    arrays = contents.draw("float16")
    safetensors.numpy.save_file(arrays, path)
    source = open_tensors(path)
    streams = [source.blocks("matrix", elements=4) for _ in range(2)]
    for one, other in zip(*streams, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_request_is_checked_at_once(path):
    safetensors.numpy.save_file(contents.draw("float32"), path)
    source = open_tensors(path)
    with pytest.raises(InputError, match=r"has no tensor 'w'; expected a name that it lists$"):
        source.blocks("w", elements=4)
    with pytest.raises(InputError, match=r"elements is 0; expected a positive number$"):
        source.blocks("matrix", elements=0)
    with pytest.raises(InputError, match="has no tensor 'w'"):
        read_tensor(source, "w")


def test_a_small_tensor_is_read_in_its_shape(path):
    arrays = contents.draw("float64")
    safetensors.numpy.save_file(arrays, path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read_tensor(open_tensors(path), name), array)


def test_eight_bit_floats_are_refused_by_name(path):
    arrays = {name: np.ones(3, ml_dtypes.float8_e4m3fn) for name in "ab"}
    safetensors.numpy.save_file(arrays | {"c": np.ones(2)}, path)
    assert "stores tensor 'a' (and 1 other) as F8_E4M3; expected one of F64" in contents.refusal(
        path
    )


BAD = {
    "too long a header": ({}, b"", 1 << 62),
    "a header past the end": ({}, b"", 100),
    "a header of one byte": (b"{", b"", None),
    "no JSON": (b"{x}", b"", None),
    "no text": (b"\xff\xfe", b"", None),
    "no object": ([], b"", None),
    "a name twice": (b'{"a": 1, "a": 1}', b"", None),
    "no entry": ({"a": 3}, b"", None),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None),
    "a negative shape": ({"a": entry(shape=(-2,))}, bytes(8), None),
    "a shape of fractions": ({"a": entry(shape=(2.0,))}, bytes(8), None),
    "an unknown type": ({"a": entry(dtype="Q3")}, bytes(8), None),
    "a size that is not the shape's": ({"a": entry(shape=(3,))}, bytes(8), None),
    "data past the end": ({"a": entry()}, bytes(7), None),
    "data before the beginning": ({"a": entry(offsets=(-8, 0))}, bytes(8), None),
    "a gap": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), None),
    "an overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), None),
    "bytes at the end": ({"a": entry()}, bytes(9), None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_file_is_refused(path, case):
    contents.refusal(raw_file(path, *BAD[case]))


def test_a_file_that_is_cut_short_is_refused(path):
    safetensors.numpy.save_file(contents.draw("float32", {"a": (3, 4), "b": (5,)}), path)
    for what in contents.damaged_files(path):
        assert contents.refusal(path), what


def test_no_byte_of_the_header_leads_to_another_fault(path):
    safetensors.numpy.save_file(contents.draw("float32", {"a": (3, 4), "b": (5,)}), path)
    expected, outcomes = contents.read_all(path), []
    length = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    for _ in contents.flipped_files(path, length):
        outcomes.append(contents.assert_refused_or(expected, path))  # noqa: PERF401
    assert outcomes.count("refused") > len(outcomes) / 2


def test_a_file_that_shrinks_after_it_was_opened_is_refused(path):
    safetensors.numpy.save_file({"a": np.ones(100, np.float32)}, path)
    source = open_tensors(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="ends too early or has become shorter; expected a safet"):
        list(source.blocks("a", elements=30))
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        list(source.blocks("a", elements=30))


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def sharded(tmp_path):
    """A folder of two shards, what they hold, and a function that writes another index."""
    arrays = contents.draw("bfloat16")
    places = {name: SHARDS[i % 2] for i, name in enumerate(arrays)}
    for shard in SHARDS:
        part = {name: array for name, array in arrays.items() if places[name] == shard}
        safetensors.numpy.save_file(part, tmp_path / shard)

    def index(**changes):
        content = {"metadata": {}, "weight_map": places | changes}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))

    index()
    return tmp_path, arrays, index


def test_shards_are_read_as_one(sharded):
    folder, arrays, _ = sharded
    (folder / "other.safetensors").write_bytes(b"not of the index")
    source = open_tensors(folder)
    contents.assert_holds(source, arrays)
    assert source.path == folder


def test_shards_are_read_without_an_index(sharded):
    folder, arrays, _ = sharded
    (folder / "model.safetensors.index.json").unlink()
    contents.assert_holds(open_tensors(folder), arrays)


def test_a_folder_with_one_file_is_read(tmp_path):
    arrays = contents.draw("float32")
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text("{}")
    contents.assert_holds(open_tensors(tmp_path), arrays)


def test_a_tensor_that_the_index_leaves_out_is_there_all_the_same(sharded):
    folder, arrays, _ = sharded
    places = {"matrix": SHARDS[0] if "matrix" in list(arrays)[::2] else SHARDS[1]}
    index = folder / "model.safetensors.index.json"
    wanted = json.loads(index.read_bytes())["weight_map"]
    assert wanted.pop("matrix") == places["matrix"]
    index.write_text(json.dumps({"weight_map": wanted}))
    contents.assert_holds(open_tensors(folder), arrays)


def test_a_missing_shard_is_named(sharded):
    folder, _, _ = sharded
    (folder / SHARDS[1]).unlink()
    assert f"lacks {SHARDS[1]}; expected every file" in contents.refusal(folder)


def test_a_tensor_that_is_not_where_the_index_says_is_named(sharded):
    folder, _, index = sharded
    index(lost=SHARDS[0], missing=SHARDS[1])
    assert "does not have tensor 'lost' (and 1 other) in the file that" in contents.refusal(folder)
    name = next(iter(open_tensors(folder / SHARDS[1]).tensors))
    index(**{name: SHARDS[0]})
    assert f"does not have tensor {name!r} in the file that" in contents.refusal(folder)


def test_a_tensor_in_two_shards_is_named(sharded):
    folder, arrays, _ = sharded
    safetensors.numpy.save_file(arrays, folder / SHARDS[1])
    twice = list(open_tensors(folder / SHARDS[0]).tensors)
    message = contents.refusal(folder)
    assert f"(and {len(twice) - 1} others) in more than one of its files; exp" in message
    assert any(f"has tensor {name!r}" in message for name in twice)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "\xff"]
)
def test_a_bad_index_is_refused(sharded, text):
    folder, _, _ = sharded
    (folder / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    contents.refusal(folder)


def test_an_index_does_not_lead_out_of_the_folder(sharded):
    folder, _, index = sharded
    index(matrix="../model.safetensors")
    assert "lacks ../model.safetensors" in contents.refusal(folder)


def test_two_indices_are_refused(sharded):
    folder, _, _ = sharded
    (folder / "model.fp16.safetensors.index.json").write_text("{}")
    assert "has the indices model.fp16.safetensors.index.json, model" in contents.refusal(folder)
