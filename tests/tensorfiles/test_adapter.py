import json
import re

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tensor_contents as contents

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import is_adapter, open_adapter, open_tensors, read_tensor

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.10.self_attn.v_proj"
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
BASE = {
    f"{Q}.weight": (6, 8),
    f"{Q}.bias": (6,),
    f"{V}.weight": (4, 8),
    f"{EMBEDDING}.weight": (10, 8),
    f"{HEAD}.weight": (10, 8),
    "score.dense.weight": (3, 8),
}
CONFIG = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 6,
    "bias": "none",
    "use_rslora": False,
    "fan_in_fan_out": False,
    "use_dora": False,
    "init_lora_weights": True,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
}


def factors(module, *, rank=2, infix="", shape=None, dtype=np.float32):
    """The two tensors of a linear module as PEFT names them."""
    fan_out, fan_in = shape or BASE[f"{module}.weight"]
    rng = np.random.default_rng(len(module))
    return {
        f"base_model.model.{module}.lora_A{infix}.weight": rng.normal(size=(rank, fan_in)),
        f"base_model.model.{module}.lora_B{infix}.weight": rng.normal(size=(fan_out, rank)),
    } | {"dtype": dtype}


def as_stored(tensors):
    dtype = tensors.pop("dtype", np.float32)
    return {name: np.asarray(tensor, dtype) for name, tensor in tensors.items()}


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.safetensors"
    safetensors.numpy.save_file(contents.draw("bfloat16", BASE), path)
    return open_tensors(path)


@pytest.fixture
def adapter(tmp_path, base):
    """Write an adapter of some tensors, with changes to the configuration, and open it."""

    def make(*groups, base=base, **changes):
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
        tensors = {}
        for group in groups:
            tensors |= as_stored(dict(group))
        safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
        return open_adapter(folder, base)

    return make


def displacement(low):
    product = low.scale * low.b @ low.a
    return product.T if low.transposed else product


def dense(tensors, scale):
    """The displacement by sums over the rank, without a matrix product."""
    a, b = (next(t for name, t in tensors.items() if f"lora_{half}" in name) for half in "AB")
    return scale * np.einsum("ri,or->oi", a, b)


def assert_displaces(opened, module, expected):
    low = opened.low_rank[f"{module}.weight"]
    assert low.a.dtype == low.b.dtype == np.float32
    np.testing.assert_allclose(displacement(low), expected, rtol=1e-5, atol=1e-6)


def test_factors_are_read_by_the_names_of_the_base(adapter, base):
    q, v = factors(Q), factors(V)
    opened = adapter(q, v)
    assert is_adapter(opened.path)
    assert set(opened.low_rank) == {f"{Q}.weight", f"{V}.weight"}
    assert f"{Q}.weight" in opened.low_rank
    assert HEAD not in opened.low_rank
    assert len(opened.low_rank) == 2
    assert dict(opened.replaced.tensors) == {}
    assert_displaces(opened, Q, dense(q, 3.0))
    assert_displaces(opened, V, dense(v, 3.0))
    for name in opened.low_rank:
        assert displacement(opened.low_rank[name]).shape == base.tensors[name].shape


@pytest.mark.parametrize("infix", ["", ".default", ".my-adapter"])
def test_the_name_of_the_adapter_in_a_key_does_not_matter(adapter, infix):
    q = factors(Q, infix=infix)
    assert_displaces(adapter(q), Q, dense(q, 3.0))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_factors_of_other_types_are_read_as_float32(adapter, dtype):
    q = factors(Q, dtype=dtype)
    low = adapter(q).low_rank[f"{Q}.weight"]
    a, b = as_stored(q).values()
    np.testing.assert_array_equal(low.a, a.astype(np.float32))
    np.testing.assert_array_equal(low.b, b.astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "ranks", "scales"),
    [
        ({"use_rslora": True}, (2, 2), (6 / 2**0.5, 6 / 2**0.5)),
        ({"r": 4, "lora_alpha": 10.0}, (4, 4), (2.5, 2.5)),
        ({"rank_pattern": {"q_proj": 3}}, (3, 2), (2, 3)),
        ({"rank_pattern": {"q_proj": 3}, "use_rslora": True}, (3, 2), (6 / 3**0.5, 6 / 2**0.5)),
        ({"alpha_pattern": {"self_attn.v_proj": 1}}, (2, 2), (3, 0.5)),
        ({"alpha_pattern": {"proj": 1, "v_pro": 1, "elf_attn.v_proj": 1}}, (2, 2), (3, 3)),
        ({"alpha_pattern": {r"layers\.\d\..*": 1}}, (2, 2), (0.5, 3)),
        ({"alpha_pattern": {"q_proj|v_proj": 8}}, (2, 2), (4, 4)),
        ({"alpha_pattern": {".*_proj": 8, "q_proj": 100}}, (2, 2), (4, 4)),
        ({"alpha_pattern": {f"^{re.escape(Q)}": 8}}, (2, 2), (4, 3)),
        ({"rank_pattern": None, "alpha_pattern": None}, (2, 2), (3, 3)),
    ],
)
def test_scales_are_those_of_the_configuration(adapter, changes, ranks, scales):
    modules = [factors(module, rank=rank) for module, rank in zip((Q, V), ranks, strict=True)]
    opened = adapter(*modules, **changes)
    for module, tensors, scale in zip((Q, V), modules, scales, strict=True):
        assert_displaces(opened, module, dense(tensors, scale))


def test_weights_stored_as_fan_in_by_fan_out_are_displaced_by_the_transpose(adapter):
    q = factors(Q, shape=(8, 6))
    opened = adapter(q, fan_in_fan_out=True)
    assert_displaces(opened, Q, dense(q, 3.0).T)


@pytest.mark.parametrize("infix", ["", ".default"])
def test_embeddings_are_displaced_by_the_transpose(adapter, infix):
    rng = np.random.default_rng(0)
    rows, width = BASE[f"{EMBEDDING}.weight"]
    tensors = {
        f"base_model.model.{EMBEDDING}.lora_embedding_A{infix}": rng.normal(size=(2, rows)),
        f"base_model.model.{EMBEDDING}.lora_embedding_B{infix}": rng.normal(size=(width, 2)),
    }
    a, b = tensors.values()
    # A row of the embedding is its row of A's transpose, times B's.
    expected = np.stack([3 * sum(a[k, i] * b[:, k] for k in range(2)) for i in range(rows)])
    assert_displaces(adapter(tensors), EMBEDDING, expected)


WHOLE = {
    f"{HEAD}.weight": f"{HEAD}.weight",
    f"{HEAD}.modules_to_save.weight": f"{HEAD}.weight",
    f"{HEAD}.modules_to_save.default.weight": f"{HEAD}.weight",
    "score.modules_to_save.dense.weight": "score.dense.weight",
    "score.modules_to_save.default.dense.weight": "score.dense.weight",
    f"{Q}.base_layer.bias": f"{Q}.bias",
    f"{Q}.bias": f"{Q}.bias",
    f"{EMBEDDING}.base_layer.weight": f"{EMBEDDING}.weight",
}


@pytest.mark.parametrize("key", WHOLE)
def test_what_was_trained_in_full_replaces_a_tensor(adapter, base, key):
    name = WHOLE[key]
    array = contents.draw("bfloat16", {name: BASE[name]})
    stored = {f"base_model.model.{key}": array[name], "dtype": ml_dtypes.bfloat16}
    opened = adapter(factors(V), stored, bias="lora_only", modules_to_save=[HEAD])
    contents.assert_holds(opened.replaced, array)
    assert set(opened.low_rank) == {f"{V}.weight"}
    np.testing.assert_array_equal(
        read_tensor(opened.replaced, name), array[name].astype(np.float32)
    )
    with pytest.raises(InputError, match="has no tensor 'w'"):
        opened.replaced.blocks("w", elements=3)
    with pytest.raises(KeyError):
        opened.low_rank["w"]


def test_an_adapter_of_nothing_is_one(adapter):
    opened = adapter()
    assert (len(opened.low_rank), len(opened.replaced.tensors)) == (0, 0)


REFUSED = [
    {"use_dora": True},
    {"lora_bias": True},
    {"layer_replication": [[0, 1]]},
    {"target_parameters": ["experts"]},
    {"trainable_token_indices": [3]},
    {"init_lora_weights": "pissa_niter_4"},
    {"init_lora_weights": "olora"},
    {"peft_type": "LOHA"},
    {"peft_type": None},
]


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_adapters_of_another_kind_are_refused(adapter, changes):
    ((name, value),) = changes.items()
    with pytest.raises(InputError, match=re.escape(f"has {name} {value!r}")):
        adapter(factors(Q), **changes)


BAD_NUMBERS = [
    {"r": 0},
    {"r": "8"},
    {"r": None},
    {"lora_alpha": "x"},
    {"lora_alpha": None},
    {"lora_alpha": float("nan")},
    {"rank_pattern": {"q_proj": 0}},
    {"rank_pattern": [3]},
    {"alpha_pattern": {"q_proj": None}},
    {"alpha_pattern": {"q_(proj": 3}},
]


@pytest.mark.parametrize("changes", BAD_NUMBERS, ids=str)
def test_ranks_and_scales_that_are_no_numbers_are_refused(adapter, changes):
    with pytest.raises(InputError, match=rf"adapter_config.json has .*{next(iter(changes))}"):
        adapter(factors(Q), **changes)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_a_damaged_configuration_is_refused(adapter, base, text):
    folder = adapter(factors(Q)).path
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"adapter_config.json is .*; expected the configuration"):
        open_adapter(folder, base)


def test_missing_files_are_named(adapter, base):
    folder = adapter(factors(Q)).path
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"adapter_model.safetensors does not exist; expected"):
        open_adapter(folder, base)
    (folder / "adapter_config.json").unlink()
    assert not is_adapter(folder)
    with pytest.raises(InputError, match=r"adapter_config.json does not exist; expected"):
        open_adapter(folder, base)


def assert_names(refused, *parts):
    message = str(refused.value)
    assert [part for part in parts if part not in message] == []
    assert "; expected" in message


def test_all_tensors_that_the_base_does_not_have_are_named(adapter):
    odd = {
        **factors("layers.0.q_proj", shape=(3, 3)),
        f"base_model.model.{Q}.lora_magnitude_vector": np.ones(3),
        f"base_model.model.{Q}.lora_B.bias": np.ones(3),
        f"{Q}.weight": np.ones((6, 8)),
        "base_model.model.other.weight": np.ones(3),
    }
    with pytest.raises(InputError) as refused:
        adapter(factors(Q), odd)
    assert_names(refused, *(name for name in odd if name != "dtype"), "base.safetensors")


def test_all_factors_without_their_other_half_are_named(adapter):
    q, v = (list(factors(module).items()) for module in (Q, V))
    with pytest.raises(InputError) as refused:
        adapter(dict([q[0]]), dict([v[1]]))
    assert_names(refused, q[0][0], v[1][0], "without the other factor")


def test_all_ranks_that_differ_from_the_configuration_are_named(adapter):
    with pytest.raises(InputError) as refused:
        adapter(factors(Q, rank=3), factors(V, rank=4), rank_pattern={"v_proj": 5})
    assert_names(refused, f"{Q} (3, 8) and (6, 3) for rank 2", f"{V} (4, 8) and (4, 4) for rank 5")


def test_factors_that_are_no_matrices_are_named(adapter):
    a, b, _ = factors(Q).items()
    with pytest.raises(InputError) as refused:
        adapter({a[0]: a[1].reshape(2, 2, 2, 2), b[0]: b[1]})
    assert_names(refused, f"{Q} (2, 2, 2, 2) and (6, 2) for rank 2")


def test_all_products_that_do_not_fit_the_base_are_named(adapter):
    with pytest.raises(InputError) as refused:
        adapter(factors(Q, shape=(6, 9)), factors(V, shape=(5, 8)))
    assert_names(
        refused,
        f"{Q}.weight by (6, 9) where it is (6, 8)",
        f"{V}.weight by (5, 8) where it is (4, 8)",
    )
    assert "fan_in_fan_out" not in str(refused.value)


def test_products_that_fit_when_transposed_come_with_a_hint(adapter):
    with pytest.raises(InputError, match="they fit transposed: see fan_in_fan_out"):
        adapter(factors(Q, shape=(8, 6)))


def test_all_replacements_that_do_not_fit_the_base_are_named(adapter):
    wrong = {
        f"base_model.model.{HEAD}.weight": np.ones((11, 8)),
        f"base_model.model.{Q}.bias": np.ones(5),
    }
    with pytest.raises(InputError) as refused:
        adapter(factors(V), wrong)
    assert_names(refused, f"{HEAD}.weight (11, 8) for (10, 8)", f"{Q}.bias (5,) for (6,)")


def test_two_adapters_in_one_file_are_refused(adapter):
    with pytest.raises(InputError) as refused:
        adapter(factors(Q), factors(Q, infix=".other"))
    assert_names(refused, "has a second base_model.model.", "lora_A", "lora_B", "expected one")


def test_a_tensor_both_replaced_and_displaced_is_refused(adapter):
    whole = {f"base_model.model.{Q}.base_layer.weight": np.ones((6, 8))}
    with pytest.raises(InputError, match=rf"replaces and also displaces {Q}.weight; expected one"):
        adapter(factors(Q), whole)
