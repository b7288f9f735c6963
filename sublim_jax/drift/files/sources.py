"""Checkpoints as they are named on a command line: a file or folder, whole or below a prefix."""

from pathlib import Path

from sublim_jax.drift.files.places import SEPARATORS
from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import (
    Adapter,
    Renamed,
    TensorSource,
    is_adapter,
    open_adapter,
    open_tensors,
)

Weights = TensorSource | Adapter
MARK = "::"


def below(source: TensorSource, prefix: str) -> Renamed:
    """Choose the tensors below a prefix, called by the rest of their names.

    Raises:
        InputError: there are none.
    """
    start = prefix.rstrip(SEPARATORS)
    names = {
        name[len(start) + 1 :]: name
        for name in source.tensors
        if name.startswith(start) and name[len(start) : len(start) + 1] in tuple(SEPARATORS)
    }
    if not names:
        raise InputError(
            f"{source.path} has no tensor below {prefix!r}; "
            f"expected the beginning of a name like {next(iter(source.tensors), '')!r}"
        )
    return Renamed(source, names, path=Path(f"{source.path}{MARK}{prefix}"))


def open_weights(given: str | Path) -> TensorSource:
    """Open a checkpoint that holds every weight.

    Args:
        given: a path, or ``PATH::PREFIX`` for the tensors below a prefix, which is removed from
            their names: ``run/checkpoint::state/params``.

    Raises:
        InputError: it cannot be read, nothing is below the prefix, or it is an adapter.
    """
    path, prefix = _split(given)
    if is_adapter(path):
        raise InputError(f"{path} is an adapter; expected full weights")
    source = open_tensors(path)
    return below(source, prefix) if prefix else source


def open_moved(given: str | Path, base: TensorSource) -> Weights:
    """Open a checkpoint of trained weights, or an adapter of the weights from which it started.

    Args:
        given: a path or ``PATH::PREFIX`` as for `open_weights`, or the folder of an adapter.
        base: what an adapter was trained on.

    Raises:
        InputError: it cannot be read, or does not fit the base.
    """
    path, prefix = _split(given)
    if not is_adapter(path):
        return open_weights(given)
    if prefix:
        raise InputError(f"{given} is an adapter below a prefix; expected its folder alone")
    return open_adapter(path, base)


def form(weights: Weights) -> str:
    """Say in what form weights are on disk.

    >>> form(open_weights("model.gguf"))  # doctest: +SKIP
    'GGUF'
    """
    if isinstance(weights, Adapter):
        return "PEFT adapter"
    path, _ = _split(weights.path)
    known = {".gguf": "GGUF", ".npz": "npz", ".safetensors": "safetensors", ".json": "safetensors"}
    if path.is_dir():
        return "safetensors" if any(path.glob("*.safetensors*")) else "orbax"
    return known.get(path.suffix.lower(), path.suffix)


def _split(given: str | Path) -> tuple[Path, str]:
    path, mark, prefix = str(given).rpartition(MARK)
    return (Path(path), prefix) if mark else (Path(given), "")
