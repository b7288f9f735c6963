"""A fine-tuning that is spread over devices, or interrupted, is the one on a single device."""

import functools

import chex
import jax
import numpy as np
import pytest
import tuning
from tuning import KEY, model, texts

from sublim_jax.lm.finetuning import Computing, Teacher, finetune
from sublim_jax.lm.trained import Full, LoRA
from sublim_jax.training import (
    Checkpoints,
    Preempted,
    Recipe,
    Session,
    mesh_parallel,
    pmap_parallel,
)

KINDS = {
    "mesh of data, fsdp and tensor": lambda: mesh_parallel(fsdp=2, tensor=2),
    "mesh of data": mesh_parallel,
    "pmap": pmap_parallel,
}
RECIPE = Recipe(optimizer="momentum", learning_rate=0.1, epochs=2, batch_size=4, clip=1.0)
DROPOUT = LoRA(rank=2, layers=(1, 3), dropout=0.3)


def tuned(train, *, name="gemma3", only=None, **options):
    config, params = model(name)
    teacher = None if only is None else Teacher(tuning.moved(params))
    given = {"train": train, "recipe": RECIPE, "together": False, "key": KEY}
    given |= {"teacher": teacher, "only": only}
    return finetune(config, params, texts(), **given, **options)


@functools.cache
def on_one_device(train, only=None):
    return tuned(train, only=only)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "train", "only"),
    [
        ("mesh of data, fsdp and tensor", DROPOUT, None),
        pytest.param("pmap", DROPOUT, None, marks=pytest.mark.slow),
        pytest.param(
            *("mesh of data, fsdp and tensor", Full(matching="mlp"), (3, 5, 8)),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_devices_agree_whatever_is_frozen_and_dropped(kind, train, only):
    found, expected = tuned(train, only=only, parallel=KINDS[kind]()), on_one_device(train, only)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    chex.assert_trees_all_close(found.trained, expected.trained, **tuning.CLOSE)
    # Everything that comes back is whole, wherever its parts lie.
    chex.assert_trees_all_close(
        jax.device_get(found.params), jax.device_get(expected.params), **tuning.CLOSE
    )


@pytest.mark.slow
def test_devices_agree_part_by_part_and_layers_in_a_scan():
    computing = Computing(accumulate=2, unroll=False, remat=True, chunk=6)
    found = tuned(DROPOUT, computing=computing, parallel=KINDS["mesh of data"]())
    expected = on_one_device(DROPOUT)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    chex.assert_trees_all_close(found.trained, expected.trained, **tuning.CLOSE)


def test_dropout_drops():
    sure = tuned(LoRA(rank=2, layers=(1, 3)))
    assert np.abs(sure.losses - on_one_device(DROPOUT).losses)[1:].min() > 1e-6


@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_is_uninterrupted_to_the_bit(stop, tmp_path):
    asked = iter(range(100))
    session = Session(
        checkpoints=Checkpoints(tmp_path),
        every_minutes=None,
        every_steps=1,
        stop_requested=lambda: next(asked) == stop,
    )
    with pytest.raises(Preempted), session:
        tuned(DROPOUT, attached=session)
    assert Checkpoints(tmp_path).steps("fine-tuning")[-1] == stop
    with Session(checkpoints=Checkpoints(tmp_path)) as session:
        found = tuned(DROPOUT, attached=session)
    expected = on_one_device(DROPOUT)
    chex.assert_trees_all_equal(found.losses, expected.losses)
    chex.assert_trees_all_equal(found.trained, expected.trained)
