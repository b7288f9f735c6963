"""A fine-tuning in which nothing moves along a direction."""

import dataclasses
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key, PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.trained import Full, LoRA


class Forbidden(NamedTuple):
    """Where a training begins, and where it may not go.

    Attributes:
        start: what is trained, at the start.
        along: a direction of the same structure, of any length but 0.
    """

    start: PyTree
    along: PyTree


class Rest(NamedTuple):
    """What is beside that which is trained: parameters, and what is forbidden."""

    params: Params
    forbidden: Forbidden


@dataclasses.dataclass(frozen=True)
class Projected:
    """Train what another kind of training does, but for one direction.

    The updates are projected, after the optimizer has made them: to project gradients does not
    suffice, for Adam rescales their coordinates.

    Attributes:
        inner: what is trained.
        forbidden: where it may not go. Trainings that differ in this alone are one program.
    """

    inner: Full | LoRA
    forbidden: Forbidden = dataclasses.field(compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.inner, LoRA) and self.inner.dropout:
            raise InputError(
                f"dropout is {self.inner.dropout} with a direction that is forbidden; expected 0"
            )

    def first(self, config: DecoderConfig) -> int:
        """Say below which layer nothing is trained."""
        return self.inner.first(config)

    def start(self, config: DecoderConfig, params: Params, key: Key[Array, ""]) -> PyTree:
        """Give where it begins."""
        del config, params, key
        return self.forbidden.start

    def rest(self, params: Params, trained: PyTree) -> Rest:
        """Leave out of the parameters what is trained, and add what is forbidden."""
        return Rest(self.inner.rest(params, trained), self.forbidden)

    def join(self, rest: Rest, trained: PyTree, keys: Key[Array, " rows"] | None = None) -> Params:
        """Put what is left of it after the projection into the parameters."""
        return self.inner.join(rest.params, without(rest.forbidden, trained), keys)

    def shifted(self, layers: int) -> "Projected":
        """Count layers from another one."""
        return dataclasses.replace(self, inner=self.inner.shifted(layers))


def without(forbidden: Forbidden, trained: PyTree) -> PyTree:
    """Take out of what was trained how far it has gone where it may not. Traceable.

    Args:
        forbidden: where it began, and the direction.
        trained: what a training with `Projected` gives back.
    """
    moved = trees.sub(trained, forbidden.start)
    share: Any = trees.dot(moved, forbidden.along) / trees.dot(forbidden.along, forbidden.along)
    return jax.tree.map(lambda leaf, own: leaf - share * own, trained, forbidden.along)
