import struct

import gguf
import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import open_tensors, read_metadata


def write(path, fields, *, tensors=()):
    writer = gguf.GGUFWriter(path, "llama")
    fields(writer)
    for name in tensors:
        writer.add_tensor(name, np.arange(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def every_type(writer):
    writer.add_string("a.text", "wörd\n🦉")
    writer.add_string("a.empty", "")
    writer.add_bool("a.truth", True)
    writer.add_bool("a.lie", False)
    writer.add_uint8("a.uint8", 255)
    writer.add_int8("a.int8", -3)
    writer.add_uint16("a.uint16", 65_535)
    writer.add_int16("a.int16", -300)
    writer.add_uint32("a.uint32", 1 << 31)
    writer.add_int32("a.int32", -(1 << 31))
    writer.add_uint64("a.uint64", 1 << 63)
    writer.add_int64("a.int64", -(1 << 63))
    writer.add_float32("a.float32", 0.1)
    writer.add_float64("a.float64", 0.1)
    writer.add_array("a.texts", ["these", "", "🦉", "Ġt"])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.floats", [1.5, 2.5])
    writer.add_array("a.truths", [True, False])
    writer.add_array("a.bytes", b"\x01\x02")


def refusal(path):
    with pytest.raises(InputError) as refused:
        read_metadata(path)
    message = str(refused.value)
    assert str(path) in message
    assert "expected" in message
    assert "\n" not in message
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def test_fields_of_every_type_are_what_the_package_reads(path):
    write(path, every_type, tensors=["w"])
    fields = read_metadata(path)
    peer = {
        name: field.contents()
        for name, field in gguf.GGUFReader(path).fields.items()
        if not name.startswith("GGUF.")
    }
    assert list(fields) == list(peer)
    for name, value in fields.items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        assert plain == peer[name], name
        assert type(plain) is type(peer[name]), name
    assert fields["a.text"] == "wörd\n🦉"
    assert fields["a.truth"] is True
    assert fields["a.uint64"] == 1 << 63
    assert fields["general.architecture"] == "llama"


def test_a_vocabulary_of_fifty_thousand_tokens_is_read_whole(path):
    tokens, scores = [f"token {i}" for i in range(50_000)], np.linspace(0, 1, 50_000).tolist()

    def fields(writer):
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)

    found = read_metadata(write(path, fields))
    assert found["tokenizer.ggml.tokens"] == tokens
    np.testing.assert_array_equal(found["tokenizer.ggml.scores"], np.float32(scores))


def test_damage_behind_the_fields_does_not_matter(path):
    write(path, every_type, tensors=["w"])
    fields = {name: repr(value) for name, value in read_metadata(path).items()}
    content = path.read_bytes()
    path.write_bytes(content[: content.index(struct.pack("<Q", 1) + b"w")])
    assert {name: repr(value) for name, value in read_metadata(path).items()} == fields
    with pytest.raises(InputError, match="ends too early"):
        open_tensors(path)


def test_a_file_cut_within_its_fields_is_refused(path):
    write(path, every_type)
    content = path.read_bytes()
    end = content.rindex(b"\x01\x02") + 2
    for length in range(end):
        path.write_bytes(content[:length])
        refusal(path)
    path.write_bytes(content[:end])
    read_metadata(path)


def test_no_byte_leads_to_another_fault(path):
    write(path, every_type)
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        for value in (content[place] ^ 0xFF, content[place] ^ 1):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            try:
                read_metadata(path)
            except InputError:
                refused += 1
    assert refused > len(content) / 2


def fields(*, name=b"a", kind=4, value=bytes(4), count=1, version=3):
    field = struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value
    return struct.pack("<4sIQQ", b"GGUF", version, 0, count) + field * min(count, 2)


BAD = {
    "another mark": (b"GGML" + bytes(100), "begins with"),
    "nothing": (b"", "begins with"),
    "an old version": (fields(version=1), "has version 1"),
    "an unknown type": (fields(kind=13), "is damaged"),
    "more fields than bytes": (fields(count=1 << 60, name=b""), "twice"),
    "a name twice": (fields(count=2), "has field 'a' twice"),
    "numbers past the end": (fields(kind=9, value=struct.pack("<IQ", 4, 1 << 61)), "too early"),
    "texts past the end": (fields(kind=9, value=struct.pack("<IQ", 8, 1 << 61)), "too early"),
    "a text past the end": (fields(kind=8, value=struct.pack("<Q", 1 << 61)), "too early"),
    "a text that is none": (fields(kind=8, value=struct.pack("<Q", 2) + b"\xff\xfe"), "damaged"),
    "arrays of arrays": (fields(kind=9, value=struct.pack("<IQ", 9, 0)), "arrays of arrays"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_file_is_refused(path, case):
    content, said = BAD[case]
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_missing_file_is_refused(path):
    assert "does not exist" in refusal(path)
