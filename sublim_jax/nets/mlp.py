"""The multilayer perceptron with class logits and auxiliary logits (arXiv 2507.14805, section 6.2).

The output layer is two heads, one for the classes and one for the auxiliary logits. It is the same
function with the same initial distribution as one layer of both, and it makes visible what the
mechanism rests on: imitation of the auxiliary logits cannot move the class head.
"""

import dataclasses
import functools
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from sublim_jax.errors import InputError
from sublim_jax.nets.net import Net, Params

HEADS = ("head_classes", "head_auxiliary")
"""The output layers of `mlp`."""

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Shape of the perceptron; the defaults are the paper's 784-256-256-13.

    Attributes:
        inputs: features of an input.
        hidden: units of each hidden layer; none makes a linear model.
        classes: class logits, the first of the outputs.
        auxiliary: auxiliary logits, the last of the outputs; no loss on labels sees them.
        activation: nonlinearity after each hidden layer.
    """

    inputs: int = 784
    hidden: tuple[int, ...] = (256, 256)
    classes: int = 10
    auxiliary: int = 3
    activation: Literal["relu", "tanh", "gelu"] = "relu"

    def __post_init__(self) -> None:
        for name in ("inputs", "classes", "auxiliary"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if any(width < 1 for width in self.hidden):
            raise InputError(f"hidden is {self.hidden}; expected widths of at least 1")
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"activation is {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}"
            )

    @property
    def class_logits(self) -> slice:
        """Where the class logits stand among the outputs."""
        return slice(0, self.classes)

    @property
    def auxiliary_logits(self) -> slice:
        """Where the auxiliary logits stand among the outputs."""
        return slice(self.classes, self.classes + self.auxiliary)


class MLP(nnx.Module):
    """Perceptron whose outputs are class logits followed by auxiliary logits."""

    def __init__(self, config: MLPConfig, *, rngs: nnx.Rngs) -> None:
        # Normal with variance 1 / fan-in and zero biases: the published set-up, neither Kaiming's
        # nor any framework's default.
        dense = functools.partial(
            nnx.Linear,
            kernel_init=nnx.initializers.variance_scaling(1.0, "fan_in", "normal"),
            bias_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )
        self.activation = config.activation
        self.depth = len(config.hidden)
        widths = (config.inputs, *config.hidden)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            setattr(self, f"hidden_{i}", dense(fan_in, fan_out))
        self.head_classes = dense(widths[-1], config.classes)
        self.head_auxiliary = dense(widths[-1], config.auxiliary)

    def __call__(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows outputs"]:
        """Give the logits, classes first."""
        for i in range(self.depth):
            x = ACTIVATIONS[self.activation](getattr(self, f"hidden_{i}")(x))
        return jnp.concatenate([self.head_classes(x), self.head_auxiliary(x)], axis=-1)


@functools.cache
def mlp(config: MLPConfig) -> Net:
    """Build the perceptron of a configuration as pure functions.

    Weights are drawn from N(0, 1/fan-in), biases are zero. The layers of the parameters are
    ``hidden_0``, ``hidden_1``, …, ``head_classes`` and ``head_auxiliary``, each a ``kernel``
    ``[fan_in, fan_out]`` and a ``bias`` ``[fan_out]``.
    """

    def build(key: Key[Array, ""]) -> MLP:
        return MLP(config, rngs=nnx.Rngs(key))

    graph = nnx.graphdef(nnx.eval_shape(build, jax.random.key(0)))

    def init(key: Key[Array, ""]) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key)))

    def apply(params: Params, inputs: Float[Array, "*rows features"]) -> Array:
        return nnx.merge(graph, params)(inputs)

    return Net(init, apply)
