"""GGUF files of language models: llama.cpp's names and fields, as Hugging Face's families.

References:
    llama.cpp, convert_hf_to_gguf.py: how tensors are renamed, permuted and shifted.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.families import Names, names_of
from sublim_jax.lm.rotary import Rotary, Stretch
from sublim_jax.tensorfiles import (
    Renamed,
    TensorInfo,
    TensorSource,
    open_tensors,
    read_metadata,
    read_tensor,
)

GATED: Names = {
    "embedding/table": "token_embd.weight",
    "norm/scale": "output_norm.weight",
    "head/kernel": "output.weight",
    "layers/attention_norm/scale": "blk.{}.attn_norm.weight",
    "layers/attention_post_norm/scale": "blk.{}.post_attention_norm.weight",
    "layers/attention/query/kernel": "blk.{}.attn_q.weight",
    "layers/attention/key/kernel": "blk.{}.attn_k.weight",
    "layers/attention/value/kernel": "blk.{}.attn_v.weight",
    "layers/attention/query/bias": "blk.{}.attn_q.bias",
    "layers/attention/key/bias": "blk.{}.attn_k.bias",
    "layers/attention/value/bias": "blk.{}.attn_v.bias",
    "layers/attention/output/kernel": "blk.{}.attn_output.weight",
    "layers/attention/query_norm/scale": "blk.{}.attn_q_norm.weight",
    "layers/attention/key_norm/scale": "blk.{}.attn_k_norm.weight",
    "layers/mlp_norm/scale": "blk.{}.ffn_norm.weight",
    "layers/mlp_post_norm/scale": "blk.{}.post_ffw_norm.weight",
    "layers/mlp/gate/kernel": "blk.{}.ffn_gate.weight",
    "layers/mlp/up/kernel": "blk.{}.ffn_up.weight",
    "layers/mlp/down/kernel": "blk.{}.ffn_down.weight",
}
NEOX: Names = {
    "embedding/table": "token_embd.weight",
    "norm/scale": "output_norm.weight",
    "norm/bias": "output_norm.bias",
    "head/kernel": "output.weight",
    "layers/attention_norm/scale": "blk.{}.attn_norm.weight",
    "layers/attention_norm/bias": "blk.{}.attn_norm.bias",
    "layers/mlp_norm/scale": "blk.{}.ffn_norm.weight",
    "layers/mlp_norm/bias": "blk.{}.ffn_norm.bias",
    "layers/query_key_value/kernel": "blk.{}.attn_qkv.weight",
    "layers/query_key_value/bias": "blk.{}.attn_qkv.bias",
    "layers/output/kernel": "blk.{}.attn_output.weight",
    "layers/output/bias": "blk.{}.attn_output.bias",
    "layers/up/kernel": "blk.{}.ffn_up.weight",
    "layers/up/bias": "blk.{}.ffn_up.bias",
    "layers/down/kernel": "blk.{}.ffn_down.weight",
    "layers/down/bias": "blk.{}.ffn_down.bias",
}
FREQUENCIES = "rope_freqs.weight"
"""By what Llama 3 slows its rotations down: a table in the file, four numbers elsewhere."""

LAYERS_OF_27B = 62  # the one Gemma 3 whose queries are not scaled by the width of a head
Change = Callable[[np.ndarray], np.ndarray]


def open_gguf(path: Path) -> tuple[DecoderConfig, TensorSource]:
    """Open a GGUF file as if it were one of Hugging Face.

    Args:
        path: of the file.

    Returns:
        The configuration, and the tensors by the names, and as, `sublim_jax.lm.weights.read`
        expects them.

    Raises:
        InputError: the file is damaged, or of an architecture that is not read.
    """
    source, metadata = open_tensors(path), read_metadata(path)
    config = config_of(metadata, source)
    table, names = NEOX if config.block == "neox" else GATED, names_of(config)
    renamed, changes = {}, {}
    for leaf, name in names.items():
        change = _change(str(metadata["general.architecture"]), config, leaf)
        for i in range(config.layers if leaf.startswith("layers/") else 1):
            if (theirs := table[leaf].format(i)) in source.tensors:
                renamed[name.format(i)] = theirs
                changes |= {name.format(i): change} if change else {}
    # What is left over keeps its name: a model that has more than the decoder is refused.
    known = {*renamed.values(), FREQUENCIES}
    renamed |= {name: name for name in source.tensors if name not in known}
    return config, _Changed(Renamed(source, renamed, path=source.path), changes)


def config_of(metadata: Mapping[str, Any], source: TensorSource) -> DecoderConfig:
    """Read the shape of a decoder.

    Args:
        metadata: fields of the file, as `sublim_jax.tensorfiles.read_metadata` gives them.
        source: its tensors; those without an output layer have a tied one.

    Raises:
        InputError: the architecture is not known, something is missing, or the model does what
            this decoder does not.
    """
    kind = str(metadata.get("general.architecture"))
    if kind not in ARCHITECTURES:
        raise InputError(
            f"{source.path} has general.architecture {kind!r}; "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    if "token_embd.weight" not in source.tensors:
        raise InputError(f"{source.path} has no tensor token_embd.weight; expected a whole model")
    fields = _Fields(source.path, kind, metadata)
    return ARCHITECTURES[kind](fields, source)


class _Fields:
    """Fields of an architecture, without its name before them."""

    def __init__(self, path: Path, kind: str, metadata: Mapping[str, Any]) -> None:
        self._path, self._kind, self._metadata = path, kind, metadata

    def number(self, name: str, otherwise: Any = None) -> Any:
        key = f"{self._kind}.{name}"
        value = self._metadata.get(key, otherwise)
        if type(value) not in (int, float):
            raise InputError(f"{self._path} has {key} {value!r}; expected a number")
        # The shortest decimal number of float32: 1e-5 was meant, not 9.999999747378752e-06.
        return float(str(np.float32(value))) if type(value) is float else value

    def word(self, name: str, otherwise: str) -> Any:
        return self._metadata.get(f"{self._kind}.{name}", otherwise)


def _common(fields: _Fields, source: TensorSource) -> dict[str, Any]:
    width, heads = fields.number("embedding_length"), fields.number("attention.head_count")
    return {
        "vocabulary": source.tensors["token_embd.weight"].shape[0],
        "width": width,
        "layers": fields.number("block_count"),
        "heads": heads,
        "kv_heads": fields.number("attention.head_count_kv", heads),
        "head_width": fields.number("attention.key_length", width // heads),
        "hidden": fields.number("feed_forward_length"),
        "context": fields.number("context_length"),
        "tied": "output.weight" not in source.tensors,
    }


def _gated(fields: _Fields, source: TensorSource, **options: Any) -> DecoderConfig:
    common = _common(fields, source)
    rotary = _rotary(fields, source, common["head_width"])
    epsilon = fields.number("attention.layer_norm_rms_epsilon")
    return DecoderConfig(**(common | {"norm_epsilon": epsilon, "rotary": rotary} | options))


def _gemma3(fields: _Fields, source: TensorSource) -> DecoderConfig:
    common = _common(fields, source)
    layers, every = common["layers"], fields.number("attention.sliding_window_pattern", 6)
    of_one = common["width"] // common["heads"] if layers == LAYERS_OF_27B else common["head_width"]
    return _gated(
        fields,
        source,
        activation="gelu_tanh",
        gemma=True,
        qk_norm=True,
        query_scale=of_one**-0.5,
        window=fields.number("attention.sliding_window"),
        global_layers=tuple(i for i in range(layers) if (i + 1) % every == 0),
        local_rotary=Rotary(base=fields.number("rope.freq_base_swa", 10_000.0)),
    )


def _neox(fields: _Fields, source: TensorSource) -> DecoderConfig:
    common = _common(fields, source)
    width = common["head_width"]
    return DecoderConfig(
        **common,
        block="neox",
        activation="gelu",
        norm_epsilon=fields.number("attention.layer_norm_epsilon"),
        rotary=Rotary(
            base=fields.number("rope.freq_base", 10_000.0),
            share=fields.number("rope.dimension_count", width) / width,
        ),
        parallel=bool(fields.word("use_parallel_residual", "true")),
    )


ARCHITECTURES: Mapping[str, Callable[[_Fields, TensorSource], DecoderConfig]] = {
    "llama": _gated,
    "qwen2": lambda fields, source: _gated(fields, source, qkv_bias=True),
    "qwen3": lambda fields, source: _gated(fields, source, qk_norm=True),
    "gemma3": _gemma3,
    "gptneox": _neox,
}


def _rotary(fields: _Fields, source: TensorSource, head_width: int) -> Rotary:
    base, kind = fields.number("rope.freq_base", 10_000.0), fields.word("rope.scaling.type", "none")
    turned = fields.number("rope.dimension_count", head_width)
    if kind not in ("none", "linear") or turned != head_width:
        raise InputError(
            f"{source.path} turns {turned} of {head_width} entries of a head, with scaling "
            f"{kind!r}; expected all, with none or linear scaling"
        )
    if FREQUENCIES in source.tensors:
        return Rotary(base=base, stretch=_stretch(source, Rotary(base=base), head_width))
    return Rotary(
        base=base, slowdown=fields.number("rope.scaling.factor") if kind == "linear" else 1.0
    )


def _stretch(source: TensorSource, rotary: Rotary, head_width: int) -> Stretch:
    """Find of the table's four numbers the one in which Llama 3.1 and 3.2 differ, the factor."""
    table = read_tensor(source, FREQUENCIES)
    found = Stretch(factor=float(table.max()))
    plain = rotary.frequencies(head_width)
    expected = plain / Rotary(base=rotary.base, stretch=found).frequencies(head_width)
    if table.shape != expected.shape or not np.allclose(table, expected, rtol=1e-4):
        raise InputError(
            f"{source.path} has other {FREQUENCIES} than those of Llama 3; expected waves that are "
            f"slowed by one factor from {found.context} tokens to {found.context / found.high:.0f}"
        )
    return found


def _change(kind: str, config: DecoderConfig, leaf: str) -> Change | None:
    """Tell how a tensor must be changed to be that of Hugging Face: undo what was done to it."""
    if kind == "llama" and leaf.startswith(("layers/attention/query/", "layers/attention/key/")):
        # Pairs of entries that are turned together lie side by side in llama.cpp.
        return lambda rows: _swapped(rows, (-1, config.head_width // 2, 2))
    if kind == "gptneox" and leaf.startswith("layers/query_key_value/"):
        return lambda rows: _swapped(rows, (3, config.heads, config.head_width))
    if kind == "gemma3" and leaf.endswith("/scale"):
        return lambda scale: scale - 1
    return None


def _swapped(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Take rows as a block of three axes, and swap the two that are to be swapped."""
    first, second = (1, 2) if shape[0] == -1 else (0, 1)
    return rows.reshape(*shape, *rows.shape[1:]).swapaxes(first, second).reshape(rows.shape)


class _Changed:
    """Tensors of a source, some of them changed; see `sublim_jax.tensorfiles.TensorSource`."""

    def __init__(self, source: Renamed, changes: Mapping[str, Change]) -> None:
        self.path = source.path
        self.tensors: Mapping[str, TensorInfo] = source.tensors
        self._source, self._changes = source, changes

    def blocks(self, name: str, *, elements: int) -> Iterator[np.ndarray]:
        change = self._changes.get(name)
        pieces = self._source.blocks(name, elements=elements)
        return pieces if change is None else self._made(name, change, elements)

    def _made(self, name: str, change: Change, elements: int) -> Iterator[np.ndarray]:
        flat = np.ravel(change(read_tensor(self._source, name)))
        for start in range(0, math.prod(flat.shape), elements):
            yield flat[start : start + elements]
