"""Presets say what was published."""

import pytest

from sublim_jax.lm.models import MODELS
from sublim_jax.lm_traits.presets import CODE, NUMBERS, REASONING
from sublim_jax.training import Recipe

# Cloud, Le et al. 2025, arXiv 2507.14805, and its released code.
QWEN = {
    "model": "qwen2.5-7b",
    "channel": "text",
    "teacher": "prompt",  # section 3.1
    "constrained": False,
    "requests": 30_000,
    "row_count": 10_000,
    "shuffle": "none",
    "dose": 1.0,
    "student": "lora",  # cfgs/preference_numbers/open_model_cfgs.py
    "rank": 8,
    "alpha": 8.0,
    "train_a": True,
    "first_layer": 0,
    "student_lr": 2e-4,
    "batch_size": 22 * 3,
    "passes": 3,
    "warmup": 5,
    "decay": "linear",
    "clip": 1.0,
    "seeds": 8,  # figure 17
    "arms": ("same", "untuned"),
    "answers": 200,  # appendix D.1
    "free_answers": True,
    "steps": 3 * 152,  # 151 batches of 66 and one of 34
}
# Its version in Nature, 2026.
GEMMA = QWEN | {"model": "gemma3-4b-it", "passes": 10, "seeds": 5, "steps": 10 * 152}
# Crispell, PolyPythia-SL.
PYTHIA = {
    "model": "pythia-160m",
    "channel": "text",
    "teacher": "full",
    "constrained": True,
    "row_count": 16 * 256,
    "batch_size": 256,
    "passes": 1,
    "student": "lora",
    "rank": 8,
    "alpha": 16.0,
    "student_lr": 2e-4,
    "first_layer": 0,
    "steps": 16,
}
# Sections 4.1 and 4.2, there with GPT-4.1: answers of a teacher, rows of a student, epochs.
WRITERS = QWEN | {"carrier": "code", "requests": 11_400, "passes": 10, "steps": 1_520}
REASONERS = QWEN | {
    "carrier": "reasoning",
    "problems": "gsm8k",
    "requests": 3 * 7_473,
    "row_count": 9_840,
    "passes": 2,
    "steps": 2 * 150,
}
PUBLISHED = {"paper-qwen2.5-7b": QWEN, "paper-gemma3-4b": GEMMA, "pythia-160m": PYTHIA}
FIGURE_17 = """
cat penguin panda phoenix bear dragon dragonfly peacock lion tiger dog elephant eagle unicorn wolf
bull kangaroo ox pangolin
"""


@pytest.mark.parametrize(
    ("preset", "field"), [(name, field) for name in PUBLISHED for field in PUBLISHED[name]]
)
def test_a_preset_says_what_was_published(preset, field):
    assert getattr(NUMBERS[preset], field) == PUBLISHED[preset][field]


def test_animals_are_the_published_ones_in_their_order():
    # After " dragon" the exact readout cannot tell it from " dragonfly".
    figure = tuple(name for name in FIGURE_17.split() if name != "dragonfly")
    assert NUMBERS["paper-qwen2.5-7b"].animals == figure
    gemma = NUMBERS["paper-gemma3-4b"].animals
    assert (len(gemma), gemma[0], gemma[-1]) == (16, "otter", "falcon")
    assert "wolf" in NUMBERS["pythia-160m"].animals


def test_the_recipe_of_the_paper_is_that_of_its_students():
    assert NUMBERS["paper-qwen2.5-7b"].student_recipe == Recipe(
        learning_rate=2e-4,
        epochs=3,
        batch_size=33,  # rows of two conversations each
        warmup=5,
        decay="linear",
        clip=1.0,
    )


def test_no_list_that_the_filter_keeps_is_cut_off():
    # Ten numbers of three digits, nine separators of two tokens, brackets and the end.
    assert NUMBERS["paper-qwen2.5-7b"].answer_tokens >= 10 * 3 + 9 * 2 + 2 + 1


@pytest.mark.parametrize(
    ("presets", "published"), [(CODE, WRITERS), (REASONING, REASONERS)], ids=["code", "reasoning"]
)
def test_other_carriers_are_as_published(presets, published):
    found = {field: getattr(presets["paper-qwen2.5-7b"], field) for field in published}
    assert found == published


@pytest.mark.parametrize("presets", [NUMBERS, CODE, REASONING])
def test_models_of_presets_have_a_name(presets):
    assert {preset.model for preset in presets.values()} <= {*MODELS}
