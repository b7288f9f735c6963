import io
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from sublim_jax.tensorfiles import values

ALL_16_BITS = np.arange(1 << 16, dtype=np.uint16)


def widened(raw):
    out = np.empty(raw.shape, values.widened(raw.dtype))
    values.widen(raw, out)
    return out


def test_every_float16_is_widened_exactly():
    halves = ALL_16_BITS.view(np.float16)
    finite = halves[np.isfinite(halves)]
    for raw in (halves, finite, finite[:1], finite[:0]):
        # The bits: zero has a sign.
        expected = raw.astype(np.float32).view(np.uint32)
        np.testing.assert_array_equal(widened(raw).view(np.uint32), expected)


def test_every_bfloat16_has_the_upper_bits_of_float32():
    raw = ALL_16_BITS.view(ml_dtypes.bfloat16)
    bits = ALL_16_BITS.astype(np.uint32) << 16
    numbers = ~np.isnan(bits.view(np.float32))
    np.testing.assert_array_equal(widened(raw).view(np.uint32)[numbers], bits[numbers])
    assert np.isnan(widened(raw)[~numbers]).all()


def test_which_types_are_read():
    yes = ["<f8", ">f4", "f2", "i8", ">i2", "u1", "?", ml_dtypes.bfloat16]
    no = ["c8", "O", "U3", "S2", "V2", "V1", "M8[s]", "m8[s]", ml_dtypes.float8_e4m3fn]
    no += [ml_dtypes.int4, [("a", "f4")], np.longdouble]
    assert all(values.is_readable(np.dtype(dtype)) for dtype in yes)
    assert not any(values.is_readable(np.dtype(dtype)) for dtype in no)


class Dripping(io.RawIOBase):
    """A file that gives three bytes at a time."""

    def __init__(self, content):
        self._content = io.BytesIO(content)

    def readinto(self, buffer):
        return self._content.readinto(buffer[:3])


@pytest.mark.parametrize("dtype", ["<f4", "<f2", ">f8", ">i4"])
def test_reads_that_come_short_are_continued(dtype):
    array = np.arange(10).astype(dtype)
    for elements in (1, 4, 100):
        pieces = list(
            values.read_blocks(Dripping(array.tobytes()), array.dtype, 10, elements=elements)
        )
        np.testing.assert_array_equal(np.concatenate(pieces), np.arange(10))
        assert {piece.dtype for piece in pieces} == {values.widened(array.dtype)}


def test_a_file_that_ends_too_early_is_told():
    with pytest.raises(EOFError, match="2 bytes are missing"):
        list(values.read_blocks(io.BytesIO(bytes(38)), np.dtype("f4"), 10, elements=100))


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8"])
def test_pieces_are_read_into_memory_of_their_own_and_no_more(dtype):
    count, elements = 1 << 22, 1 << 16
    content = io.BytesIO(bytes(count * np.dtype(dtype).itemsize))
    tracemalloc.start()
    for piece in values.read_blocks(content, np.dtype(dtype), count, elements=elements):
        assert not piece.any()
        piece[:] = 1  # whatever is done to it, the next is read afresh
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * values.PIECE * 8 < count * 8
