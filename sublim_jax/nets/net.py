"""The one seam of the library: a network is two pure functions over a parameter tree."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, Key, PyTree

Params = PyTree[Float[Array, "..."], "Params"]


class Net(NamedTuple):
    """A network, free of state.

    Attributes:
        init: key to parameters, a dict of layers; may be vmapped for many members.
        apply: parameters and inputs ``[..., features]`` to logits ``[..., outputs]``.
    """

    init: Callable[[Key[Array, ""]], Params]
    apply: Callable[[Params, Float[Array, "*rows features"]], Float[Array, "*rows outputs"]]
