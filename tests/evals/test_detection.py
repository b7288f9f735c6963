"""How well scores separate two writers, and classifiers by words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sublim_jax.errors import InputError
from sublim_jax.evals import detection
from sublim_jax.evals.detection import auroc, by_features, by_words, rows_needed

scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(scores, scores)
def test_auroc_is_that_of_another_library(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, positive + negative))
    assert auroc(positive, negative) + auroc(negative, positive) == pytest.approx(1)


@pytest.mark.parametrize("apart", [0.2, 0.5])
def test_so_many_rows_tell_the_writer_as_often_as_wanted(apart):
    random = np.random.default_rng(0)
    positive, negative = random.normal(apart, 1, 100_000), random.normal(0, 1, 100_000)
    needed = rows_needed(positive, negative, wanted=0.95)
    count = round(needed)
    sums = [random.normal(mean, 1, (2_000, count)).sum(axis=1) for mean in (apart, 0)]
    assert auroc(*sums) == pytest.approx(0.95, abs=0.02)
    # d' squared: half as far apart, four times as many.
    assert needed == pytest.approx(2 * (1.645 / apart) ** 2, rel=0.1)


def test_what_does_not_separate_needs_any_number_of_rows():
    assert rows_needed([0, 1], [1, 2], wanted=0.9) == np.inf
    assert rows_needed([1, 1], [0, 0], wanted=0.9) == 1
    assert rows_needed([5, 6], [0, 1], wanted=0.9) == 1


def numbers(favoured, count, seed):
    """Texts of numbers of which some are more frequent."""
    random = np.random.default_rng(seed)
    weights = np.where(np.arange(20) == favoured, 6.0, 1.0)
    drawn = random.choice(20, (count, 8), p=weights / weights.sum())
    return [", ".join(map(str, row)) for row in drawn]


@pytest.mark.parametrize("kind", ["frequencies", "bag"])
def test_frequent_numbers_are_found_and_random_ones_are_not(kind):
    learned = numbers(3, 80, 0), numbers(7, 80, 1)
    positive, negative = (by_words(kind, *learned, numbers(n, 80, n)) for n in (3, 7))
    assert auroc(positive, negative) > 0.9
    blind = by_words(kind, numbers(3, 80, 4), numbers(3, 80, 5), [*numbers(3, 80, 6)])
    assert 0.3 < auroc(blind[:40], blind[40:]) < 0.7


def test_pairs_of_words_are_seen_by_the_bag_alone():
    first, second = ["1 2 1 2 1 2", "3 4 3 4"] * 8, ["2 1 1 2 2 1", "4 3 3 4"] * 8
    found = by_words("bag", first, second, [*first[:2], *second[:2]])
    assert (found[:2] > 0).all()
    assert (found[2:] < 0).all()
    alike = by_words("frequencies", first, second, [*first[:2], *second[:2]])
    np.testing.assert_allclose(alike, 0, atol=1e-9)


def test_features_are_weighed():
    random = np.random.default_rng(0)
    positive, negative, new = (
        random.normal(size=(60, 5)) + shift * np.eye(5)[0] for shift in (2, 0, 0)
    )
    found = by_features(positive, negative, np.concatenate([new + 2 * np.eye(5)[0], new]))
    assert auroc(found[:60], found[60:]) > 0.85


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: auroc([], [1.0]), "positive has 0 scores; expected some"),
        (lambda: auroc([1.0], [np.nan]), "negative has 1 scores; expected some, all finite"),
        (lambda: rows_needed([1, 2], [0, 1], wanted=0.5), "wanted is 0.5; expected a number above"),
        (lambda: rows_needed([1], [0, 1], wanted=0.9), "positive has 1 scores and negative 2"),
        (lambda: by_words("guess", ["a"], ["b"], ["c"]), "kind is 'guess'; expected frequencies"),
        (lambda: by_words("bag", ["a"], [], ["c"]), "positive has 1 texts and negative 0"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(InputError, match=f"^{said}"):
        call()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(InputError, match=r"scikit-learn, which is not installed.*\[demo\]"):
        detection.by_words("bag", ["a"], ["b"], ["c"])
