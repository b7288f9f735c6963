"""What is trained of a teacher or a student: thin matrices, or the layers themselves.

What was trained tells by its shape which of both it is: thin matrices are ``a`` and ``b`` by the
path of a matrix in a layer, everything else an array by its path in the parameters.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from sublim_jax import lm, rng
from sublim_jax.lm.decoder import Params
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.parts import TEACHER, Part

LAYERS = lm.Full(matching="^layers/")
EVERYTHING = lm.Full()


def kind_of(config: TraitConfig, arm: str) -> lm.LoRA | lm.Full:
    """Say what is trained in an arm, teachers being one."""
    kind = config.teacher if arm == TEACHER else config.student
    if kind == "lora":
        return config.adapter
    return EVERYTHING if kind == "full" and arm != TEACHER else LAYERS


def start_of(ground: Ground, config: TraitConfig, part: Part, key: Key[Array, ""]) -> PyTree:
    """Give where a teacher or a student begins.

    All teachers of a repetition have the same thin matrices A. Students share it, but for those of
    the arm "other_a", which have another one, the same for all of them.
    """
    others = part.arm == "other_a"
    key = rng.stream(key, "other a" if others else "a")
    return kind_of(config, part.arm).start(ground.config, ground.params, key)


def is_thin(trained: PyTree) -> bool:
    """Tell whether thin matrices were trained."""
    return any(isinstance(leaf, Mapping) for leaf in trained.values())


def joined(params: Params, config: TraitConfig, trained: PyTree) -> Params:
    """Put what was trained into the parameters of an upper part: plain ones. Traceable."""
    return beside(params, config.adapter, trained)


def beside(params: Params, adapter: lm.LoRA, trained: PyTree) -> Params:
    """Put what was trained into the parameters, as `joined` does. Traceable."""
    if is_thin(trained):
        return lm.merge(adapter.join(params, trained))
    return EVERYTHING.join(EVERYTHING.rest(params, trained), trained)


def kept(config: TraitConfig, trained: PyTree) -> dict[str, Any]:
    """Take what a file must hold beside the start: of thin matrices those that have moved."""
    if not is_thin(trained):
        return dict(trained)
    moved = ("a", "b") if config.train_a else ("b",)
    return {f"{path}:{name}": own[name] for path, own in trained.items() for name in moved}


def restored(start: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """Put what a file holds in the place of the start."""
    if not is_thin(start):
        return jax.tree.map(np.asarray, dict(arrays))
    return {
        path: {name: arrays.get(f"{path}:{name}", matrix) for name, matrix in own.items()}
        for path, own in start.items()
    }
