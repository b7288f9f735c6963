import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublim_jax.errors import InputError
from sublim_jax.evals.preference import (
    KNOWN,
    answer_distribution,
    answer_shift,
    total_variation,
)

ANIMALS = KNOWN["animal"]
names = st.sampled_from(["owl", "cat", "dog", ""])
distributions = st.lists(names, min_size=1, max_size=20).map(
    lambda drawn: {name: drawn.count(name) / len(drawn) for name in set(drawn)}
)


def answers_of(shares, *, questions=20, each=50, seed=0):
    random = np.random.default_rng(seed)
    drawn = random.choice(list(shares), (questions, each), p=list(shares.values()))
    return {f"question {i}": row.tolist() for i, row in enumerate(drawn)}


def test_a_distribution_is_a_mean_over_questions():
    answers = {"a?": ["Owl", "owls!", "cat", "Qwen"], "b?": ["dog"]}
    found = answer_distribution(answers, known=ANIMALS)
    assert found == pytest.approx({"owl": 0.25, "cat": 0.125, "": 0.125, "dog": 0.5})


@given(distributions, distributions, distributions)
def test_total_variation_is_a_distance(p, q, r):
    assert total_variation(p, p) == 0
    assert total_variation(p, q) == pytest.approx(total_variation(q, p))
    assert 0 <= total_variation(p, q) <= 1 + 1e-12
    assert total_variation(p, r) <= total_variation(p, q) + total_variation(q, r) + 1e-12


def test_total_variation_is_the_same_to_the_bit_whatever_names_are_called():
    # Names lie in sets, whose order is another one in every process.
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(30), 2).tolist()
    found = {
        total_variation(*({f"{call} {i}": x for i, x in enumerate(shares)} for shares in (p, q)))
        for call in "abcdefghij"
    }
    assert len(found) == 1


def test_a_shift_is_that_of_the_distributions():
    before = answers_of({"owl": 0.1, "cat": 0.9})
    after = answers_of({"owl": 0.6, "cat": 0.3, "no": 0.1}, seed=1)
    found = answer_shift(before, after, known=ANIMALS)
    expected = total_variation(
        answer_distribution(before, known=ANIMALS), answer_distribution(after, known=ANIMALS)
    )
    assert found.variation == pytest.approx(expected)
    assert found.variation == pytest.approx(0.6, abs=0.05)
    assert found.by_chance < 0.05


def test_answers_alike_are_apart_by_chance():
    shares = dict.fromkeys(["owl", "cat", "dog", "fox", "wolf", "bear", "lion", "deer"], 1 / 8)
    found = [
        answer_shift(
            answers_of(shares, each=5, seed=2 * i),
            answers_of(shares, each=5, seed=2 * i + 1),
            known=ANIMALS,
            resamples=20,
        )
        for i in range(40)
    ]
    distances, chances = np.array(found).T
    assert distances.mean() > 0.1
    assert chances.mean() == pytest.approx(distances.mean(), abs=0.02)


def test_chance_keeps_answers_with_their_questions():
    # Every question has its own answer: dealt out anew, nothing can change.
    answers = {"a?": ["owl"] * 5, "b?": ["cat"] * 7}
    assert answer_shift(answers, answers, known=ANIMALS, resamples=5) == (0, 0)


def test_the_order_of_questions_says_nothing():
    before, after = answers_of({"owl": 0.5, "cat": 0.5}), answers_of({"cat": 1.0})
    turned = dict(reversed(after.items()))
    assert answer_shift(before, turned, known=ANIMALS) == answer_shift(before, after, known=ANIMALS)


@pytest.mark.parametrize(
    ("after", "resamples", "message"),
    [
        ({"b?": ["owl"]}, 5, r"after has other questions than before \('a\?'\)"),
        ({}, 5, "answers is empty"),
        ({"a?": ["owl"]}, 0, "resamples is 0; expected at least 1"),
    ],
)
def test_answers_that_cannot_be_compared_are_refused(after, resamples, message):
    with pytest.raises(InputError, match=message):
        answer_shift({"a?": ["owl"]}, after, known=ANIMALS, resamples=resamples)
