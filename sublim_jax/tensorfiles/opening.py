"""Find out in which format a checkpoint is."""

from pathlib import Path

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import gguf_file, npz, safetensor
from sublim_jax.tensorfiles.adapter_config import CONFIG, is_adapter
from sublim_jax.tensorfiles.gguf_file import GgufFile
from sublim_jax.tensorfiles.npz import NpzFile
from sublim_jax.tensorfiles.orbax_folder import OrbaxFolder, is_orbax
from sublim_jax.tensorfiles.safetensor import SafetensorsFile, SafetensorsFolder
from sublim_jax.tensorfiles.source import TensorSource, reading

KINDS = (
    "a file .safetensors, .npz or .gguf, a folder of .safetensors, or a checkpoint folder of orbax"
)
BY_SUFFIX = {".safetensors": SafetensorsFile, ".npz": NpzFile, ".gguf": GgufFile}


def open_tensors(path: Path) -> TensorSource:
    """Open a checkpoint; only names, shapes and types are read.

    A file is recognised by its suffix, or by its first bytes where it has another one, such as the
    files of a download cache.

    Args:
        path: a file ``.safetensors``, ``.npz`` or ``.gguf``; a folder of ``.safetensors`` (one, or
            shards with an index); or a folder that orbax has written.

    Raises:
        InputError: there is nothing, nothing of these formats, or it is damaged; also if a tensor
            has a type that is not read, and for the folder of an adapter.
    """
    path = Path(path)
    with reading(path, KINDS):
        return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> TensorSource:
    reader = BY_SUFFIX.get(path.suffix.lower())
    if reader is None:
        with path.open("rb") as file:
            reader = _by_content(file.read(9))
    if reader is None:
        raise InputError(f"{path} is in no format that is known; expected {KINDS}")
    return reader(path)


def _by_content(start: bytes) -> type[SafetensorsFile | NpzFile | GgufFile] | None:
    if start.startswith(gguf_file.MARK):
        return GgufFile
    if start.startswith(npz.MARK):
        return NpzFile
    # The length of the header in eight bytes, then JSON: no text has bytes of zero.
    length = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and length <= safetensor.LONGEST_HEADER:
        return SafetensorsFile
    return None


def _open_folder(path: Path) -> TensorSource:
    if is_adapter(path):
        raise InputError(
            f"{path} is an adapter (it has {CONFIG}); expected whole weights, or open_adapter with "
            "the weights that it belongs to"
        )
    names = sorted(file.name for file in path.iterdir())
    if any(name.endswith((".safetensors", safetensor.INDEX)) for name in names):
        return SafetensorsFolder(path)
    if is_orbax(path):
        return OrbaxFolder(path)
    some = ", ".join(names[:5]) + ", …" * (len(names) > 5) if names else "nothing"
    raise InputError(f"{path} holds {some}; expected {KINDS}")
