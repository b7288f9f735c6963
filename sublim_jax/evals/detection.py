"""Can texts of two writers be told apart? How well scores separate them, and classifiers by words.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1 and table 5: models as judges cannot tell
    a teacher's numbers from others; tables 1 and 2: frequencies of single numbers.
"""

import math
from collections.abc import Sequence, Sized
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from sublim_jax.errors import InputError

Classifier = Literal["frequencies", "bag"]
Values = Sequence[float] | Float[np.ndarray, " rows"]
WORDS = r"\d+|[^\W\d]+|[^\w\s]"


def auroc(positive: Values, negative: Values) -> float:
    """Give the probability that a score of one kind is above one of the other; ties count half.

    Args:
        positive: scores of the kind that should have the higher ones.
        negative: scores of the other.

    Raises:
        InputError: one of them is empty, or a score is no number.

    >>> auroc([3, 2], [1, 2])
    0.875
    """
    from scipy import stats

    for name, values in (("positive", positive), ("negative", negative)):
        if not len(values) or not np.isfinite(values).all():
            raise InputError(f"{name} has {len(values)} scores; expected some, all finite")
    found = stats.mannwhitneyu(positive, negative)
    return float(found.statistic / (len(positive) * len(negative)))


def rows_needed(positive: Values, negative: Values, *, wanted: float) -> float:
    """Give how many rows of a writer tell it at an AUROC, if scores of rows add up.

    The sum of n independent scores has a normal distribution in the limit, so that n rows separate
    by ``sqrt(n)`` times as many standard deviations as one does.

    Args:
        positive: scores of single rows of one writer.
        negative: of another.
        wanted: AUROC, above .5 and below 1.

    Returns:
        The number, at least 1; infinite where single rows do not separate, or the wrong way.

    Raises:
        InputError: there are fewer than two scores of a kind, or the AUROC is out of range.
    """
    from scipy import stats

    if not 0.5 < wanted < 1:
        raise InputError(f"wanted is {wanted}; expected a number above .5 and below 1")
    if min(len(positive), len(negative)) < 2:
        raise InputError(
            f"positive has {len(positive)} scores and negative {len(negative)}; expected two each"
        )
    apart = float(np.mean(positive) - np.mean(negative))
    spread = math.sqrt(float(np.var(positive, ddof=1) + np.var(negative, ddof=1)))
    if apart <= 0:
        return math.inf
    if spread == 0:
        return 1.0
    return max(1.0, float(stats.norm.ppf(wanted) * spread / apart) ** 2)


def by_words(
    kind: Classifier,
    positive: Sequence[str],
    negative: Sequence[str],
    texts: Sequence[str],
) -> Float[np.ndarray, " texts"]:
    """Score texts by a classifier that has learnt from others which words each writer uses.

    Args:
        kind: naive Bayes on the frequencies of words and numbers, or logistic regression on a bag
            of words and pairs of words.
        positive: texts of one writer to learn from.
        negative: texts of the other.
        texts: to be scored.

    Returns:
        For each text the logarithm of the odds that it is of the first writer.

    Raises:
        InputError: the kind is unknown, there is nothing to learn from, or scikit-learn is missing.
    """
    if kind not in get_args(Classifier):
        raise InputError(f"kind is {kind!r}; expected {' or '.join(get_args(Classifier))}")
    _check(positive, negative)
    text = _imported("feature_extraction.text")
    pairs = (1, 2) if kind == "bag" else (1, 1)
    counts = text.CountVectorizer(token_pattern=WORDS, ngram_range=pairs)
    learned = counts.fit_transform([*positive, *negative])
    if kind == "bag":
        model = _imported("linear_model").LogisticRegression(max_iter=2_000)
    else:
        model = _imported("naive_bayes").MultinomialNB()
    model.fit(learned, _labels(positive, negative))
    odds = model.predict_log_proba(counts.transform(texts))
    return np.asarray(odds[:, 1] - odds[:, 0])


def by_features(
    positive: Float[np.ndarray, "rows width"],
    negative: Float[np.ndarray, "others width"],
    features: Float[np.ndarray, "texts width"],
) -> Float[np.ndarray, " texts"]:
    """Score texts by logistic regression on features of them.

    Args:
        positive: features of texts of one writer.
        negative: of the other.
        features: of the texts to be scored.

    Returns:
        For each text the logarithm of the odds that it is of the first writer.

    Raises:
        InputError: there is nothing to learn from, or scikit-learn is missing.
    """
    _check(positive, negative)
    scaler = _imported("preprocessing").StandardScaler()
    learned = scaler.fit_transform(np.concatenate([positive, negative]))
    model = _imported("linear_model").LogisticRegression(max_iter=2_000, C=0.01)
    model.fit(learned, _labels(positive, negative))
    return np.asarray(model.decision_function(scaler.transform(features)))


def _labels(positive: Sized, negative: Sized) -> np.ndarray:
    return np.repeat([1, 0], [len(positive), len(negative)])


def _check(positive: Sized, negative: Sized) -> None:
    if not len(positive) or not len(negative):
        raise InputError(
            f"positive has {len(positive)} texts and negative {len(negative)}; expected some of "
            "both"
        )


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as fault:
        raise InputError(
            "classifiers need scikit-learn, which is not installed; expected the extra [demo]"
        ) from fault
