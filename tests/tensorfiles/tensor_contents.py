"""What tests of tensor files write, and how they check what is read."""

import ml_dtypes
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import open_tensors

SHAPES = {"cube": (2, 3, 4), "matrix": (5, 7), "none": (0, 3), "scalar": (), "vector": (11,)}
FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")


def draw(dtype, shapes=SHAPES):
    """Arrays of a type by name."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    rng = np.random.default_rng(3)
    scale = 1 if dtype == np.bool_ else 100 if dtype.kind in "iu" else 3
    return {
        name: np.asarray(np.abs(rng.normal(size=shape)) * scale).astype(dtype)
        if dtype.kind in "ub"
        else np.asarray(rng.normal(size=shape) * scale).astype(dtype)
        for name, shape in shapes.items()
    }


def assert_holds(source, arrays, *, stored=None, sizes=(1, 7, 1 << 40)):
    """A source lists these arrays, and gives the same values in pieces of any size."""
    assert set(source.tensors) == set(arrays)
    for name, array in arrays.items():
        info = source.tensors[name]
        assert info == (name, array.shape, stored or array.dtype.name)
        double = array.dtype.kind == "f" and array.dtype.itemsize == 8
        wide = np.float64 if double else np.float32
        for elements in sizes:
            pieces = list(source.blocks(name, elements=elements))
            assert all(piece.dtype == wide and piece.ndim == 1 for piece in pieces)
            full, last = divmod(array.size, elements)
            assert [len(piece) for piece in pieces] == [elements] * full + [last] * (last > 0)
            found = np.concatenate([np.zeros(0, wide), *pieces])
            np.testing.assert_array_equal(found, array.reshape(-1).astype(wide))


def read_all(path):
    """Everything that a path holds, as bytes."""
    source = open_tensors(path)
    return {
        name: b"".join(piece.tobytes() for piece in source.blocks(name, elements=50))
        for name in source.tensors
    }


def refusal(path):
    """The one sentence that says why a path cannot be read."""
    with pytest.raises(InputError) as refused:
        read_all(path)
    message = str(refused.value)
    assert str(path) in message
    assert "expected" in message
    assert "\n" not in message
    assert not message.endswith(".")
    return message


def assert_refused_or(expected, path):
    """A damaged path is refused with a sentence, or nothing that matters was damaged."""
    try:
        found = read_all(path)
    except InputError:
        return "refused"
    return "same" if found == expected else "other"


def damaged_files(path):
    """Rewrite a file cut short at every length (of long ones at some), and put it back."""
    content = path.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 80)):
        path.write_bytes(content[:length])
        yield f"the first {length} of {len(content)} bytes"
    path.write_bytes(content)


def flipped_files(path, count):
    """Rewrite a file with each of its first bytes changed in two ways, and put it back."""
    content = path.read_bytes()
    for place in range(min(count, len(content))):
        for value in (content[place] ^ 0xFF, content[place] ^ 1):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            yield f"byte {place} is {value}"
    path.write_bytes(content)
