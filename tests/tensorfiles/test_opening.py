import os

import gguf
import numpy as np
import pytest
import safetensors.numpy
import tensor_contents as contents

from sublim_jax.tensorfiles import open_tensors

ARRAYS = contents.draw("float32", {"matrix": (3, 4), "vector": (5,)})


def write_gguf(path):
    writer = gguf.GGUFWriter(path, "llama")
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_npz(path):
    with path.open("wb") as file:
        np.savez(file, **ARRAYS)


WRITE = {
    ".safetensors": lambda path: safetensors.numpy.save_file(ARRAYS, path),
    ".npz": write_npz,
    ".gguf": write_gguf,
}


@pytest.mark.parametrize("suffix", WRITE)
@pytest.mark.parametrize("name", ["model{}", "MODEL{}", "3f9ab2", "model.bin"])
def test_files_are_known_by_suffix_or_by_content(tmp_path, suffix, name):
    path = tmp_path / name.format(suffix if name.islower() else suffix.upper())
    WRITE[suffix](path)
    source = open_tensors(path)
    contents.assert_holds(source, ARRAYS)
    assert source.path == path


def test_a_name_may_be_given_as_text(tmp_path):
    WRITE[".npz"](tmp_path / "a.npz")
    contents.assert_holds(open_tensors(str(tmp_path / "a.npz")), ARRAYS)


def test_links_are_followed(tmp_path):
    WRITE[".safetensors"](tmp_path / "blob")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(tmp_path / "blob")
    contents.assert_holds(open_tensors(tmp_path / "snapshot"), ARRAYS)


@pytest.mark.parametrize("name", ["missing", "missing.safetensors", "missing.npz", "missing.gguf"])
def test_what_is_missing_is_refused(tmp_path, name):
    assert "does not exist; expected a" in contents.refusal(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"Dear reader, these are words.\n", bytes(8), b"\x80\x04\x95", bytes(40)],
)
@pytest.mark.parametrize("suffix", [*WRITE, ".txt", ""])
def test_files_of_something_else_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(content)
    message = contents.refusal(path)
    assert suffix in WRITE or "is in no format that is known; expected a file .safet" in message


def test_an_empty_folder_is_refused(tmp_path):
    assert "holds nothing; expected a file .safetensors" in contents.refusal(tmp_path)


def test_a_folder_of_something_else_is_refused_with_what_it_holds(tmp_path):
    for name in "gfedcba":
        (tmp_path / name).write_text("something")
    assert "holds a, b, c, d, e, …; expected a file .safetensors" in contents.refusal(tmp_path)


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    assert "holds nothing" in contents.refusal(tmp_path / "model.safetensors")
    assert "cannot be read (Is a directory)" in contents.refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    WRITE[".safetensors"](path)
    path.chmod(0)
    assert "cannot be read (Permission denied)" in contents.refusal(path)


def test_an_adapter_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    WRITE[".safetensors"](tmp_path / "adapter_model.safetensors")
    assert "is an adapter (it has adapter_config.json); exp" in contents.refusal(tmp_path)
