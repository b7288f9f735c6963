"""Write a language model as a folder that transformers, vLLM, MaxText and Tunix load."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.lm import weights
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.families import to_hugging_face

MARK = "sublim_jax"
"""Key of ``config.json`` by which a folder of ours is known."""
SUFFIXES = (".json", ".jinja", ".safetensors", ".model", ".txt")
DTYPES = ("float32", "bfloat16", "float16")
SHARD_BYTES = 5_000_000_000


def save(
    folder: str | Path,
    config: DecoderConfig,
    params: Params,
    tokenizer: Any,
    *,
    dtype: Any = None,
) -> None:
    """Write a model as a folder of Hugging Face: ``save(folder, *load("smollm2"))``.

    The folder holds ``config.json``, ``generation_config.json``, ``model.safetensors`` (above 5 GB
    in shards, with an index) and the tokenizer. It is there whole or not at all; a model that was
    saved there before is replaced. On several hosts all call this, and the first one writes.

    Args:
        folder: new, empty, or one that was saved like this.
        config: the shape.
        params: the parameters.
        tokenizer: of transformers.
        dtype: as what the parameters are written, one of float32, bfloat16 and float16; by default
            as what they are.

    Raises:
        InputError: the folder holds something else or cannot be written, no family of Hugging Face
            is built like the model, or the parameters are not of its shape.
    """
    place = Path(os.path.realpath(folder))
    stored = np.dtype(params["embedding"]["table"].dtype if dtype is None else dtype)
    if stored.name not in DTYPES:
        raise InputError(f"dtype is {stored.name}; expected one of {', '.join(DTYPES)}")
    ids = {
        name: getattr(tokenizer, name)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        if getattr(tokenizer, name) is not None
    }
    content = {**to_hugging_face(config), **ids, "torch_dtype": stored.name, MARK: _version()}
    tensors = weights.tensors(config, params)
    described = {"config.json": content, "generation_config.json": ids}
    converted = ((name, array.astype(stored, copy=False)) for name, array in tensors)

    def write() -> None:
        try:
            check_free(place)
            _write(place, described, converted, tokenizer)
        finally:
            _take_part(tensors)

    if not hosts.is_first():
        _take_part(tensors)
    hosts.first_alone(write)


def _take_part(tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Bring the parts of tensors together that several hosts have, as many as are left."""
    if jax.process_count() > 1:
        for _ in tensors:
            pass


def _write(
    place: Path,
    described: Mapping[str, Any],
    tensors: Iterable[tuple[str, np.ndarray]],
    tokenizer: Any,
) -> None:
    from sublim_jax.lm.tokenizer import save as save_tokenizer

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            for name, content in described.items():
                _write_json(new / name, content)
            _write_tensors(new, tensors)
            save_tokenizer(tokenizer, new)
            _flush(new)
            if place.exists():
                place.rename(Path(temporary) / "old")
            new.rename(place)
    except OSError as fault:
        raise InputError(
            f"{place} cannot be written ({fault.strerror or fault}); expected a writable folder "
            "with room"
        ) from fault


def _version() -> str:
    from sublim_jax import __version__

    return __version__


def check_free(folder: str | Path) -> None:
    """Refuse what `save` would lose: a file, or a folder with anything but a model of ours.

    Raises:
        InputError: there is such a thing.
    """
    place = Path(os.path.realpath(folder))
    if not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"folder is {place}, a file; expected a folder that is new or empty")
    files = sorted(place.iterdir())
    others = [file.name for file in files if file.suffix not in SUFFIXES or not file.is_file()]
    if files and (others or not _is_ours(place / "config.json")):
        some = ", ".join(others[:5] or [file.name for file in files[:5]])
        raise InputError(
            f"folder is {place}, which holds {some}; expected one that is new or empty, or a model "
            "that was saved there before"
        )


def _is_ours(config: Path) -> bool:
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and MARK in content


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")


def _write_tensors(folder: Path, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write one file, or shards with an index; no more than one of them is in memory."""
    from safetensors.numpy import save_file

    shards: list[list[str]] = []
    total = 0
    for shard in _shards(tensors):
        # Without this note transformers before 5 refuses the file.
        save_file(shard, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(shard))
        total += sum(array.nbytes for array in shard.values())
    count = len(shards)
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    names = ["model.safetensors"] if count == 1 else names
    for i, name in enumerate(names):
        (folder / f"{i}.part").rename(folder / name)
    if count > 1:
        where = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(folder / "model.safetensors.index.json", index)


def _shards(tensors: Iterable[tuple[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    size = 0
    for name, array in tensors:
        if shard and size + array.nbytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = array
        size += array.nbytes
    yield shard


def _flush(folder: Path) -> None:
    """Wait until all is on the disk: a machine that is preempted loses what is not."""
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
