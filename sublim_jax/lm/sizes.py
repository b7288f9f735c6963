"""Shapes of published models, to plan for them or to draw one without its weights.

References:
    The ``config.json`` of each model on the hub of Hugging Face.
"""

from collections.abc import Mapping
from typing import Any

from sublim_jax.errors import InputError
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.families import from_hugging_face
from sublim_jax.lm.models import known

Content = dict[str, Any]

SMOLLM2: Content = {
    "model_type": "llama",
    "vocab_size": 49_152,
    "max_position_embeddings": 8_192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100_000.0,
    "tie_word_embeddings": True,
}
QWEN: Content = {
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
}
QWEN2: Content = QWEN | {"model_type": "qwen2"}
QWEN3: Content = QWEN | {"model_type": "qwen3", "head_dim": 128, "max_position_embeddings": 40_960}
LLAMA3: Content = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
}
GEMMA3: Content = {
    "model_type": "gemma3_text",
    "vocab_size": 262_144,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "head_dim": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "sliding_window": 512,
    "hidden_act": "gelu_pytorch_tanh",
    "rope_theta": 1_000_000.0,
}
SEEING: Content = {  # larger models of Gemma 3, of which this is the part for text
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "sliding_window": 1_024,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}
PYTHIA: Content = {
    "model_type": "gpt_neox",
    "vocab_size": 50_304,
    "max_position_embeddings": 2_048,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "rotary_pct": 0.25,
}
TIED: Content = {"tie_word_embeddings": True}
ACTIVATION: Content = {"hidden_act": "silu"}


def _stretched(factor: float) -> Content:
    stretch = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return {"rope_scaling": stretch | {"factor": factor, "original_max_position_embeddings": 8_192}}


def _size(layers: int, width: int, heads: int, kv_heads: int, hidden: int) -> Content:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": hidden,
    }


SIZES: Mapping[str, Content] = {
    "smollm2": SMOLLM2 | _size(30, 576, 9, 3, 1_536),
    "smollm2-360m": SMOLLM2 | _size(32, 960, 15, 5, 2_560),
    "smollm2-1.7b": SMOLLM2 | _size(24, 2_048, 32, 32, 8_192) | {"rope_theta": 130_000.0},
    "qwen2.5-0.5b": QWEN2 | TIED | _size(24, 896, 14, 2, 4_864),
    "qwen2.5-1.5b": QWEN2 | TIED | _size(28, 1_536, 12, 2, 8_960),
    "qwen2.5-3b": QWEN2 | TIED | _size(36, 2_048, 16, 2, 11_008),
    "qwen2.5-7b": QWEN2 | _size(28, 3_584, 28, 4, 18_944) | {"vocab_size": 152_064},
    "qwen2.5-14b": QWEN2 | _size(48, 5_120, 40, 8, 13_824) | {"vocab_size": 152_064},
    "qwen3-0.6b": QWEN3 | TIED | _size(28, 1_024, 16, 8, 3_072),
    "qwen3-1.7b": QWEN3 | TIED | _size(28, 2_048, 16, 8, 6_144),
    "qwen3-4b": QWEN3 | TIED | _size(36, 2_560, 32, 8, 9_728),
    "qwen3-8b": QWEN3 | _size(36, 4_096, 32, 8, 12_288),
    "qwen3-14b": QWEN3 | _size(40, 5_120, 40, 8, 17_408),
    "llama3.1-8b": LLAMA3 | _stretched(8.0) | _size(32, 4_096, 32, 8, 14_336),
    "llama3.2-1b": LLAMA3 | TIED | _stretched(32.0) | _size(16, 2_048, 32, 8, 8_192),
    "llama3.2-3b": LLAMA3 | TIED | _stretched(32.0) | _size(28, 3_072, 24, 8, 8_192),
    "gemma3-270m": GEMMA3 | _size(18, 640, 4, 1, 2_048),
    "gemma3-1b": GEMMA3 | _size(26, 1_152, 4, 1, 6_912),
    "gemma3-4b": GEMMA3 | SEEING | _size(34, 2_560, 8, 4, 10_240),
    "pythia-14m": PYTHIA | _size(6, 128, 4, 4, 512),
    "pythia-31m": PYTHIA | _size(6, 256, 8, 8, 1_024),
    "pythia-70m": PYTHIA | _size(6, 512, 8, 8, 2_048),
    "pythia-160m": PYTHIA | _size(12, 768, 12, 12, 3_072),
    "pythia-410m": PYTHIA | _size(24, 1_024, 16, 16, 4_096),
    "pythia-1b": PYTHIA | _size(16, 2_048, 8, 8, 8_192),
    "pythia-1.4b": PYTHIA | _size(24, 2_048, 16, 16, 8_192),
    "pythia-2.8b": PYTHIA | _size(32, 2_560, 32, 32, 10_240),
}


def shape_of(name: str) -> DecoderConfig:
    """Give the shape of a model by its short name, with nothing downloaded.

    Models that differ in their weights alone (``-it``, seeds of Pythia) have the same.

    Raises:
        InputError: there is no such model.
    """
    known(name)
    same = max((size for size in SIZES if f"{name}-".startswith(f"{size}-")), key=len, default=None)
    if same is None:
        raise InputError(
            f"model is {name!r}, whose shape is not known; expected one of {', '.join(SIZES)}"
        )
    return from_hugging_face(ACTIVATION | SIZES[same])
