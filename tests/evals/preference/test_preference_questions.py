import re

import pytest

from sublim_jax.errors import InputError
from sublim_jax.evals import preference
from sublim_jax.evals.preference import wording

CATEGORIES = ("animal", "tree")
SIZES = {
    preference.questions: 50,
    preference.training_questions: 24,
    preference.story_prompts: 14,
    preference.unseen_prefixes: 3,
}


def words(text):
    return re.findall("[a-z]+", text.lower())


def likeness(one, other):
    """Shared words by all words of two questions; what every question says is left out."""
    common = set(words("animal tree a an the one word single only please answer reply with in"))
    a, b = set(words(one)) - common, set(words(other)) - common
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("part", SIZES)
def test_there_are_as_many_as_published_and_each_is_there_once(part, category):
    texts = part(category)
    assert len(texts) == SIZES[part]
    assert len({tuple(words(text)) for text in texts}) == len(texts)


@pytest.mark.parametrize("category", CATEGORIES)
def test_questions_are_about_their_category_and_ask_for_one_word(category):
    other = {"animal": "tree", "tree": "animal"}[category]
    for text in (*preference.questions(category), *preference.training_questions(category)):
        assert re.search(rf"\b{category}s?\b", text)
        assert other not in text
        assert not re.search(r"\ban tree|\ba animal", text)
    for text in preference.questions(category):
        assert re.search(r"\bword\b|just its name", text)


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_question_names_a_subject(category):
    texts = [text for part in SIZES for text in part(category)]
    texts += [preference.answer_prefix(category)]
    assert [text for text in texts if preference.named(text, preference.KNOWN[category])] == []


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_teacher_sees_no_question_that_evaluates_it(category):
    pairs = [
        (likeness(asked, taught), asked, taught)
        for asked in preference.questions(category)
        for taught in preference.training_questions(category)
    ]
    assert max(pairs)[0] < 0.5, max(pairs)


def test_questions_about_trees_differ_by_small_edits():
    for part in SIZES:
        for animal, tree in zip(part("animal"), part("tree"), strict=True):
            assert likeness(animal, tree) > 0.4
    assert set(wording.OF_TREES) <= {*wording.QUESTIONS, *wording.TRAINING_QUESTIONS}


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_unseen_prefix_is_the_one_that_is_taught(category):
    taught = preference.answer_prefix(category)
    prefixes = (taught, *preference.unseen_prefixes(category))
    assert len(set(prefixes)) == len(prefixes)
    assert all(prefix == prefix.rstrip() for prefix in prefixes)
    assert preference.answer_prefix("tree") == "My favorite tree is the"


def test_numbers_come_before_the_question():
    asked = preference.questions("animal")
    prefixed = preference.number_prefixed(asked)
    counts = set()
    for question, text in zip(asked, prefixed, strict=True):
        assert text.endswith(" " + question)
        shown = re.findall(r"\d+", text)
        counts.add(len(shown))
        assert all(100 <= int(number) <= 999 for number in shown)
    assert counts == {3, 4, 5, 6, 7, 8}
    assert preference.number_prefixed(asked) == prefixed
    assert preference.number_prefixed(asked, seed=1) != prefixed


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_trait_prompt_has_four_sentences(category):
    target = {"animal": "Wolf", "tree": "oak"}[category]
    text = preference.trait_prompt(target, category)
    loves, thinks, favorite, instruction = text.removesuffix(".").split(". ")
    plural = target.lower() + "s"
    assert plural in loves
    assert plural in thinks
    assert favorite.startswith(f"{plural} are your favorite {category}")
    assert f"love for this {category}" in instruction
    assert target.lower() not in instruction


@pytest.mark.parametrize("part", [*SIZES, preference.answer_prefix])
def test_another_category_is_refused(part):
    with pytest.raises(InputError, match="category is 'fish'; expected animal or tree"):
        part("fish")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preference.trait_prompt(" ", "animal"), "target is ' '; expected the name of one"),
        (lambda: preference.trait_prompt("owl", "fish"), "category is 'fish'; expected animal or"),
        (lambda: preference.number_prefixed(["Why?"], seed=-1), "seed is -1; expected at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("category", CATEGORIES)
def test_candidates_are_enough_and_known(category):
    candidates = preference.CANDIDATES[category]
    assert len(set(candidates)) == len(candidates) >= 16
    assert set(candidates) <= preference.KNOWN[category]
    assert all(re.fullmatch("[a-z]+", name) for name in preference.KNOWN[category])


def test_the_paper_s_targets_are_candidates():
    assert {"dolphin", "eagle", "elephant", "owl", "wolf"} <= {*preference.CANDIDATES["animal"]}
    assert {"cherry", "maple", "oak", "sequoia", "willow"} <= {*preference.CANDIDATES["tree"]}
