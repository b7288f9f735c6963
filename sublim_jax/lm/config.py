"""The shape of a decoder: what tells one family and size of language models from another."""

import dataclasses
from typing import Literal

from sublim_jax.errors import InputError
from sublim_jax.lm.rotary import Rotary

Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shape of a decoder-only transformer.

    Attributes:
        vocabulary: tokens that there are embeddings for.
        width: of the residual stream.
        layers: how many.
        heads: query heads of a layer.
        kv_heads: key and value heads of a layer; divides ``heads``.
        head_width: entries of a head.
        hidden: units of the feed-forward part.
        context: longest text that the model was trained on, in tokens.
        block: how a layer is built: ``gated`` (Llama, Qwen, Gemma: gated feed-forward part after
            attention) or ``neox`` (GPT-NeoX: both beside each other, layer norms, biases).
        activation: of the feed-forward part.
        norm_epsilon: added to mean squares (or variances) before their root is taken.
        tied: whether the embedding is the output layer, too.
        rotary: of positions.
        qkv_bias: whether queries, keys and values have biases.
        qk_norm: whether queries and keys are normalised, head by head.
        gemma: Gemma's norms (scales are added to one, and the outputs of both parts of a layer are
            normalised, too) and its embeddings, times the root of the width.
        query_scale: by what queries are multiplied; ``head_width ** -.5`` if None.
        window: tokens that layers other than the global ones see, the own one included.
        global_layers: those that see all; with ``window`` only.
        local_rotary: of the other ones.
        parallel: whether the parts of a ``neox`` layer read the same input.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    context: int = 2_048
    block: Literal["gated", "neox"] = "gated"
    activation: Activation = "silu"
    norm_epsilon: float = 1e-6
    tied: bool = False
    rotary: Rotary = dataclasses.field(default_factory=Rotary)
    qkv_bias: bool = False
    qk_norm: bool = False
    gemma: bool = False
    query_scale: float | None = None
    window: int | None = None
    global_layers: tuple[int, ...] = ()
    local_rotary: Rotary | None = None
    parallel: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "layers", "heads", "kv_heads", "head_width", "hidden")
        for name in (*sizes, "context", *(["window"] if self.window is not None else [])):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.heads % self.kv_heads:
            raise InputError(
                f"kv_heads is {self.kv_heads}; expected a divisor of heads, {self.heads}"
            )
        if any(not 0 <= layer < self.layers for layer in self.global_layers):
            raise InputError(
                f"global_layers is {self.global_layers}; expected numbers below {self.layers}"
            )
