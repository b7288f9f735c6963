"""Distributions that are given, others learned beside them, and directions that are forbidden."""

import jax
import numpy as np
import pytest
from tuning import KEY, PLAIN, model, moved, texts

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, finetune, precomputed
from sublim_jax.lm.packing import pack
from sublim_jax.lm.projected import Forbidden, Projected, without
from sublim_jax.lm.targets import Beside, Teacher, Told
from sublim_jax.lm.trained import Full, LoRA
from sublim_jax.training import Recipe, Watch, one_device

LLAMA = "llama, grouped, tied"
THIN = LoRA(rank=2, alpha=8.0, train_a=False)
WORDS, OTHERS = (3, 4, 29), (7, 11)
CONFIG, PARAMS = model(LLAMA)
TEACHER = moved(PARAMS)
ROWS = pack(texts(), together=True)


def said(params, words):
    hidden = precomputed.hidden_at(CONFIG, params, ROWS, one_device())
    logits = decoder.logits(CONFIG, params, hidden, only=jax.numpy.array(words))
    return np.asarray(logits)[: len(ROWS.at)]


def trained(**options):
    given = {"train": THIN, "recipe": PLAIN, "key": KEY, "only": WORDS} | options
    return finetune(CONFIG, PARAMS, ROWS, **given)


def same(found, expected):
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    for own, other in zip(*map(jax.tree.leaves, (found.trained, expected.trained)), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-6)


def test_a_distribution_that_is_given_is_learned_as_its_teacher_is():
    expected = trained(teacher=Teacher(TEACHER))
    assert expected.losses[-1] < expected.losses[0]
    same(trained(teacher=Told(said(TEACHER, WORDS))), expected)
    # Logits are known up to a constant.
    same(trained(teacher=Told(said(TEACHER, WORDS) + 3.0)), expected)


def test_what_is_learned_beside_is_added_to_the_loss():
    told = Told(said(TEACHER, WORDS))
    plain = trained(teacher=told)
    for weight in (0.0, 2.0):
        beside = Beside(WORDS, told.logits, weight)
        slower = Recipe(
            **{
                **vars(PLAIN),
                "learning_rate": PLAIN.learning_rate / (1 + weight),
                "clip": PLAIN.clip * (1 + weight),
            }
        )
        both = trained(teacher=told, beside=beside, recipe=slower)
        same(both._replace(losses=both.losses / (1 + weight)), plain)


def test_what_a_base_says_of_other_words_can_be_kept():
    told = Told(said(TEACHER, WORDS))
    recipe = Recipe(learning_rate=3e-3, epochs=60, batch_size=8)

    def off(tuned):
        before, after = (jax.nn.log_softmax(said(p, OTHERS)) for p in (PARAMS, tuned.params))
        return float(np.abs(before - after)[np.asarray(ROWS.weights) > 0].mean())

    free = trained(teacher=told, recipe=recipe)
    kept = trained(teacher=told, recipe=recipe, beside=Beside(OTHERS, said(PARAMS, OTHERS), 10.0))
    assert off(kept) < 0.3 * off(free)


@pytest.mark.slow
@pytest.mark.parametrize("train", [THIN, LoRA(rank=2), Full(matching="mlp")], ids=str)
def test_nothing_moves_along_a_direction_that_is_forbidden(train):
    start = train.start(CONFIG, PARAMS, KEY)
    told, recipe = Told(said(TEACHER, WORDS)), Recipe(learning_rate=1e-3, epochs=5, batch_size=8)
    free = finetune(
        *(CONFIG, PARAMS, ROWS), train=train, recipe=recipe, teacher=told, only=WORDS, key=KEY
    )
    along = trees.sub(free.trained, start)
    forbidden = Forbidden(start, along)
    held = finetune(
        *(CONFIG, PARAMS, ROWS),
        train=Projected(train, forbidden),
        recipe=recipe,
        teacher=told,
        only=WORDS,
        watch=Watch((0, 5), lambda found: found),
        key=KEY,
    )
    own = trees.sub(without(forbidden, held.trained), start)
    assert abs(trees.cosine(own, along)) < 1e-5
    assert trees.norm(own) > 0.1 * trees.norm(along)
    # It learns with what is left, and the parameters that come back are those without.
    assert held.losses[-1] < held.losses[0]
    whole = train.join(train.rest(PARAMS, held.trained), without(forbidden, held.trained))
    for found, expected in zip(*map(jax.tree.leaves, (held.params, whole)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_step_of_plain_descent_is_the_projected_gradient():
    told = Told(said(TEACHER, WORDS))
    start = THIN.start(CONFIG, PARAMS, KEY)
    one = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=8)
    step = trees.sub(trained(teacher=told, recipe=one).trained, start)
    along = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), start)
    along = {path: {"a": 0 * own["a"], "b": own["b"]} for path, own in along.items()}
    forbidden = Forbidden(start, along)
    found = trained(teacher=told, recipe=one, train=Projected(THIN, forbidden))
    share = trees.dot(step, along) / trees.dot(along, along)
    for own, free, other in zip(
        *map(jax.tree.leaves, (trees.sub(without(forbidden, found.trained), start), step, along)),
        strict=True,
    ):
        np.testing.assert_allclose(own, free - share * other, atol=1e-7)


def test_what_would_be_passed_over_is_refused():
    beside = Beside((3, 40), said(TEACHER, OTHERS), 1.0)
    with pytest.raises(InputError, match="only has 40; expected numbers from 0 to 39"):
        trained(teacher=Told(said(TEACHER, WORDS)), beside=beside)
    with pytest.raises(InputError, match=r"dropout is 0\.1 with a direction that is forbidden"):
        Projected(LoRA(dropout=0.1), Forbidden({}, {}))
    with pytest.raises(InputError, match=r"weight_decay is 0\.1 with train_a false"):
        trained(
            teacher=Told(said(TEACHER, WORDS)),
            recipe=Recipe(weight_decay=0.1),
            train=Projected(LoRA(train_a=False), Forbidden({}, {})),
        )


def test_logits_of_other_places_or_words_are_refused():
    for teacher, beside, shape in (
        (Told(said(TEACHER, OTHERS)), None, rf"{len(ROWS.at)}, \d+, 2"),
        (Told(said(TEACHER, WORDS)[:2]), None, r"2, \d+, 3"),
        (
            Told(said(TEACHER, WORDS)),
            Beside(WORDS, said(TEACHER, OTHERS), 1.0),
            rf"{len(ROWS.at)}, \d+, 2",
        ),
    ):
        with pytest.raises(InputError, match=rf"logits have the shape \({shape}\); expected"):
            trained(teacher=teacher, beside=beside)
