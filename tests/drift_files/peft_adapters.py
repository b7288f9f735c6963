"""Adapters in the PEFT format, and what they amount to."""

import json

import numpy as np
from safetensors.numpy import save_file

BASE = "base_model.model."


def factors(seed, shape, rank):
    """PEFT's lora_A and lora_B of a linear module with a weight of this shape."""
    rng = np.random.default_rng(seed)
    fan_out, fan_in = shape
    a = rng.normal(size=(rank, fan_in)).astype(np.float32)
    return a, (0.02 * rng.normal(size=(fan_out, rank))).astype(np.float32)


def write_adapter(folder, pairs, *, scale=2.0, replaced=None):
    """Write factors ``(a, b)`` of linear modules by the names of their weights."""
    folder.mkdir()
    rank = len(next(iter(pairs.values()))[0])
    tensors = {}
    for name, (a, b) in pairs.items():
        module = BASE + name.removesuffix(".weight")
        tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = a, b
    for name, array in (replaced or {}).items():
        module, _, last = name.rpartition(".")
        tensors[f"{BASE}{module}.modules_to_save.{last}"] = array
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": scale * rank,
        "target_modules": [name.removesuffix(".weight").split(".")[-1] for name in pairs],
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merged(base, pairs, *, scale=2.0, replaced=None):
    """The weights with an adapter merged, in float64."""
    weights = {name: array.astype(np.float64) for name, array in base.items()}
    for name, (a, b) in pairs.items():
        weights[name] = weights[name] + scale * b.astype(np.float64) @ a.astype(np.float64)
    return weights | {name: array.astype(np.float64) for name, array in (replaced or {}).items()}
