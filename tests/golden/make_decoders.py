"""Run tiny random decoders in Hugging Face's transformers and keep what came out.

    python tests/golden/make_decoders.py       # needs torch

Each case is a configuration as config.json has it, its tensors, and the logits of 2 rows of 24
tokens.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SMALL = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA = {
    "num_hidden_layers": 3,
    "head_dim": 8,
    "sliding_window": 5,
    "query_pre_attn_scalar": 12,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "num_key_value_heads": 4},
    "llama, grouped, tied": {
        "model_type": "llama",
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "rope_theta": 500.0,
    },
    "llama, one key head, stretched": {
        "model_type": "llama",
        "num_key_value_heads": 1,
        "rope_parameters": LLAMA3,
    },
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8},
    "gemma3": {"model_type": "gemma3_text", "num_key_value_heads": 2, **GEMMA},
    "gemma3, one key head": {
        "model_type": "gemma3_text",
        "num_key_value_heads": 1,
        **GEMMA,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    },
    "neox": {"model_type": "gpt_neox", "hidden_size": 32, "rotary_pct": 0.5},
    "neox, in sequence": {
        "model_type": "gpt_neox",
        "rotary_pct": 1.0,
        "use_parallel_residual": False,
    },
}
GOLDEN = Path(__file__).with_name("decoders.npz")


def run(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray], np.ndarray]:
    """Give the configuration as it is saved, the tensors and the logits of a case."""
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**(SMALL | case))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for tensor in model.parameters():
            # Large enough for every part to show, norms and biases among them.
            tensor.add_(0.3 * torch.randn_like(tensor))
        logits = model(torch.from_numpy(tokens())).logits
    with tempfile.TemporaryDirectory() as folder:
        # In files some tensors have other names than in the model.
        model.save_pretrained(folder)
        state = load_file(Path(folder, "model.safetensors"))
        content = json.loads(Path(folder, "config.json").read_text())
    return content, state, logits.numpy()


def tokens() -> np.ndarray:
    """Draw the rows that all cases read."""
    return np.random.default_rng(0).integers(0, SMALL["vocab_size"], (2, 24))


if __name__ == "__main__":
    arrays = {}
    for name, case in CASES.items():
        content, state, logits = run(case)
        arrays |= {f"{name}|{key}": value for key, value in state.items()}
        arrays[f"{name}|config"] = np.array(json.dumps(content))
        arrays[f"{name}|logits"] = logits
    np.savez_compressed(GOLDEN, **arrays)
