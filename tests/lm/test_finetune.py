"""A fine-tuning is the one by hand, however it is computed."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tuning
from compiling import compilations
from decoders import TOKENS, golden
from tuning import KEY, PLAIN, by_hand, model, moved, texts

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, lora
from sublim_jax.lm.chat import Row
from sublim_jax.lm.finetuning import Computing, Teacher, finetune
from sublim_jax.lm.packing import pack
from sublim_jax.lm.trained import Full, LoRA
from sublim_jax.training import Recipe

SAME = {"rtol": 1e-5, "atol": 2e-5}
LLAMA = "llama, grouped, tied"
THIN = LoRA(rank=2, alpha=8.0)


def close(tuned, expected):
    trained, losses = expected
    np.testing.assert_allclose(tuned.losses, losses, rtol=1e-4)
    chex.assert_trees_all_close(tuned.trained, trained, **tuning.CLOSE)


@pytest.mark.parametrize(
    ("name", "train"),
    [
        (LLAMA, Full()),
        (LLAMA, THIN),
        pytest.param("gemma3", LoRA(rank=2, layers=(1, 2), train_a=False), marks=pytest.mark.slow),
        pytest.param("neox", Full(layers=(1, 2), matching="kernel"), marks=pytest.mark.slow),
    ],
)
def test_a_training_is_the_one_by_hand_on_the_mean_over_tokens(name, train):
    config, params = model(name)
    tuned = finetune(config, params, texts(), train=train, recipe=PLAIN, key=KEY)
    close(tuned, by_hand(config, params, texts(), train, PLAIN))
    assert tuned.losses[-1] < tuned.losses[0] - 1e-3
    # What comes back are parameters that everything takes; those given are as they were.
    chex.assert_trees_all_equal(params, golden()[name].params)
    again = finetune(config, lora.merge(tuned.params), texts(), train=train, recipe=PLAIN, key=KEY)
    assert again.losses[0] < tuned.losses[-1]


@pytest.mark.parametrize(
    "other",
    [
        {"together": False, "computing": Computing(accumulate=3)},
        {"computing": Computing(unroll=False)},
        {"computing": Computing(remat=True, chunk=5)},
    ],
    ids=str,
)
def test_how_it_is_computed_and_packed_changes_nothing(other):
    config, params = model(LLAMA)
    plain, found = (
        finetune(config, params, texts(), train=THIN, recipe=PLAIN, key=KEY, **how)
        for how in ({}, other)
    )
    close(found, (plain.trained, plain.losses))


def teaching(teacher, **options):
    config, params = model(LLAMA)
    given = {"train": THIN, "recipe": PLAIN, "key": KEY} | options
    return finetune(config, params, texts(), teacher=teacher, **given)


@pytest.mark.parametrize(
    ("train", "only", "chunk"), [(THIN, None, None), (LoRA(rank=2, layers=(1, 2)), (3, 4, 29), 5)]
)
def test_a_teacher_is_imitated_on_its_words(train, only, chunk):
    config, params = model(LLAMA)
    teacher = moved(params)
    how = {"train": train, "only": only, "computing": Computing(chunk=chunk)}
    found = teaching(Teacher(teacher), **how)
    close(found, by_hand(config, params, texts(), train, PLAIN, teacher=teacher, only=only))
    assert found.losses[-1] < found.losses[0]
    agreed = teaching(Teacher(params), **how)
    np.testing.assert_allclose(agreed.losses, 0, atol=1e-6)
    start = train.start(config, params, KEY)
    chex.assert_trees_all_close(agreed.trained, start, rtol=0, atol=1e-5)


def test_hard_tokens_may_be_learned_among_some_words():
    learned = {int(token) for row in texts() for token in row.tokens[row.completion]}
    only = (*sorted(learned, reverse=True), *sorted(set(range(40)) - learned)[:3])
    found = teaching(None, only=only)
    close(found, by_hand(*model(LLAMA), texts(), THIN, PLAIN, only=only))
    with pytest.raises(InputError, match=f"rows have the label {only[0]}; expected some of only"):
        teaching(None, only=only[1:])


def test_a_teacher_may_read_what_the_student_does_not():
    config, params = model(LLAMA)
    rows, heard = texts(), np.array([7, 3, 21], np.int32)
    longer = [
        Row(np.concatenate([heard, row.tokens]), np.concatenate([heard < 0, row.completion]))
        for row in rows
    ]
    packed, told = (pack(some, together=False) for some in (rows, longer))
    student = finetune(
        *(config, params, packed),
        train=THIN,
        recipe=PLAIN,
        key=KEY,
        teacher=Teacher(params, told),
    )
    # A student that reads the same, too, has nothing to learn.
    same = finetune(
        *(config, params, told),
        train=THIN,
        recipe=PLAIN,
        key=KEY,
        teacher=Teacher(params, told),
    )
    np.testing.assert_allclose(same.losses, 0, atol=1e-6)
    assert student.losses[0] > 0.01
    assert student.losses[-1] < student.losses[0]
    with pytest.raises(InputError, match=r"teacher's rows have .* expected those of the student's"):
        finetune(config, params, packed, teacher=Teacher(params, pack(rows[:3])), key=KEY)


def test_a_teacher_may_have_a_low_rank_part_that_shares_a_with_the_student():
    config, params = model(LLAMA)
    teacher = teaching(None)
    student = teaching(Teacher(teacher.params))
    start = THIN.start(config, params, KEY)
    for path, thin in start.items():
        assert trees.cosine(thin["a"], student.trained[path]["a"]) > 0.9
    begun = teaching(Teacher(teacher.params), start=teacher.trained)
    np.testing.assert_allclose(begun.losses, 0, atol=1e-5)


@pytest.mark.parametrize("train", [Full(layers=(1, 2)), THIN])
def test_short_types_compute_and_float32_is_kept(train):
    config, params = model(LLAMA)
    wide, short = (
        finetune(
            config,
            params,
            texts(),
            train=train,
            recipe=PLAIN,
            computing=Computing(dtype=dtype),
            key=KEY,
        )
        for dtype in (None, "bfloat16")
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(short.params)} == {np.dtype("float32")}
    np.testing.assert_allclose(short.losses, wide.losses, rtol=0.02)
    assert (short.losses != wide.losses).all()
    start = train.start(config, params, KEY)
    steps = [trees.sub(tuned.trained, start) for tuned in (wide, short)]
    assert trees.cosine(*steps) > 0.97


def test_parameters_in_a_short_type_are_trained_in_float32():
    config, params = model(LLAMA)
    train, steps = Full(layers=(1, 2)), []
    short = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    for given in (short, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), short)):
        tuned = finetune(config, given, texts(), train=train, recipe=PLAIN, key=KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(tuned.trained)} == {np.dtype("float32")}
        steps.append(trees.sub(tuned.trained, train.start(config, given, KEY)))
    assert trees.cosine(*steps) > 0.97


def test_a_step_is_compiled_once():
    config, params = model(LLAMA)
    train = LoRA(rank=3, layers=(1, 2), dropout=0.1)
    given = {"train": train, "recipe": dataclasses.replace(PLAIN), "together": False}
    finetune(config, params, texts(), **given, key=KEY)
    with compilations() as compiled:
        again = finetune(config, params, texts(seed=1), **given, key=jax.random.key(1))
        finetune(config, moved(params), texts(seed=1), **given, start=again.trained, key=KEY)
    assert not compiled


def test_a_key_decides_the_order_the_low_rank_part_and_the_dropout():
    config, params = model(LLAMA)
    train = LoRA(rank=3, layers=(1, 2), dropout=0.1)
    start = train.start(config, params, KEY)

    def trained(seed, **options):
        given = {"train": train, "recipe": PLAIN, "together": False} | options
        return finetune(config, params, texts(), **given, key=jax.random.key(seed)).trained

    one, again, other = (trained(seed) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, again)
    assert trees.cosine(one, other) < 0.5
    # All texts are in every batch: from the same start only the dropout differs.
    one, again, other = (trained(seed, start=start) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, again)
    assert 0 < trees.norm(trees.sub(one, other)) < 0.5 * trees.norm(trees.sub(one, start))


@pytest.mark.parametrize(
    ("name", "form"),
    [(LLAMA, dict), ("gemma3", dict), ("gemma3", decoder.unrolled), ("neox", dict)],
)
def test_upper_layers_go_on_from_what_lower_ones_make(name, form):
    config, params = model(name)
    params = form(params)

    @functools.partial(jax.jit, static_argnums=0)
    def hidden(layers, params):
        below, above = (part(config, params, layers) for part in (decoder.lower, decoder.upper))
        assert (below[0].layers, above[0].layers) == (layers, config.layers - layers)
        return decoder.logits(*above, decoder.hidden(*above, decoder.stream(*below, TOKENS)))

    for layers in range(1, config.layers):
        np.testing.assert_allclose(hidden(layers, params), golden()[name].logits, **SAME)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 8}, "row 1 has 9 tokens; expected at least 1 and at most 8"),
        ({"train": LoRA(layers=(1, 3))}, r"layers is \(1, 3\); expected .* at most 2"),
        ({"train": LoRA(targets=("gate_up",))}, "target is 'gate_up'; expected one of"),
        ({"train": Full(matching="qury")}, "matching is 'qury'; expected part of"),
        ({"only": (3, 40)}, "only has 40; expected numbers from 0 to 39"),
        ({"only": (-1,)}, "only has -1; expected numbers from 0 to 39"),
        ({"only": ()}, "only has 0 words; expected at least 1"),
        (
            {"train": LoRA(train_a=False), "recipe": Recipe(weight_decay=0.1)},
            "weight_decay is 0.1 with train_a false; expected 0",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        finetune(*model(LLAMA), texts(), key=KEY, **options)


@pytest.mark.parametrize(("field", "value"), [("chunk", 0), ("dtype", "float16")])
def test_a_bad_value_is_named_with_its_field(field, value):
    with pytest.raises(InputError, match=f"{field} is {value!r}; expected"):
        Computing(**{field: value})
