"""Checkpoints in memory, cut in any way, and what plain numpy says of their displacements."""

from pathlib import Path

import ml_dtypes
import numpy as np

from sublim_jax.tensorfiles import TensorInfo

SHAPES = {
    "layers.0.attention.weight": (37, 53),
    "layers.0.norm.scale": (53,),
    "layers.1.attention.weight": (37, 53),
    "layers.1.norm.scale": (53,),
    "embed.weight": (211, 19),
    "temperature": (),
}


class InMemory:
    """A source of arrays; `cut` shortens the pieces, in turn by the lengths given."""

    def __init__(self, arrays, path="memory", cut=()):
        self.path, self.arrays, self.cut = Path(path), arrays, cut
        self.tensors = {
            name: TensorInfo(name, array.shape, str(array.dtype)) for name, array in arrays.items()
        }

    def blocks(self, name, *, elements):
        rest = self.arrays[name].ravel()
        rest = rest if rest.dtype == np.float64 else rest.astype(np.float32)
        lengths = list(self.cut)
        while rest.size:
            length = min(elements, lengths.pop(0)) if lengths else elements
            yield rest[:length]
            rest = rest[length:]


def draw(seed, *, scale=1.0, shapes=SHAPES, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(scale * rng.normal(size=shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def moved(start, *displacements, dtype=None):
    """The weights after displacements, in the type of the start or another one."""
    return {
        name: sum((d[name] for d in displacements), start=array.astype(np.float64)).astype(
            dtype or array.dtype
        )
        for name, array in start.items()
    }


def times(factor, tree):
    return {name: factor * array.astype(np.float64) for name, array in tree.items()}


def flat(tree, names=None):
    return np.concatenate([tree[name].astype(np.float64).ravel() for name in names or tree])


def bfloat16(tree):
    return {name: array.astype(ml_dtypes.bfloat16) for name, array in tree.items()}


def plain_numpy(init, teacher, student, teacher_init=None, names=None):
    """The metrics from whole vectors in float64, each by its definition."""
    origin = flat(init, names)
    s = flat(student, names) - origin
    t = flat(teacher, names) - flat(teacher_init or init, names)
    before = np.linalg.norm(flat(teacher, names) - origin)
    after = np.linalg.norm(flat(teacher, names) - flat(student, names))
    lengths = np.linalg.norm(s) * np.linalg.norm(t)
    return {
        "elements": s.size,
        "projection": (s @ t) / (t @ t),
        "cosine": (s @ t) / lengths,
        "relative_length": np.linalg.norm(s) / np.linalg.norm(t),
        "distance_reduction": 1 - after / before,
        "student_norm": np.linalg.norm(s),
        "teacher_norm": np.linalg.norm(t),
        "init_norm": np.linalg.norm(origin),
        "cosine_sd_isotropic": 1 / np.sqrt(s.size),
        "cosine_sd_signs": np.sqrt(np.sum(s**2 * t**2)) / lengths,
    }
