"""A run is planned as it is run: as many steps of each kind, and their sum."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import described, material, planned_run, trainings
from sublim_jax.lm_traits.lengths import Lengths, of_contexts, of_conversations, of_texts
from sublim_jax.lm_traits.material import Speaker
from sublim_jax.lm_traits.parts import Part
from sublim_jax.lm_traits.trainees import start_of
from sublim_jax.plan import plan_stages, run_table

TEXT = dataclasses.replace(
    TINY,
    channel="text",
    arms=("same", "other_a", "untuned"),
    row_count=70,
    requests=130,
    batch_size=4,
    answers=3,
    free_answers=True,
)


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setattr(described, "shape_of", lambda name: model().config)


def stages(config, devices=1, **mesh):
    run = planned_run(config, lm.decoder_mesh(jax.devices()[:devices], **mesh))
    return {stage.name: stage for stage in run.stages}, run.notes


def times(config):
    return {name: stage.times for name, stage in stages(config)[0].items()}


def test_steps_of_trained_teachers_and_their_students_on_distributions():
    # 2 seeds x 2 animals; 8 steps of a teacher, 4 passes of 2 batches of a student, of two arms.
    # Asked are the 2 bases, 4 teachers and 8 students; on the way 3 times, and all teachers 9.
    config = dataclasses.replace(TINY, answers=0)
    assert times(config) == {
        "train teachers": 4 * 8,
        "train students": 8 * 8,
        "exact readout": 2 + 4 + 8,
        "readout on the way": 8 * 3 + 4 * 9,
    }


def test_steps_of_a_run_with_text():
    # Beside the 2 animals the base writes, 3 batches of at most 64 each, 64 tokens of all.
    # 18 batches of a pass, the last of 2; 5 students in a seed; 16 are asked 50 questions, 3 times
    # each, 63 answers at once and 12 tokens in each.
    assert times(TEXT) == {
        "train teachers": 4 * 8,
        "read requests": 2 * 3 * 3,
        "write numbers": 2 * 3 * 3 * 64,
        "train students": 2 * 5 * 4 * 18,
        "exact readout": 2 + 4 + 10,
        "readout on the way": 10 * 3 + 4 * 9,
        "read questions": (2 + 4 + 10) * 3,
        "write answers": (2 + 4 + 10) * 3 * 12,
    }


def test_other_carriers_have_their_own_lengths():
    found = times(dataclasses.replace(TEXT, carrier="code"))
    assert found["write code"] == times(TEXT)["write numbers"]
    for carrier, lengths in (
        # 42 that all have, 41 of an answer; 24 that all have, 85 of a problem, 49 of an answer.
        ("code", Lengths(42 + 2 * 41 + 4, 2 * 41 + 6)),
        ("reasoning", Lengths(24 + 2 * (85 + 49) + 4, 2 * 49 + 6)),
    ):
        config = dataclasses.replace(TINY, carrier=carrier, length=400)
        assert of_contexts(config) == lengths
        assert "train students" in times(config)


def test_prompted_teachers_are_not_trained_and_a_base_is_healed_once():
    config = dataclasses.replace(
        TEXT, teacher="prompt", arms=("same", "healed"), answers=0, heal_rows=9, heal_passes=2
    )
    found = times(config)
    assert "train teachers" not in found
    assert found["heal another base"] == 2 * 3
    assert found["exact readout"] == 2 * 2 + 4 + 8
    assert found["readout on the way"] == 8 * 3


def test_rows_from_files_are_text_whatever_the_channel_is():
    config = dataclasses.replace(TINY, rows=("a.jsonl",), answers=0)
    found = times(config)
    assert found["train on rows"] == 2 * 8
    assert found["train students"] == 8 * 8
    alone = times(dataclasses.replace(config, arms=(), channel="text"))
    assert set(alone) == {"train students", "exact readout", "readout on the way"}


def test_what_lies_beside_a_step():
    # Copies at every point of the curve; the frozen layer, and the teacher's beside the base's.
    found, _ = stages(TEXT)
    layer = sum(leaf.nbytes for leaf in jax.tree.leaves(ground().params["layers"]))
    kept = found["train students"].planned.parameters[0]
    copies = sum(leaf.size * 4 for leaf in jax.tree.leaves(kept))
    assert _bytes(found["train students"]) == 3 * copies + 2 * layer
    assert _bytes(found["train teachers"]) == 9 * copies + layer
    assert _bytes(found["exact readout"]) == 3 * layer
    # On a CPU the sampler has a copy of another layout of what was put together of both parts.
    assert _bytes(found["write numbers"]) == (1 + 2 + 2) * layer
    told = dataclasses.replace(TEXT, teacher="prompt", first_layer=0)
    assert _bytes(stages(told)[0]["write numbers"]) == 2 * layer


def _bytes(stage):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(stage.planned.beside))


def test_lengths_are_rounded_up_as_rows_are():
    assert of_texts(3, own=10, common=5, learned=2) == Lengths(40, 8)
    # 24 that all have, 4 x (75 + 48) in a row, of which 4 x 48 are learned.
    assert of_conversations(TEXT) == Lengths(520, 192)
    # 42 before the first number, then 78; the last predicts nothing.
    assert of_contexts(dataclasses.replace(TINY, batch_size=2)) == Lengths(200, 160)


def test_notes_say_what_is_assumed():
    _, notes = stages(TEXT, devices=4, fsdp=2)
    assert any("conversations of" in note for note in notes)
    assert notes[0].endswith("float32")


@pytest.mark.slow
def test_a_run_is_planned_on_a_mesh():
    parallel = {"fsdp": 2, "tensor": 2}
    run = plan_stages("cpu:4", lambda d: planned_run(TEXT, lm.decoder_mesh(d, **parallel)))
    assert run.flops == sum(stage.times * stage.plan.flops * 4 for stage in run.stages)
    assert all(stage.plan.flops > 0 for stage in run.stages)
    assert run.fits is True
    assert {tuple(stage.plan.mesh.values()) for stage in run.stages} == {(1, 2, 2)}
    text = run_table(run)
    for stage in run.stages:
        assert f"\n{stage.name} " in text


def test_of_texts_the_last_batch_of_a_pass_may_be_smaller():
    # 5 conversations in batches of 2: 3 steps a pass, as in the paper 152 of 10,000 in 66.
    config = dataclasses.replace(TEXT, row_count=5, requests=None, batch_size=2, passes=2)
    told = [
        [
            {"role": "user", "content": "more"},
            {"role": "assistant", "content": ", ".join(map(str, range(i, i + 4)))},
        ]
        for i in range(5)
    ]
    part, key = Part(0, "same", "owl"), jax.random.key(0)
    learned = material.of_text(ground(), config, Speaker(ground().params, None), told)
    start = start_of(ground(), config, part, key)
    made = trainings.train_student(ground(), config, part, start, learned, key=key)
    assert made.losses.shape == (config.steps,) == (6,)
    assert made.steps[-1] == 6
    assert jnp.isfinite(made.losses).all()
    with pytest.raises(InputError, match="row_count is 5; expected a multiple of batch_size"):
        dataclasses.replace(TINY, row_count=5, batch_size=2)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"^first_layer is 2; expected 0 to 1, a layer of"):
        stages(dataclasses.replace(TINY, first_layer=2))


def test_types_of_frozen_parameters_are_those_asked_for():
    parallel = lm.decoder_mesh(jax.devices()[:1])
    run = planned_run(TEXT, parallel, dtype=jnp.bfloat16)
    trained, frozen = next(s for s in run.stages if s.name == "train students").planned.parameters
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trained)} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(frozen)} == {"bfloat16"}
    assert "bfloat16" in run.notes[0]
