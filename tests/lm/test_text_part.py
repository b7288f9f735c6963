"""The part for text of checkpoints whose models see pictures."""

import json

import jax
import numpy as np
import pytest
from decoders import golden
from safetensors.numpy import load_file, save_file
from tiny_models import tiny_tokenizer

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import families
from sublim_jax.lm.sizes import shape_of

CASE = "gemma3"


def with_pictures(folder, prefix):
    """A saved model, written again as one that also sees pictures."""
    case = golden()[CASE]
    lm.save(folder, case.config, case.params, tiny_tokenizer())
    file = folder / "model.safetensors"
    tensors = {name.replace("model.", prefix, 1): array for name, array in load_file(file).items()}
    save_file(tensors | {"vision_tower.patches.weight": np.zeros((2, 2), np.float32)}, file)
    content = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": content, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(whole))
    return case


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_language_model_of_a_model_with_pictures_is_read(prefix, tmp_path):
    case = with_pictures(tmp_path / "model", prefix)
    model = lm.load(tmp_path / "model")
    assert model.config == case.config
    jax.tree.map(np.testing.assert_array_equal, model.params, case.params)


def test_tensors_that_are_missing_are_named(tmp_path):
    with_pictures(tmp_path / "model", "language.")
    with pytest.raises(InputError, match=r"missing \(model.embed_tokens.weight, "):
        lm.load(tmp_path / "model")


def test_what_the_configuration_of_gemma_3_4b_leaves_out_is_known():
    content = {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10_240,
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
    }
    assert families.from_hugging_face(content) == shape_of("gemma3-4b-it")


def test_a_configuration_without_text_is_refused():
    with pytest.raises(InputError, match="gemma3 configuration lacks text_config; expected it"):
        families.from_hugging_face({"model_type": "gemma3"})
