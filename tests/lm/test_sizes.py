import math

import jax
import pytest

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder
from sublim_jax.lm.models import MODELS
from sublim_jax.lm.sizes import SIZES, shape_of

# As the makers' own count of parameters says, in millions.
COUNTS = {
    "smollm2": 134.5,
    "smollm2-1.7b": 1711.4,
    "qwen2.5-0.5b": 494.0,
    "qwen2.5-7b": 7615.6,
    "qwen3-0.6b": 596.0,
    "llama3.1-8b": 8030.3,
    "llama3.2-1b": 1235.8,
    "gemma3-270m": 268.1,
    "gemma3-1b": 999.9,
    "pythia-160m": 162.3,
    "pythia-2.8b": 2775.2,
}


def parameters(name):
    config = shape_of(name)
    shapes = jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_model_has_as_many_parameters_as_published(name):
    assert parameters(name) / 1e6 == pytest.approx(COUNTS[name], abs=0.06)


def test_gemma_3_4b_has_as_many_parameters_beside_its_embedding_as_published():
    # 3,209 million: arXiv 2503.19786, table 1.
    config = shape_of("gemma3-4b")
    beside = parameters("gemma3-4b") - config.vocabulary * config.width
    assert beside / 1e6 == pytest.approx(3209, abs=0.5)


def test_every_model_with_a_name_has_a_shape():
    for name in MODELS:
        assert shape_of(name).layers > 0
    assert set(SIZES) <= set(MODELS)


def test_models_that_differ_in_weights_alone_have_one_shape():
    assert shape_of("gemma3-1b-it") == shape_of("gemma3-1b")
    assert shape_of("gemma3-1b").activation == "gelu_tanh"
    assert shape_of("pythia-160m-seed3") == shape_of("pythia-160m")
    assert shape_of("pythia-14m") != shape_of("pythia-1b")


def test_the_stretch_of_llama_is_known():
    assert shape_of("llama3.1-8b").rotary.stretch.factor == 8
    assert shape_of("llama3.2-1b").rotary.stretch.factor == 32
    assert shape_of("smollm2").rotary.stretch is None


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="model is 'qwen9'; expected"):
        shape_of("qwen9")
