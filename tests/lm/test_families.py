"""Configurations of Hugging Face, and what is refused."""

import pytest
from decoders import NAMES, golden

from sublim_jax.errors import InputError
from sublim_jax.lm import families
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.rotary import Rotary, Stretch

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "vocab_size": 49152,
    "hidden_act": "silu",
    "attention_bias": False,
}


def test_a_file_from_before_transformers_5_is_read():
    assert families.from_hugging_face(SMOLLM2) == DecoderConfig(
        vocabulary=49_152,
        width=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_width=64,
        hidden=1_536,
        context=8_192,
        norm_epsilon=1e-5,
        tied=True,
        rotary=Rotary(base=100_000),
    )


def test_stretched_rotations_of_both_forms_are_the_same():
    numbers = {
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    old = SMOLLM2 | {"rope_theta": 5e5, "rope_scaling": numbers | {"rope_type": "llama3"}}
    new = SMOLLM2 | {"rope_parameters": numbers | {"rope_type": "llama3", "rope_theta": 5e5}}
    expected = Rotary(base=5e5, stretch=Stretch(factor=32.0))
    assert families.from_hugging_face(old).rotary == expected
    assert families.from_hugging_face(new).rotary == expected


def test_gemma_of_before_transformers_5_is_read():
    content = golden()["gemma3"].content
    old = {key: content[key] for key in content if key not in ("rope_parameters", "layer_types")}
    old |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 2}
    assert families.from_hugging_face(old) == golden()["gemma3"].config


@pytest.mark.parametrize("name", NAMES)
def test_configurations_are_hashable(name):
    config = golden()[name].config
    assert hash(config) == hash(families.from_hugging_face(golden()[name].content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'; expected one of llama, qwen2, qwen3"),
        ({"hidden_act": "relu"}, "activation is 'relu'; expected one of silu, gelu"),
        ({"attention_bias": True}, "attention_bias is true; expected projections without biases"),
        ({"mlp_bias": True}, "mlp_bias is true; expected a feed-forward part without biases"),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, "rope_type is 'yarn'; expected default"),
        ({"num_key_value_heads": 2}, "kv_heads is 2; expected a divisor of heads, 9"),
        ({"vocab_size": 0}, "vocabulary is 0; expected at least 1"),
        (
            {"model_type": "qwen2", "use_sliding_window": True},
            "use_sliding_window is true; expected attention to the whole text",
        ),
    ],
)
def test_what_the_decoder_does_not_do_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        families.from_hugging_face(SMOLLM2 | change)


def test_what_is_missing_is_named():
    content = {key: value for key, value in SMOLLM2.items() if key != "hidden_size"}
    with pytest.raises(InputError, match="llama configuration lacks hidden_size; expected it"):
        families.from_hugging_face(content)
