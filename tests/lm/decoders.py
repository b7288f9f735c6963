"""Tiny decoders whose logits are known."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sublim_jax.lm import families, weights
from sublim_jax.tensorfiles import TensorInfo

GOLDEN = Path(__file__).parents[1] / "golden"
TOKENS = np.random.default_rng(0).integers(0, 40, (2, 24))


class Held:
    """Tensors that are in memory, as if they were in a file."""

    def __init__(self, arrays, path=Path("held")):
        self.path, self.arrays = path, dict(arrays)
        self.tensors = {
            name: TensorInfo(name, array.shape, str(array.dtype)) for name, array in arrays.items()
        }

    def blocks(self, name, *, elements):
        flat = self.arrays[name].ravel()
        for start in range(0, flat.size, elements):
            yield flat[start : start + elements].copy()


class Case(NamedTuple):
    """A configuration as its file has it and as ours, tensors, parameters, and known logits."""

    content: dict
    config: object
    tensors: dict
    params: dict
    logits: np.ndarray


@functools.cache
def golden():
    """All cases by name, as Hugging Face's transformers computed them."""
    arrays = np.load(GOLDEN / "decoders.npz")
    parts = {}
    for key in arrays.files:
        name, part = key.split("|")
        parts.setdefault(name, {})[part] = arrays[key]
    return {name: as_case(**split(of)) for name, of in parts.items()}


def split(of):
    content, logits = json.loads(str(of["config"])), of["logits"]
    tensors = {name: array for name, array in of.items() if name not in ("config", "logits")}
    return {"content": content, "tensors": tensors, "logits": logits}


def as_case(content, tensors, logits):
    config = families.from_hugging_face(content)
    return Case(content, config, tensors, weights.read(config, Held(tensors)), logits)


NAMES = [
    "llama",
    "llama, grouped, tied",
    "llama, one key head, stretched",
    "qwen2",
    "qwen3",
    "gemma3",
    "gemma3, one key head",
    "neox",
    "neox, in sequence",
]
