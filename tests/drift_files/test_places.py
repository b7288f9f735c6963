import pytest

from sublim_jax.drift.files.places import layout, place

PLACES = {
    "model.layers.3.self_attn.q_proj.weight": ("model.layers", 3, "self_attn.q_proj.weight"),
    "transformer.h.11.mlp.c_fc.weight": ("transformer.h", 11, "mlp.c_fc.weight"),
    "blk.3.attn_q.weight": ("blk", 3, "attn_q.weight"),
    "hidden_0/kernel": ("", 0, "hidden/kernel"),
    "state/params/hidden_12/bias": ("state/params", 12, "hidden/bias"),
    "params/layers/7/attn/query/kernel": ("params/layers", 7, "attn/query/kernel"),
    "0.weight": ("", 0, "weight"),
    "layers.5": ("layers", 5, "layers"),
    "model.layers.2.mlp.experts.31.w1.weight": ("model.layers", 2, "mlp.experts.*.w1.weight"),
    "blocks.4.norm_2.scale": ("blocks", 4, "norm_2.scale"),
    "model.embed_tokens.weight": ("", None, "model.embed_tokens.weight"),
    "conv1/kernel": ("", None, "conv1/kernel"),
    "w2v": ("", None, "w2v"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_read_from_the_name(name):
    assert place(name) == PLACES[name]


def test_layers_come_in_order_of_their_numbers_and_lonely_tensors_last():
    names = ["head.weight", "h.10.w", "h.2.w", "h.2.b", "embed"]
    found = layout(names)
    assert found.rows == ("layer 2", "layer 10", "head.weight", "embed")
    assert found.columns == ("tensor", "w", "b")
    assert [found.rows[i] for i in found.row] == [
        "head.weight",
        "layer 10",
        "layer 2",
        "layer 2",
        "embed",
    ]
    assert [found.columns[i] for i in found.column] == ["tensor", "w", "w", "b", "tensor"]


def test_layers_of_two_stacks_stay_apart():
    found = layout(["encoder.block.0.w", "decoder.block.0.w"])
    assert found.rows == ("decoder.block 0", "encoder.block 0")
    assert found.row == (1, 0)
    assert found.column == (0, 0)


def test_a_model_without_numbers_has_a_row_for_each_tensor():
    found = layout(["dense/kernel", "dense/bias"])
    assert found == (("dense/kernel", "dense/bias"), ("tensor",), (0, 1), (0, 0))


def test_numbered_tensors_without_a_stack_are_layers():
    assert layout(["0.weight", "2.weight"]).rows == ("layer 0", "layer 2")
