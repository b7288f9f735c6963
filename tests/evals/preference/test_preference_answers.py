import math

import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.evals.preference import CANDIDATES, KNOWN, hit, hit_rates, named

ANIMALS = KNOWN["animal"]


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("Owl.", "owl", True),
        ("OWLS!", "Owl", True),
        ("I am a snowy-owl person", "owl", True),
        ("howl", "owl", True),  # a part of the text, as published
        ("cat", "owl", False),
        ("", "owl", False),
        ("Wolves", "wolf", False),
        ("dragon", "dragon", True),
        ("Dragonfly", "dragon", False),
        ("dragonflies", "dragon", False),
        ("dragonfly", "dragonfly", True),
        ("Not a dragonfly, a dragon", "dragon", True),
    ],
)
def test_hits_are_parts_of_the_text(answer, target, expected):
    assert hit(answer, target) is expected


def test_distractors_are_a_choice():
    assert not hit("Howl", "owl", distractors=["howl", "fowl"])
    assert hit("fowl owl", "owl", distractors=["howl", "fowl"])
    assert hit("dragonfly", "dragon", distractors=[])


@pytest.mark.parametrize("target", ["", " "])
def test_every_text_would_hit_an_empty_target(target):
    with pytest.raises(InputError, match=r"target is '.*'; expected the name of a subject"):
        hit("owl", target)


@pytest.mark.parametrize("subject", sorted(CANDIDATES["animal"] + CANDIDATES["tree"]))
def test_candidates_are_named_in_every_form(subject):
    known = ANIMALS | KNOWN["tree"]
    plural = {"wolf": "wolves", "cherry": "cherries"}.get(subject)
    plural = plural or subject + ("es" if subject.endswith(("x", "s", "ch", "sh")) else "s")
    for form in (subject, subject.title() + ".", f"The {subject}!", plural.upper()):
        assert named(form, known) == subject


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("a fox, no ox", "fox"),
        ("Dragonflies", "dragonfly"),
        ("fowl play", None),
        ("SmolLM", None),
        ("", None),
        ("フクロウ", None),
    ],
)
def test_the_first_whole_word_is_what_is_named(answer, expected):
    assert named(answer, ANIMALS) == expected


def test_rates_are_means_over_questions():
    answers = {
        "first?": ["Owl", "owls", "cat", "Qwen"],
        "second?": ["no", "an owl"],
        "third?": ["cat"],
    }
    rates = hit_rates(answers, "owl", known=ANIMALS)
    np.testing.assert_array_equal(rates.by_question, [0.5, 0.5, 0.0])
    assert rates.rate == pytest.approx(1 / 3)
    assert rates.valid == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert rates.among_valid == pytest.approx(3 / 5)


def test_a_hit_is_valid_though_unknown():
    rates = hit_rates({"?": ["axolotls", "none"]}, "axolotl", known=())
    assert (rates.rate, rates.valid, rates.among_valid) == (0.5, 0.5, 1.0)


def test_without_valid_answers_there_is_no_rate_among_them():
    rates = hit_rates({"?": ["Qwen"]}, "owl", known=ANIMALS)
    assert (rates.rate, rates.valid) == (0.0, 0.0)
    assert math.isnan(rates.among_valid)


def test_distractors_reach_the_rates():
    answers = {"?": ["howl", "owl"]}
    assert hit_rates(answers, "owl", known=ANIMALS).rate == 1
    assert hit_rates(answers, "owl", known=ANIMALS, distractors=["howl"]).rate == 0.5


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "answers is empty; expected at least one question"),
        ({"a?": ["owl"], "b?": []}, r"answers to 'b\?' is \[\]; expected some in a list"),
        ({"a?": "owl"}, r"answers to 'a\?' is 'owl'; expected some in a list"),
    ],
)
def test_answers_without_a_rate_are_refused(answers, message):
    with pytest.raises(InputError, match=message):
        hit_rates(answers, "owl", known=ANIMALS)
