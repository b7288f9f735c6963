"""Checkpoints as they are named on a command line: a file or folder, whole or below a prefix."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sublim_jax.drift.files.places import SEPARATORS
from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import (
    Adapter,
    TensorInfo,
    TensorSource,
    is_adapter,
    open_adapter,
    open_tensors,
)

Weights = TensorSource | Adapter
MARK = "::"


class Below:
    """The tensors of a source below a prefix, called by the rest of their names.

    Attributes:
        path: the path of the source with the prefix.
        tensors: what there is below the prefix.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]

    def __init__(self, source: TensorSource, prefix: str) -> None:
        self.path = Path(f"{source.path}{MARK}{prefix}")
        self._source = source
        start = prefix.rstrip(SEPARATORS)
        self._whole = {
            name[len(start) + 1 :]: name
            for name in source.tensors
            if name.startswith(start) and name[len(start) : len(start) + 1] in tuple(SEPARATORS)
        }
        self.tensors = {
            name: source.tensors[whole]._replace(name=name) for name, whole in self._whole.items()
        }
        if not self.tensors:
            raise InputError(
                f"{source.path} has no tensor below {prefix!r}; "
                f"expected the beginning of a name like {next(iter(source.tensors), '')!r}"
            )

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor in consecutive pieces, as the source does."""
        return self._source.blocks(self._whole[name], elements=elements)


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
    return Below(source, prefix) if prefix else source


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
