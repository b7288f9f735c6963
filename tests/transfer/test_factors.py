import dataclasses

import pytest

from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.errors import InputError
from sublim_jax.training import steps_per_epoch
from sublim_jax.transfer import settings
from sublim_jax.transfer.points import QUESTIONS

BASE = AuxLogitsConfig(members=5)
IMAGES = 4_000
DEFAULT = settings(BASE, "default", images=IMAGES)
MAY_CHANGE = {
    "auxiliary logits": {"aux", "loss"},  # a single logit needs MSE
    "imitation loss": {"loss", "aux"},
    "noise on the start": {"start", "start_scale"},
    "way to another start": {"start", "start_scale"},
    "hidden units permuted": {"start", "align"},
    "heads": {"start", "freeze_heads", "aux"},
    "inputs": {"inputs", "noise_images", "image_noise", "student_epochs", "aux"},
    "optimizer": {"optimizer", "student_lr", "student_epochs"},
    "width": {"widths"},
    "hidden layers": {"widths"},
    "teacher epochs": {"teacher_epochs"},
    "student epochs": {"student_epochs"},
}


def changed(config):
    names = [field.name for field in dataclasses.fields(config)]
    return {name for name in names if getattr(config, name) != getattr(BASE, name)}


def test_the_base_comes_first_and_as_it_is():
    assert DEFAULT[0] == ("base", "base", BASE)


def test_a_setting_differs_from_the_base_in_its_factor_alone():
    assert {setting.factor for setting in DEFAULT} == {"base", *MAY_CHANGE}
    for setting in DEFAULT[1:]:
        changes = changed(setting.config) - {"arms"}
        assert changes, setting
        assert changes <= MAY_CHANGE[setting.factor], setting


def test_no_setting_is_there_twice_or_equals_the_base():
    configs = [dataclasses.replace(setting.config, arms=BASE.arms) for setting in DEFAULT]
    assert len(set(configs)) == len(configs)
    names = [setting[:2] for setting in DEFAULT]
    assert len(set(names)) == len(names)


def test_larger_grids_hold_the_smaller_ones():
    quick, full = (settings(BASE, size, images=IMAGES) for size in ("quick", "full"))
    assert len(quick) < len(DEFAULT) < len(full)
    assert [s for s in DEFAULT if s in quick] == quick
    assert [s for s in full if s in DEFAULT] == DEFAULT


@pytest.mark.parametrize("images", [80, 4_000, 60_000])
def test_every_kind_of_input_is_seen_for_as_many_steps(images):
    # Of an epoch more or less: of few rows epochs are short, so the number is near.
    for setting in settings(BASE, "default", images=images):
        if setting.factor == "inputs":
            rows = setting.config.carrier_rows(images)
            recipe = setting.config.student_recipe
            steps = recipe.epochs * steps_per_epoch(rows, recipe.batch_size)
            assert steps == pytest.approx(295, abs=steps_per_epoch(rows, recipe.batch_size) / 2 + 2)


@pytest.mark.parametrize("images", [4_000, 60_000])
def test_epochs_of_teachers_are_those_of_a_full_data_set(images):
    for setting in settings(BASE, "default", images=images, factors=["teacher epochs"])[1:]:
        recipe = setting.config.teacher_recipe(images)
        steps = recipe.epochs * steps_per_epoch(images, recipe.batch_size)
        assert steps == pytest.approx(int(setting.level) * 59, abs=2)


def test_factors_are_chosen_by_name():
    chosen = settings(BASE, "default", images=IMAGES, factors=["width", "optimizer"])
    assert [setting.factor for setting in chosen] == ["base"] + 3 * ["width"] + 3 * ["optimizer"]
    with pytest.raises(InputError, match="factors has 'depth'; expected some of auxiliary logits"):
        settings(BASE, "default", images=IMAGES, factors=["depth"])


def test_every_question_is_about_points_of_the_grid():
    there = {(s.factor, s.level, arm) for s in DEFAULT for arm in s.config.arms}
    for question, first, second in QUESTIONS:
        assert {first, second} <= there, question
