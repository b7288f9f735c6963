import gzip
import struct

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings

from sublim_jax.data import read_idx
from sublim_jax.errors import InputError


def idx_bytes(array, type_code=0x08):
    header = bytes([0, 0, type_code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def refusal(path, content, rank):
    """The one sentence with which `content` is refused."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_idx(path, rank=rank)
    message = str(caught.value)
    assert str(path) in message
    assert not message.endswith(".")
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "some-idx"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@settings(deadline=None)
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)))
def test_a_written_array_is_read_back(scratch, pack, array):
    scratch.write_bytes(pack(idx_bytes(array)))
    read = read_idx(scratch, rank=array.ndim)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array, strict=True)


@settings(deadline=None)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3)),
    change=hnp.from_dtype(np.dtype("i1")),
)
def test_any_other_length_is_refused(scratch, array, change):
    whole = idx_bytes(array)
    if change > 0:
        assert "has extra bytes" in refusal(scratch, whole + b"\0" * int(change), 3)
    elif change < 0:
        kept = whole[: max(4, len(whole) + int(change))]
        assert "is truncated" in refusal(scratch, kept, 3)


def test_the_lengths_found_and_announced_are_named(tmp_path):
    message = refusal(tmp_path / "f", idx_bytes(np.zeros((2, 3, 4)))[:-1], 3)
    assert "39 bytes" in message
    assert "2 x 3 x 4 values, 40 bytes" in message


def test_a_wrong_magic_number_is_named(tmp_path):
    labels = idx_bytes(np.zeros(5))
    message = refusal(tmp_path / "f", labels, 3)
    assert "0x00000801" in message
    assert "0x00000803" in message
    assert "0x00000d01" in refusal(tmp_path / "f", idx_bytes(np.zeros(5), type_code=0x0D), 1)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    assert "empty" in refusal(tmp_path / "f", b"", 1)
    assert "empty" in refusal(tmp_path / "f", gzip.compress(b""), 1)


def test_a_huge_header_allocates_nothing(tmp_path):
    header = bytes([0, 0, 8, 3]) + b"\xff" * 12
    assert "is truncated" in refusal(tmp_path / "f", header, 3)


@pytest.mark.parametrize("rank", [1, 3])
def test_every_truncation_of_a_gz_file_is_refused(tmp_path, rank):
    rng = np.random.default_rng(0)
    whole = gzip.compress(idx_bytes(rng.integers(0, 256, (3,) * rank)))
    for length in range(len(whole)):
        refusal(tmp_path / "f.gz", whole[:length], rank)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"\x1f\x8b" + b"garbage" * 9,
        lambda whole: b"garbage" * 9,
        lambda whole: whole + b"garbage",
        lambda whole: whole[:12] + bytes([whole[12] ^ 0xFF]) + whole[13:],
        lambda whole: whole[:-8] + bytes(8),
    ],
    ids=["marked garbage", "garbage", "garbage at the end", "flipped byte", "wrong CRC"],
)
def test_damaged_gz_files_are_refused(tmp_path, spoil):
    refusal(tmp_path / "f.gz", spoil(gzip.compress(idx_bytes(np.arange(50)))), 1)


def test_a_folder_or_an_absent_file_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_idx(tmp_path, rank=1)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_idx(tmp_path / "absent", rank=1)
