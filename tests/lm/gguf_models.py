"""Decoders written as llama.cpp's converter writes them."""

import math

import gguf
import numpy as np
from vocabularies import write_byte_level

from sublim_jax.tensorfiles import read_metadata

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "gpt_neox": "gptneox",
}
ENDS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    "embed_tokens": "token_embd",
    "embed_in": "token_embd",
    "norm": "output_norm",
    "final_layer_norm": "output_norm",
    "lm_head": "output",
    "embed_out": "output",
}


def renamed(name, kind):
    name = name.removeprefix("model.").removeprefix("gpt_neox.")
    stem, _, end = name.rpartition(".")
    if not stem.startswith("layers."):
        return f"{ENDS[stem]}.{end}"
    _, layer, part = stem.split(".", 2)
    new = ENDS[part]
    if kind == "gemma3" and part == "post_attention_layernorm":
        new = "post_attention_norm"
    return f"blk.{layer}.{new}.{end}"


def converted(name, array, case, kind):
    """What the converter does to a tensor: its code, in numpy."""
    config = case.config
    if kind == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config.heads if "q_proj" in name else config.kv_heads
        rows = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
        return rows.swapaxes(1, 2).reshape(array.shape)
    if kind == "gptneox" and "query_key_value" in name:
        rows = array.reshape(config.heads, 3, config.width // config.heads, *array.shape[1:])
        return np.concatenate([rows[:, i].reshape(-1, *array.shape[1:]) for i in range(3)])
    return array + 1 if kind == "gemma3" and name.endswith("norm.weight") else array


def frequencies(base, width, *, factor, low=1.0, high=4.0, context=8192):
    """The table of Llama 3, as the converter computes it."""
    table = []
    for turn in base ** -(np.arange(0, width, 2) / width):
        wave = 2 * math.pi / turn
        smooth = (context / wave - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        table.append(1 if wave < context / high else factor if wave > context / low else between)
    return np.array(table, np.float32)


def fields(config, kind):
    given = {
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.hidden,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "rope.freq_base": float(config.rotary.base),
        "rope.dimension_count": int(config.head_width * config.rotary.share),
    }
    norm = "layer_norm_epsilon" if kind == "gptneox" else "layer_norm_rms_epsilon"
    given[f"attention.{norm}"] = config.norm_epsilon
    if kind in ("qwen3", "gemma3"):
        given |= {"attention.key_length": config.head_width}
    if kind == "gptneox":
        given |= {"use_parallel_residual": config.parallel}
    if kind == "gemma3":
        given |= {"attention.sliding_window": config.window, "attention.sliding_window_pattern": 2}
        given |= {"rope.freq_base_swa": float(config.local_rotary.base)}
    if config.rotary.slowdown != 1:
        given |= {"rope.scaling.type": "linear", "rope.scaling.factor": config.rotary.slowdown}
    return given


def write_model(path, case, *, more_tensors=(), **changes):
    """Write a case; ``changes`` are of fields, without the architecture's name."""
    kind = ARCHITECTURES[case.content["model_type"]]
    writer = gguf.GGUFWriter(path, kind)
    adds = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    vocabulary = read_metadata(write_byte_level(path.with_suffix(".vocabulary")))
    everything = {
        f"{kind}.{n}": value for n, value in (fields(case.config, kind) | changes).items()
    }
    for name, value in (everything | vocabulary).items():
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if name != "general.architecture" and value is not None:
            adds[type(value)](name, value)
    for name, array in case.tensors.items():
        writer.add_tensor(renamed(name, kind), converted(name, array, case, kind))
    for name, array in dict(more_tensors).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
