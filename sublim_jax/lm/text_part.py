"""The part for text of a checkpoint whose model sees pictures, too."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sublim_jax.tensorfiles import TensorSource
from sublim_jax.tensorfiles.source import TensorInfo

# As files on the hub have them, and as newer versions of transformers write them.
OF_TEXT = re.compile(r"(?:language_model\.model|model\.language_model)\.(.+)")


class TextPart:
    """A `TensorSource` of the tensors for text alone, under the names of a model without more."""

    def __init__(self, whole: TensorSource) -> None:
        """Rename.

        Args:
            whole: with a vision tower beside the language model.
        """
        self._whole = whole
        found = {name: OF_TEXT.fullmatch(name) for name in whole.tensors}
        self._names = {f"model.{match[1]}": name for name, match in found.items() if match}

    @property
    def path(self) -> Path:
        """The file or folder, for messages."""
        return self._whole.path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What can be read, by name."""
        every = self._whole.tensors
        return {new: every[old]._replace(name=new) for new, old in self._names.items()}

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        """Read a tensor in consecutive pieces."""
        return self._whole.blocks(self._names.get(name, name), elements=elements)
