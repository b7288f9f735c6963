"""Folders of Hugging Face: written, read again, and read by transformers."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoders import NAMES, TOKENS, golden
from safetensors.numpy import load_file
from vocabularies import write_byte_level

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import families, saving, tokenizer
from sublim_jax.lm.rotary import Rotary, Stretch

NOTES = ("is_local", "local_files_only")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "vocabulary.gguf"
    return tokenizer.from_gguf(write_byte_level(path, template=TEMPLATE))


@pytest.fixture
def saved(tmp_path, words):
    """Save a case; gives the folder."""

    def save(name, **options):
        case = golden()[name]
        lm.save(tmp_path / "saved", case.config, case.params, words, **options)
        return tmp_path / "saved"

    return save


def contents(folder):
    """Files by name; transformers notes in one whether a tokenizer came from a folder."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    notes = json.loads(files.pop("tokenizer_config.json"))
    return files, {name: note for name, note in notes.items() if name not in NOTES}


@pytest.mark.parametrize("name", NAMES)
def test_loading_what_was_saved_is_the_identity(name, saved, words):
    case = golden()[name]
    folder = saved(name)
    model = lm.load(folder)
    assert model.config == case.config
    jax.tree.map(np.testing.assert_array_equal, model.params, case.params)
    texts = ["hello owl 12", "<|im_start|>user\n"]
    assert model.tokenizer(texts)["input_ids"] == words(texts)["input_ids"]
    assert model.tokenizer.chat_template == TEMPLATE
    assert model.tokenizer.eos_token_id == 2
    # And the other way around.
    before = contents(folder)
    lm.save(folder, *model)
    assert contents(folder) == before


@pytest.mark.parametrize("name", NAMES)
def test_transformers_gives_the_same_logits(name, saved):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = saved(name)
    model, told = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(told.values())
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(TOKENS)).logits.numpy()
    np.testing.assert_allclose(found, golden()[name].logits, rtol=1e-5, atol=2e-5)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == 2
    rendered = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [{"role": "user", "content": "owl"}], tokenize=False
    )
    assert rendered == "<|im_start|>user owl<|im_end|>"


def test_the_files_are_those_that_programs_expect(saved):
    folder = saved("llama")
    content = json.loads((folder / "config.json").read_text())
    assert content["architectures"] == ["LlamaForCausalLM"]
    assert (content["torch_dtype"], content["rope_theta"]) == ("float32", 10_000.0)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    assert json.loads((folder / "generation_config.json").read_text()) == ids
    assert ids.items() <= content.items()
    found = load_file(folder / "model.safetensors")
    for name, array in golden()["llama"].tensors.items():
        np.testing.assert_array_equal(found[name], array)
    assert (folder / "tokenizer.json").is_file()


def test_half_the_bytes_are_saved_and_loaded_where_they_are_asked_for(saved, words):
    folder = saved("gemma3", dtype=jnp.bfloat16)
    stored = load_file(folder / "model.safetensors")
    assert {array.dtype.name for array in stored.values()} == {"bfloat16"}
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
    half = lm.load(folder, dtype=jnp.bfloat16)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.params)} == {"bfloat16"}
    lm.save(folder, *half)  # in the type they have
    again = load_file(folder / "model.safetensors")
    assert all((again[name] == stored[name]).all() for name in stored)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), golden()["gemma3"].params)
    jax.tree.map(np.testing.assert_array_equal, half.params, rounded)
    wide = lm.load(folder).params
    jax.tree.map(np.testing.assert_array_equal, wide, jax.tree.map(jnp.float32, rounded))
    with pytest.raises(InputError, match="dtype is int8; expected one of float32, bfloat16"):
        lm.save(folder, *half, dtype=jnp.int8)


def test_a_large_model_is_saved_in_shards_with_an_index(saved, monkeypatch):
    monkeypatch.setattr(saving, "SHARD_BYTES", 10_000)
    folder = saved("llama")
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    count = len(files)
    assert count > 2
    assert files == [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    sizes = [sum(a.nbytes for a in load_file(folder / file).values()) for file in files]
    assert max(sizes) <= 10_000
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    for name, file in index["weight_map"].items():
        assert name in load_file(folder / file)
    jax.tree.map(np.testing.assert_array_equal, lm.load(folder).params, golden()["llama"].params)
    monkeypatch.undo()
    saved("llama")  # what was there before is gone
    assert [file.name for file in folder.glob("*.safetensors*")] == ["model.safetensors"]


def test_an_empty_folder_is_filled_and_nothing_else_is_left_beside(saved, tmp_path):
    (tmp_path / "saved").mkdir()
    saved("llama")
    saved("qwen2")
    assert lm.load(tmp_path / "saved").config == golden()["qwen2"].config
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize("name", ["notes.md", "config.json", "model.safetensors"])
def test_a_folder_with_something_else_is_kept(name, saved, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / name).write_text("{}")
    with pytest.raises(InputError, match=f"which holds {name}; expected one that is new or empty"):
        saved("llama")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == [name]


def test_a_model_of_ours_with_a_note_beside_it_is_kept(saved):
    folder = saved("llama")
    (folder / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"which holds notes.md; expected"):
        saved("llama")


def test_a_file_is_kept(saved, tmp_path):
    (tmp_path / "saved").write_text("mine")
    with pytest.raises(InputError, match="a file; expected a folder that is new or empty"):
        saved("llama")


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path, words):
    (tmp_path / "file").write_text("")
    case = golden()["llama"]
    with pytest.raises(InputError, match=r"file/saved cannot be written \(.*\); expected"):
        lm.save(tmp_path / "file" / "saved", case.config, case.params, words)


def test_what_was_there_stays_where_saving_fails(saved, monkeypatch, tmp_path):
    folder = saved("llama")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "_flush", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        saved("qwen2")
    assert lm.load(folder).config == golden()["llama"].config
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_parameters_of_another_shape_are_refused(tmp_path, words):
    case, other = golden()["llama"], golden()["qwen2"]
    with pytest.raises(
        InputError, match=r"params have layers/attention/.* of shape None; expected"
    ):
        lm.save(tmp_path / "saved", other.config, case.params, words)
    smaller = case.params | {"norm": {"scale": jnp.ones(23)}}
    said = r"params have norm/scale of shape \(23,\); expected \(24,\) for the configuration"
    with pytest.raises(InputError, match=said):
        lm.save(tmp_path / "saved", case.config, smaller, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_configurations_can_be_written(name):
    config = golden()[name].config
    assert families.from_hugging_face(families.to_hugging_face(config)) == config


def test_scalings_of_rotations_can_be_written():
    config = golden()["llama"].config
    for rotary in (Rotary(base=5e5, stretch=Stretch(factor=32.0)), Rotary(slowdown=4.0)):
        changed = dataclasses.replace(config, rotary=rotary)
        assert families.from_hugging_face(families.to_hugging_face(changed)) == changed


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("llama", {"window": 5}),
        ("llama", {"query_scale": 0.5}),
        ("llama", {"qkv_bias": True, "qk_norm": True}),
        ("llama", {"rotary": Rotary(share=0.5)}),
        ("llama", {"rotary": Rotary(slowdown=2.0, stretch=Stretch(factor=8.0))}),
        ("gemma3", {"local_rotary": Rotary(slowdown=2.0)}),
        ("gemma3", {"window": None, "global_layers": ()}),
        ("neox", {"kv_heads": 1}),
        ("neox", {"head_width": 16}),
    ],
)
def test_what_no_family_describes_is_refused(name, change):
    config = dataclasses.replace(golden()[name].config, **change)
    with pytest.raises(
        InputError, match=r"expected a decoder that .* of Hugging Face can describe"
    ):
        families.to_hugging_face(config)


def test_what_is_said_and_what_goes_without_saying_are_the_same():
    config = golden()["llama"].config
    said = dataclasses.replace(config, query_scale=config.head_width**-0.5)
    assert families.to_hugging_face(said) == families.to_hugging_face(config)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "config.json does not exist; expected the configuration of a model"),
        ("config.json", "[]", "is no JSON object; expected the configuration of a model"),
        ("config.json", "{", "config.json is damaged"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("model.safetensors", None, "holds .*; expected a file .safetensors"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(saved, file, content, said):
    folder = saved("llama")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(InputError, match=said):
        lm.load(folder)
    shutil.rmtree(folder)


def test_what_neox_does_not_say_is_as_transformers_has_it():
    content = families.to_hugging_face(golden()["neox"].config)
    plain = {key: content[key] for key in content if key not in ("rotary_pct", "rotary_emb_base")}
    assert families.from_hugging_face(plain).rotary == Rotary(share=0.25)
    linear = plain | {"rope_scaling": {"type": "linear", "factor": 2.0}}
    assert families.from_hugging_face(linear).rotary == Rotary(share=0.25, slowdown=2.0)
    new = plain | {"rope_parameters": {"rope_theta": 5e4, "partial_rotary_factor": 0.5}}
    assert families.from_hugging_face(new).rotary == Rotary(share=0.5, base=5e4)
    with pytest.raises(InputError, match="rope_type is 'yarn'; expected default, linear or llama3"):
        families.from_hugging_face(plain | {"rope_scaling": {"type": "yarn", "factor": 2.0}})
