"""Parameters from tensors and back, strictly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, Held, golden

from sublim_jax.errors import InputError
from sublim_jax.lm import weights


@pytest.mark.parametrize("name", NAMES)
def test_saving_is_the_inverse_of_loading(name):
    case = golden()[name]
    saved = dict(weights.tensors(case.config, case.params))
    assert set(saved) == set(case.tensors)
    for key, array in case.tensors.items():
        np.testing.assert_array_equal(saved[key], array)
    again = weights.read(case.config, Held(saved))
    jax.tree.map(np.testing.assert_array_equal, again, case.params)


def test_parameters_have_the_type_that_is_asked_for():
    case = golden()["llama"]
    params = weights.read(case.config, Held(case.tensors), jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


def test_all_that_does_not_fit_is_told_at_once():
    case = golden()["llama"]
    tensors = dict(case.tensors)
    del tensors["model.layers.0.mlp.up_proj.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((20, 24), np.float32)
    tensors["model.norm.weight"] = np.zeros(23, np.float32)
    with pytest.raises(InputError) as refused:
        weights.read(case.config, Held(tensors))
    assert str(refused.value) == (
        "held has tensors 2 missing (model.layers.0.mlp.up_proj.weight, "
        "model.layers.1.mlp.up_proj.weight); 1 unexpected (model.layers.2.mlp.up_proj.weight); "
        "1 of another shape (model.norm.weight (23,), not (24,)); expected the 21 of the model"
    )


def test_buffers_and_heads_that_are_the_embedding_may_be_there():
    case = golden()["llama, grouped, tied"]
    tensors = case.tensors | {
        "lm_head.weight": case.tensors["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(3, np.float32),
    }
    found = weights.read(case.config, Held(tensors))
    jax.tree.map(np.testing.assert_array_equal, found, case.params)
