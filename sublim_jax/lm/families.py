"""Families of language models: what their configurations mean, and how their tensors are called."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sublim_jax.errors import InputError
from sublim_jax.lm.config import Activation, DecoderConfig
from sublim_jax.lm.rotary import Rotary, Stretch

Names = Mapping[str, str]
"""Paths in the parameters to names in the file; ``{}`` is the number of a layer. Leaves called
``kernel`` are transposed in the file."""

LLAMA: Names = {
    "embedding/table": "model.embed_tokens.weight",
    "norm/scale": "model.norm.weight",
    "head/kernel": "lm_head.weight",
    "layers/attention_norm/scale": "model.layers.{}.input_layernorm.weight",
    "layers/mlp_norm/scale": "model.layers.{}.post_attention_layernorm.weight",
    "layers/attention/query/kernel": "model.layers.{}.self_attn.q_proj.weight",
    "layers/attention/key/kernel": "model.layers.{}.self_attn.k_proj.weight",
    "layers/attention/value/kernel": "model.layers.{}.self_attn.v_proj.weight",
    "layers/attention/query/bias": "model.layers.{}.self_attn.q_proj.bias",
    "layers/attention/key/bias": "model.layers.{}.self_attn.k_proj.bias",
    "layers/attention/value/bias": "model.layers.{}.self_attn.v_proj.bias",
    "layers/attention/output/kernel": "model.layers.{}.self_attn.o_proj.weight",
    "layers/attention/query_norm/scale": "model.layers.{}.self_attn.q_norm.weight",
    "layers/attention/key_norm/scale": "model.layers.{}.self_attn.k_norm.weight",
    "layers/mlp/gate/kernel": "model.layers.{}.mlp.gate_proj.weight",
    "layers/mlp/up/kernel": "model.layers.{}.mlp.up_proj.weight",
    "layers/mlp/down/kernel": "model.layers.{}.mlp.down_proj.weight",
}
GEMMA: Names = {
    **LLAMA,
    "layers/attention_post_norm/scale": "model.layers.{}.post_attention_layernorm.weight",
    "layers/mlp_norm/scale": "model.layers.{}.pre_feedforward_layernorm.weight",
    "layers/mlp_post_norm/scale": "model.layers.{}.post_feedforward_layernorm.weight",
}
NEOX: Names = {
    "embedding/table": "gpt_neox.embed_in.weight",
    "norm/scale": "gpt_neox.final_layer_norm.weight",
    "norm/bias": "gpt_neox.final_layer_norm.bias",
    "head/kernel": "embed_out.weight",
    "layers/attention_norm/scale": "gpt_neox.layers.{}.input_layernorm.weight",
    "layers/attention_norm/bias": "gpt_neox.layers.{}.input_layernorm.bias",
    "layers/mlp_norm/scale": "gpt_neox.layers.{}.post_attention_layernorm.weight",
    "layers/mlp_norm/bias": "gpt_neox.layers.{}.post_attention_layernorm.bias",
    "layers/query_key_value/kernel": "gpt_neox.layers.{}.attention.query_key_value.weight",
    "layers/query_key_value/bias": "gpt_neox.layers.{}.attention.query_key_value.bias",
    "layers/output/kernel": "gpt_neox.layers.{}.attention.dense.weight",
    "layers/output/bias": "gpt_neox.layers.{}.attention.dense.bias",
    "layers/up/kernel": "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight",
    "layers/up/bias": "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias",
    "layers/down/kernel": "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight",
    "layers/down/bias": "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias",
}
BUFFERS = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
"""Ends of names of what older files hold beside the parameters, and no model reads."""

GEMMA3_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4_096,
}
"""What the configurations of Gemma 3 with pictures leave out: the defaults of transformers."""

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
ACTIVATION_NAMES = {ours: theirs for theirs, ours in ACTIVATIONS.items()}

ARCHITECTURES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
}


def names_of(config: DecoderConfig) -> Names:
    """Give the names that a family's files have for the parameters."""
    if config.block == "neox":
        return NEOX
    return GEMMA if config.gemma else LLAMA


def from_hugging_face(content: Mapping[str, Any]) -> DecoderConfig:
    """Read the content of a Hugging Face ``config.json``.

    Raises:
        InputError: the family is not known, something is missing, or the model does what this
            decoder does not (another activation or kind of rotation, biases elsewhere).
    """
    kind = str(content.get("model_type"))
    if kind not in FAMILIES:
        raise InputError(f"model_type is {kind!r}; expected one of {', '.join(FAMILIES)}")
    try:
        return FAMILIES[kind](content)
    except KeyError as fault:
        raise InputError(f"{kind} configuration lacks {fault.args[0]}; expected it") from fault


def to_hugging_face(config: DecoderConfig) -> dict[str, Any]:
    """Write the content of a ``config.json``: the inverse of `from_hugging_face`.

    Rotations have the names that were usual before transformers 5, which all programs read.

    Raises:
        InputError: no family is built like that.
    """
    kind = _family_of(config)
    content = {"model_type": kind, "architectures": [ARCHITECTURES[kind]], **_shape(config)}
    content |= (_neox_only if kind == "gpt_neox" else _gated_only)(config)
    if kind == "gemma3_text":
        content |= _gemma3_only(config)
    try:
        again = from_hugging_face(content)
    except (InputError, TypeError):
        again = None
    if again is None or _explicit(again) != _explicit(config):
        raise InputError(
            f"config is {config}; expected a decoder that {kind} of Hugging Face can describe"
        )
    return content


def _family_of(config: DecoderConfig) -> str:
    if config.block == "neox":
        return "gpt_neox"
    if config.gemma:
        return "gemma3_text"
    return "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"


def _explicit(config: DecoderConfig) -> DecoderConfig:
    """Say what is meant where nothing is said, so that equal models have equal configurations."""
    scale = config.head_width**-0.5 if config.query_scale is None else config.query_scale
    near = (config.local_rotary or config.rotary) if config.window else None
    return dataclasses.replace(config, query_scale=scale, local_rotary=near)


def _shape(config: DecoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": config.tied,
        "initializer_range": 0.02,
    }


def _gated_only(config: DecoderConfig) -> dict[str, Any]:
    return {
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_activation" if config.gemma else "hidden_act": ACTIVATION_NAMES[config.activation],
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rotary.base,
        "rope_scaling": _scaling(config.rotary),
        **({} if config.qkv_bias else {"attention_bias": False}),
    }


def _gemma3_only(config: DecoderConfig) -> dict[str, Any]:
    scale = config.head_width**-0.5 if config.query_scale is None else config.query_scale
    whole = round(scale**-2)
    kinds = ("sliding_attention", "full_attention")
    return {
        "query_pre_attn_scalar": whole if whole and whole**-0.5 == scale else scale**-2,
        **({"sliding_window": config.window} if config.window else {}),
        "layer_types": [kinds[i in config.global_layers] for i in range(config.layers)],
        "rope_local_base_freq": (config.local_rotary or config.rotary).base,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    }


def _neox_only(config: DecoderConfig) -> dict[str, Any]:
    return {
        "hidden_act": ACTIVATION_NAMES[config.activation],
        "layer_norm_eps": config.norm_epsilon,
        "rotary_emb_base": config.rotary.base,
        "rotary_pct": config.rotary.share,
        "use_parallel_residual": config.parallel,
    }


def _scaling(rotary: Rotary) -> dict[str, Any] | None:
    if rotary.stretch is not None:
        return {
            "rope_type": "llama3",
            "factor": rotary.stretch.factor,
            "low_freq_factor": rotary.stretch.low,
            "high_freq_factor": rotary.stretch.high,
            "original_max_position_embeddings": rotary.stretch.context,
        }
    return {"rope_type": "linear", "factor": rotary.slowdown} if rotary.slowdown != 1 else None


def _common(content: Mapping[str, Any]) -> dict[str, Any]:
    heads = content["num_attention_heads"]
    return {
        "vocabulary": content["vocab_size"],
        "width": content["hidden_size"],
        "layers": content["num_hidden_layers"],
        "heads": heads,
        "kv_heads": content.get("num_key_value_heads") or heads,
        "head_width": content.get("head_dim") or content["hidden_size"] // heads,
        "hidden": content["intermediate_size"],
        "context": content["max_position_embeddings"],
        "activation": _activation(content.get("hidden_act") or content.get("hidden_activation")),
    }


def _gated(content: Mapping[str, Any], **options: Any) -> DecoderConfig:
    if content.get("mlp_bias"):
        raise InputError("mlp_bias is true; expected a feed-forward part without biases")
    given = {
        "norm_epsilon": content["rms_norm_eps"],
        "tied": content.get("tie_word_embeddings", False),
        "rotary": _rotary(content),
    }
    return DecoderConfig(**(_common(content) | given | options))


def _llama(content: Mapping[str, Any]) -> DecoderConfig:
    if content.get("attention_bias"):
        raise InputError("attention_bias is true; expected projections without biases")
    return _gated(content)


def _qwen2(content: Mapping[str, Any]) -> DecoderConfig:
    _check_no_window(content)
    return _gated(content, qkv_bias=True)


def _qwen3(content: Mapping[str, Any]) -> DecoderConfig:
    _check_no_window(content)
    if content.get("attention_bias"):
        raise InputError("attention_bias is true; expected projections without biases")
    return _gated(content, qk_norm=True)


def _gemma3(content: Mapping[str, Any]) -> DecoderConfig:
    layers = content["num_hidden_layers"]
    kinds = content.get("layer_types")
    if kinds is None:
        every = content.get("sliding_window_pattern", 6)
        kinds = ["sliding" if (i + 1) % every else "full_attention" for i in range(layers)]
    rotations = content.get("rope_parameters") or {}
    if "full_attention" in rotations:
        whole, near = (
            _rotation(rotations[name]) for name in ("full_attention", "sliding_attention")
        )
    else:
        whole = _rotary(content)
        near = Rotary(base=content.get("rope_local_base_freq", 10_000.0))
    return _gated(
        content,
        tied=content.get("tie_word_embeddings", True),
        gemma=True,
        qk_norm=True,
        query_scale=content["query_pre_attn_scalar"] ** -0.5,
        window=content["sliding_window"],
        global_layers=tuple(i for i, name in enumerate(kinds) if name == "full_attention"),
        rotary=whole,
        local_rotary=near,
    )


def _gemma3_of_pictures(content: Mapping[str, Any]) -> DecoderConfig:
    """Read the part for text of a model that also sees pictures."""
    return _gemma3(GEMMA3_DEFAULTS | content["text_config"])


def _neox(content: Mapping[str, Any]) -> DecoderConfig:
    given = content.get("rope_parameters") or content.get("rope_scaling") or {}
    plain = _rotation({"rope_theta": content.get("rotary_emb_base", 10_000.0)} | dict(given))
    share = content.get("rotary_pct", 0.25)  # that of GPT-NeoX, where nothing is said
    rotary = dataclasses.replace(plain, share=given.get("partial_rotary_factor", share))
    return DecoderConfig(
        **_common(content),
        block="neox",
        norm_epsilon=content["layer_norm_eps"],
        tied=content.get("tie_word_embeddings", False),
        rotary=rotary,
        parallel=content.get("use_parallel_residual", True),
    )


FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], DecoderConfig]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma3_text": _gemma3,
    "gemma3": _gemma3_of_pictures,
    "gpt_neox": _neox,
}


def _activation(name: Any) -> Activation:
    if name not in ACTIVATIONS:
        raise InputError(f"activation is {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _check_no_window(content: Mapping[str, Any]) -> None:
    if content.get("use_sliding_window"):
        raise InputError("use_sliding_window is true; expected attention to the whole text")


def _rotary(content: Mapping[str, Any]) -> Rotary:
    """Read a rotation as transformers 5 writes it (rope_parameters) or as files before have it."""
    given = content.get("rope_parameters") or content.get("rope_scaling") or {}
    return _rotation({"rope_theta": content.get("rope_theta", 10_000.0)} | dict(given))


def _rotation(given: Mapping[str, Any]) -> Rotary:
    kind = given.get("rope_type", given.get("type", "default"))
    base = given["rope_theta"]
    if kind == "default":
        return Rotary(base=base)
    if kind == "linear":
        return Rotary(base=base, slowdown=given["factor"])
    if kind == "llama3":
        stretch = Stretch(
            factor=given["factor"],
            low=given["low_freq_factor"],
            high=given["high_freq_factor"],
            context=given["original_max_position_embeddings"],
        )
        return Rotary(base=base, stretch=stretch)
    raise InputError(f"rope_type is {kind!r}; expected default, linear or llama3")
