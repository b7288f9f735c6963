import tracemalloc
import zipfile

import numpy as np
import pytest
import tensor_contents as contents

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import open_tensors

SAVE = {"plain": np.savez, "compressed": np.savez_compressed}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.npz"


@pytest.mark.parametrize("kind", SAVE)
@pytest.mark.parametrize("dtype", [*contents.FLOATS, "int32", "uint8", "bool"])
def test_what_numpy_writes_is_read(path, dtype, kind):
    arrays = contents.draw(dtype)
    SAVE[kind](path, **arrays)
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2"])
def test_big_endian_arrays_are_read(path, dtype):
    arrays = {name: array.astype(dtype) for name, array in contents.draw("float32").items()}
    np.savez(path, **arrays)
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("kind", SAVE)
@pytest.mark.parametrize("dtype", contents.FLOATS)
def test_fortran_order_is_turned(path, dtype, kind):
    arrays = {name: np.asfortranarray(array) for name, array in contents.draw(dtype).items()}
    assert not arrays["matrix"].flags.c_contiguous
    SAVE[kind](path, **arrays)
    contents.assert_holds(open_tensors(path), arrays)


def test_names_of_trees_are_kept_in_order(path):
    arrays = {name: np.ones(2, np.float32) for name in ("b/kernel", "a/bias", "a/kernel.npy")}
    np.savez(path, **arrays)
    contents.assert_holds(open_tensors(path), arrays)
    assert list(open_tensors(path).tensors) == list(arrays)


def test_long_headers_of_the_second_version_are_read(path):
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array(file, np.ones(3, np.float32), version=(2, 0))
    contents.assert_holds(open_tensors(path), {"a": np.ones(3, np.float32)})


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array(["text"]),
        np.ones(3, np.complex64),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "V3"),
        np.zeros(2, "M8[s]"),
        np.ones(2, np.longdouble),
    ],
    ids=str,
)
def test_what_is_no_real_number_is_refused_by_name(path, array):
    np.savez(path, fine=np.ones(2), odd=array)
    assert f"stores array 'odd' as {array.dtype}; expected real" in contents.refusal(path)


def test_a_structure_with_names_beyond_latin_is_refused(path):
    with pytest.warns(UserWarning, match="format 3.0"):
        np.savez(path, a=np.zeros(2, [("λ", "f4")]))
    assert "damaged (version (3, 0) of the array format)" in contents.refusal(path)


def test_a_pickled_checkpoint_is_refused_with_advice(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"never unpickled")
    message = contents.refusal(path)
    assert "holds 'archive/data.pkl', which is no array" in message
    assert "convert it to safetensors" in message


@pytest.mark.parametrize("kind", SAVE)
def test_a_file_that_is_cut_short_is_refused(path, kind):
    SAVE[kind](path, **contents.draw("float32", {"a": (3, 4), "b": (5,)}))
    for what in contents.damaged_files(path):
        assert contents.refusal(path), what


@pytest.mark.parametrize("kind", SAVE)
def test_a_changed_byte_is_found_or_does_not_matter(path, kind):
    SAVE[kind](path, **contents.draw("float32", {"a": (9, 4)}))
    with zipfile.ZipFile(path) as archive:
        length = archive.start_dir  # what follows are names, and has no sum
    expected, outcomes = contents.read_all(path), []
    for what in contents.flipped_files(path, length):
        outcomes.append(contents.assert_refused_or(expected, path))
        assert outcomes[-1] != "other", what
    assert outcomes.count("refused") > len(outcomes) / 3


def test_a_member_longer_than_its_array_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array(file, np.ones(3))
        file.write(b"more")
    assert "has bytes after array 'a'" in contents.refusal(path)


def test_a_member_shorter_than_its_array_is_refused(path):
    for order in "CF":
        with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
            header = {"descr": "<f4", "fortran_order": order == "F", "shape": (5, 5)}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(80))
        assert "ends too early" in contents.refusal(path)


def test_an_array_that_is_there_twice_is_refused(path):
    np.savez(path, a=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.npy", archive.read("a.npy"))
    assert "has an array twice" in contents.refusal(path)


def test_a_large_compressed_array_needs_little_memory(path):
    count = 1 << 22
    np.savez_compressed(path, a=np.zeros(count, np.float32))
    source = open_tensors(path)
    tracemalloc.start()
    assert sum(piece.size for piece in source.blocks("a", elements=1 << 16)) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * count  # of 4 bytes each


def test_a_request_is_checked_at_once(path):
    np.savez(path, a=np.ones(3))
    with pytest.raises(InputError, match="has no tensor 'b'"):
        open_tensors(path).blocks("b", elements=4)
