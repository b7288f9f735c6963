import struct
import tracemalloc

import gguf
import ml_dtypes
import numpy as np
import pytest
import tensor_contents as contents
from gguf import GGMLQuantizationType as Kind

from sublim_jax.tensorfiles import open_tensors

PLAIN = {
    "float64": Kind.F64,
    "float32": Kind.F32,
    "float16": Kind.F16,
    "bfloat16": Kind.BF16,
    "int64": Kind.I64,
    "int32": Kind.I32,
    "int16": Kind.I16,
    "int8": Kind.I8,
}
QUANTISED = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.TQ1_0, Kind.TQ2_0]
# Of these gguf can only dequantise; any bytes are blocks of some values.
ONLY_READ = [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_XS, Kind.IQ2_XXS]
SHAPES = {"cube": (2, 3, 512), "matrix": (5, 256), "vector": (768,)}


def write(path, tensors, fields=lambda writer: None):
    """Write a file with tensors of raw arrays and types."""
    writer = gguf.GGUFWriter(path, "llama")
    fields(writer)
    for name, (raw, kind) in tensors.items():
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantised(kind, shapes=SHAPES):
    """Raw arrays of a type, and what gguf takes them for, whole."""
    arrays = contents.draw("float32", shapes)
    block, width = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    if kind in QUANTISED:
        raw = {name: gguf.quants.quantize(array, kind) for name, array in arrays.items()}
    else:
        raw = {
            name: rng.integers(0, 60, (*a.shape[:-1], a.shape[-1] // block * width), np.uint8)
            for name, a in arrays.items()
        }
    expected = {name: gguf.quants.dequantize(array, kind) for name, array in raw.items()}
    return {name: (array, kind) for name, array in raw.items()}, expected


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_types_are_read(path, dtype):
    shapes = {name: shape for name, shape in contents.SHAPES.items() if shape}
    arrays = contents.draw(dtype, shapes)
    kind = PLAIN[dtype]
    raw = {
        name: array.view(np.uint8) if array.dtype == ml_dtypes.bfloat16 else array
        for name, array in arrays.items()
    }
    write(path, {name: (array, kind) for name, array in raw.items()})
    contents.assert_holds(open_tensors(path), arrays)


@pytest.mark.parametrize("kind", QUANTISED + ONLY_READ, ids=lambda kind: kind.name)
def test_quantised_types_are_read_in_pieces_as_gguf_reads_them_whole(path, kind):
    tensors, expected = quantised(kind)
    write(path, tensors)
    sizes = (7, 32, 300, 1 << 40)
    contents.assert_holds(open_tensors(path), expected, stored=kind.name, sizes=sizes)


def test_a_quantised_tensor_longer_than_a_piece_is_read(path, monkeypatch):
    tensors, expected = quantised(Kind.Q4_1, {"a": (3, 8192 + 96)})
    write(path, tensors)
    for piece in (256, 4096, 8192, 1 << 18):
        monkeypatch.setattr("sublim_jax.tensorfiles.gguf_file.PIECE", piece)
        contents.assert_holds(open_tensors(path), expected, stored="Q4_1", sizes=(1000, 1 << 20))


def test_a_tensor_without_axes_has_one_element(path):
    content = header(1, tensor("a", (), 0, 0)) + struct.pack("<f", 2.5)
    path.write_bytes(content)
    contents.assert_holds(open_tensors(path), {"a": np.array(2.5, np.float32)})


def header(count, tensors, version=3, fields=b"", number=0):
    """A header by hand, up to where the data begin."""
    start = struct.pack("<4sIQQ", b"GGUF", version, count, number) + fields + tensors
    return start + bytes(-len(start) % 32)


def tensor(name, shape, kind, offset):
    dims = b"".join(struct.pack("<Q", size) for size in shape[::-1])
    length = struct.pack("<Q", len(name)) + name.encode()
    return length + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", kind, offset)


def add_fields(writer):
    writer.add_string("a.text", "word")
    writer.add_array("a.list", ["these", "are", "", "tokens"])
    writer.add_array("a.numbers", [1.5, 2.5])
    writer.add_array("a.none", [])
    writer.add_bool("a.truth", True)
    writer.add_float64("a.double", 1.0)
    writer.add_int8("a.int", -3)
    writer.add_uint64("a.large", 1 << 60)


def test_fields_of_every_type_are_passed_over(path):
    arrays = contents.draw("float32", {"b": (3,), "a": (2, 2)})
    write(path, {name: (array, Kind.F32) for name, array in arrays.items()}, add_fields)
    contents.assert_holds(open_tensors(path), arrays)
    assert list(open_tensors(path).tensors) == ["b", "a"]


def test_an_alignment_of_the_file_is_kept(path):
    arrays = contents.draw("float16", {"a": (3,), "b": (5,)})
    write(
        path,
        {name: (array, Kind.F16) for name, array in arrays.items()},
        lambda writer: writer.add_custom_alignment(256),
    )
    assert path.read_bytes().index(arrays["a"].tobytes()) % 256 == 0
    contents.assert_holds(open_tensors(path), arrays)


def test_a_type_that_gguf_cannot_dequantise_is_refused_by_name(path):
    _, width = gguf.GGML_QUANT_SIZES[Kind.Q8_1]
    raw = np.zeros((2, width), np.uint8)
    write(path, {"a": (raw, Kind.Q8_1), "b": (raw, Kind.Q8_1), "c": (np.ones(2), Kind.F64)})
    assert "stores tensor 'a' (and 1 other) as Q8_1; expected a type" in contents.refusal(path)


BAD = {
    "another mark": b"GGML" + bytes(100),
    "nothing": b"",
    "an old version": header(0, b"", version=1),
    "big-endian numbers": struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
    "more tensors than bytes": header(1 << 60, b""),
    "more fields than bytes": header(0, b"", number=1 << 60),
    "a name past the end": header(1, struct.pack("<Q", 1 << 62)),
    "a name that is no text": header(1, struct.pack("<Q", 2) + b"\xff\xfe" + bytes(40)),
    "an unknown type": header(1, tensor("a", (1,), 99, 0)) + bytes(64),
    "an unknown field": header(0, b"", fields=struct.pack("<Q", 0) + b"\x63" + bytes(40), number=1),
    "an array past the end": header(
        0, b"", fields=struct.pack("<QIIQ", 0, 9, 4, 1 << 61) + bytes(8), number=1
    ),
    "arrays of arrays": header(
        0, b"", fields=struct.pack("<QIIQ", 0, 9, 9, 1) + bytes(64), number=1
    ),
    "too many dimensions": header(1, tensor("a", (1,) * 9, 0, 0)) + bytes(64),
    "half a block": header(1, tensor("a", (2, 16), Kind.Q8_0.value, 0)) + bytes(64),
    "data past the end": header(1, tensor("a", (20,), 0, 32)) + bytes(64),
    "a name twice": header(2, tensor("a", (1,), 0, 0) * 2) + bytes(64),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_file_is_refused(path, case):
    path.write_bytes(BAD[case])
    message = contents.refusal(path)
    assert ("big-endian" in message) == (case == "big-endian numbers")


@pytest.mark.parametrize("alignment", [0, 48])
def test_an_alignment_that_is_no_power_of_two_is_refused(path, alignment):
    name = b"general.alignment"
    fields = struct.pack("<Q", len(name)) + name + struct.pack("<II", 4, alignment)
    path.write_bytes(header(0, b"", fields=fields, number=1))
    assert f"has general.alignment {alignment}; expected a power" in contents.refusal(path)


def test_a_file_that_is_cut_short_is_refused(path):
    tensors, _ = quantised(Kind.Q8_0, {"a": (2, 32), "b": (64,)})
    write(path, tensors, add_fields)
    content = path.read_bytes()
    padding = -len(tensors["b"][0].tobytes()) % 32
    path.write_bytes(content[: len(content) - padding])
    for what in contents.damaged_files(path):
        assert contents.refusal(path), what


def test_no_byte_of_the_header_leads_to_another_fault(path):
    tensors, _ = quantised(Kind.Q8_0, {"a": (2, 32), "b": (64,)})
    write(path, tensors, add_fields)
    expected = contents.read_all(path)
    start = path.read_bytes().index(tensors["a"][0].tobytes())
    outcomes = [
        contents.assert_refused_or(expected, path) for _ in contents.flipped_files(path, start)
    ]
    assert outcomes.count("refused") > len(outcomes) / 3


def test_a_large_vocabulary_and_a_large_tensor_need_little_memory(path):
    count = 1 << 23
    raw = np.zeros((count // 4096, 4096 // 32 * 34), np.uint8)
    words = [f"token {i}" for i in range(20_000)]
    write(path, {"a": (raw, Kind.Q8_0)}, lambda writer: writer.add_token_list(words))
    tracemalloc.start()
    source = open_tensors(path)
    _, opened = tracemalloc.get_traced_memory()
    assert sum(piece.size for piece in source.blocks("a", elements=1 << 18)) == count
    _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened < 2 << 20
    assert read < count
