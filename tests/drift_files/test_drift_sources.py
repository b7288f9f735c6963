import numpy as np
import pytest
from folders import refusal
from in_memory import SHAPES, InMemory, draw
from safetensors.numpy import save_file

from sublim_jax.drift import files
from sublim_jax.drift.files.sources import below, form


@pytest.mark.parametrize(
    ("prefix", "separator"), [("state/params", "/"), ("state/params/", "/"), ("model", ".")]
)
def test_a_prefix_is_taken_off(prefix, separator):
    arrays = draw(0)
    start = prefix.rstrip("/") + separator
    whole = {f"{start}{name}": array for name, array in arrays.items()}
    whole |= {"state/parameters": np.ones(3), "step": np.ones(1)}
    chosen = below(InMemory(whole, "file"), prefix)
    assert list(chosen.tensors) == list(SHAPES)
    assert {name: info.shape for name, info in chosen.tensors.items()} == SHAPES
    assert [info.name for info in chosen.tensors.values()] == list(SHAPES)
    pieces = list(chosen.blocks("embed.weight", elements=100))
    np.testing.assert_array_equal(np.concatenate(pieces), arrays["embed.weight"].ravel())


def test_a_prefix_of_nothing_is_refused():
    message = refusal(below, InMemory({"params/w": np.ones(2)}, "file"), "param")
    assert message == (
        "file has no tensor below 'param'; expected the beginning of a name like 'params/w'"
    )


def test_a_path_may_have_a_prefix(tmp_path):
    path = tmp_path / "init.npz"
    np.savez(path, **{"params/w": np.ones(2, np.float32), "step": np.ones(1)})
    assert list(files.open_weights(path).tensors) == ["params/w", "step"]
    below = files.open_weights(f"{path}::params")
    assert list(below.tensors) == ["w"]
    assert str(below.path) == f"{path}::params"


def test_forms_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2, np.float32))
    assert form(files.open_weights(tmp_path / "a.npz")) == "npz"
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": np.ones(2, np.float32)}, folder / "model.safetensors")
    assert form(files.open_weights(folder)) == "safetensors"
    assert form(files.open_weights(folder / "model.safetensors")) == "safetensors"
    assert form(files.open_weights(f"{tmp_path / 'a.npz'}")) == "npz"
