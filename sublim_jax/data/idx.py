"""The IDX file format of the MNIST family: a big-endian header, then unsigned bytes."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sublim_jax.errors import InputError

_UNSIGNED_BYTE = 0x08
_GZIP_MARK = b"\x1f\x8b"


def read_idx(path: Path, *, rank: int) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, plain or compressed by gzip.

    The compression is told from the content, not from the name: browsers unpack `.gz` files
    without renaming them, and no IDX file begins like a gzip file.

    Args:
        path: The file.
        rank: How many dimensions it must have: 3 for images, 1 for labels.

    Returns:
        A read-only array with the dimensions that the header gives.

    Raises:
        InputError: The file cannot be read, is no IDX file of unsigned bytes with `rank`
            dimensions, or holds fewer or more bytes than its header announces.

    References:
        Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits.
    """
    content = _decompressed(path)
    expected = bytes([0, 0, _UNSIGNED_BYTE, rank])
    if content[:4] != expected:
        raise InputError(
            f"{path} begins with {_hex(content[:4])}, but an IDX file of unsigned bytes with "
            f"{rank} dimension{'s'[: rank > 1]} begins with {_hex(expected)}"
        )
    header = 4 + 4 * rank
    if len(content) < header:
        raise InputError(
            f"{path} is truncated: {len(content)} bytes, but its header alone takes {header}"
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4))
    announced = header + math.prod(shape)
    if len(content) != announced:
        fault = "is truncated" if len(content) < announced else "has extra bytes"
        raise InputError(
            f"{path} {fault}: {len(content)} bytes uncompressed, but its header announces "
            f"{' x '.join(map(str, shape))} values, {announced} bytes in all"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _decompressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not content.startswith(_GZIP_MARK):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is truncated or damaged: expected a whole gzip file, but unpacking it says "
            f"{str(error).rstrip('.')!r}"
        ) from error


def _hex(start: bytes) -> str:
    return f"0x{start.hex()}" if start else "nothing (it is empty)"
