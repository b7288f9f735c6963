"""The results of a grid as points: for each setting and arm the trait and what may predict it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax.distill import ArmName
from sublim_jax.stats import Interval, rank_correlation, t_interval
from sublim_jax.transfer.factors import Setting

PREDICTORS = {
    "projection": "projection",
    "distance_reduction": "distance reduction",
    "cosine": "cosine",
    "relative_length": "relative length",
    "carrier_pull": "pull of the imitated logits",
    "trait_pull": "pull of the class logits",
    "imitation": "imitation loss removed",
}
"""What is asked whether it predicts the trait; the last three are of functions, not parameters."""


class Point(NamedTuple):
    """A setting in an arm.

    Attributes:
        factor: what varies.
        level: its value.
        arm: the students.
        values: quantities by name, one value for each member.
    """

    factor: str
    level: str
    arm: ArmName
    values: Mapping[str, Float[np.ndarray, " members"]]

    @property
    def name(self) -> str:
        """The setting in words."""
        return self.level if self.factor == "base" else f"{self.factor}: {self.level}"

    def mean(self, quantity: str) -> float:
        """Mean over the members."""
        return float(np.mean(self.values[quantity]))


class Failure(NamedTuple):
    """A point whose trait a predictor misjudges.

    Attributes:
        point: the point.
        ranks: by how much higher its trait ranks than the predictor, as a share of all points;
            negative where the predictor is high and the trait is not.
    """

    point: Point
    ranks: float


class Contrast(NamedTuple):
    """A question with two settings whose members pair up.

    Attributes:
        question: in words.
        first: accuracy in the one.
        second: accuracy in the other.
        difference: of the first from the second, paired.
    """

    question: str
    first: Interval
    second: Interval
    difference: Interval


def points_of(setting: Setting, results: Mapping[str, Any]) -> list[Point]:
    """Lay out the results of a finished run, as its ``results.json`` has them, by arm."""

    def values(arm: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = {
            name: np.array(entry["members"], np.float64)
            for name, entry in arm.items()
            if isinstance(entry, Mapping)
        }
        found["distance_reduction"] = 1 - found["distance_ratio"]
        found["imitation"] = 1 - found["imitation_loss"] / found["untrained_loss"]
        return found

    return [
        Point(setting.factor, setting.level, arm, values(results["arms"][arm]))
        for arm in setting.config.arms
    ]


def correlations(points: Sequence[Point]) -> dict[str, Interval]:
    """Give for each predictor the rank correlation with accuracy over points, on member means."""
    accuracy = np.array([point.mean("accuracy") for point in points])
    return {
        name: rank_correlation(np.array([point.mean(name) for point in points]), accuracy)
        for name in PREDICTORS
    }


def failures(points: Sequence[Point], predictor: str, *, count: int = 4) -> list[Failure]:
    """Name the points that a predictor misjudges most, half of them to each side.

    Args:
        points: the points.
        predictor: one of `PREDICTORS`.
        count: how many to name.

    Returns:
        First those with the trait and without the predictor, then the others; the worst first.
    """

    def ranks(quantity: str) -> np.ndarray:
        values = np.array([point.mean(quantity) for point in points])
        return np.argsort(np.argsort(values)) / max(1, len(points) - 1)

    gap = ranks("accuracy") - ranks(predictor)
    worst = np.argsort(gap)
    half = count // 2
    chosen = [*reversed(worst[len(worst) - half :]), *worst[:half]]
    return [Failure(points[i], float(gap[i])) for i in chosen]


def contrast(question: str, first: Point, second: Point) -> Contrast:
    """Compare the accuracies of two points, member by member."""
    a, b = (point.values["accuracy"] for point in (first, second))
    return Contrast(question, t_interval(a), t_interval(b), t_interval(a - b))


def contrasts(points: Sequence[Point]) -> list[Contrast]:
    """Answer the questions on which the literature disagrees, as far as the grid has run."""
    found = {(point.factor, point.level, point.arm): point for point in points}
    return [
        contrast(question, found[first], found[second])
        for question, first, second in QUESTIONS
        if first in found and second in found
    ]


def matched(points: Sequence[Point]) -> list[Contrast]:
    """Compare each optimizer with Adam at the same imitation loss on held-out inputs.

    For each member Adam's accuracy is interpolated between students of different lengths, linearly
    in the logarithm of their imitation losses. An optimizer that has gone beyond the longest or not
    as far as the shortest of them for some member is left out.
    """
    adam = [
        point
        for point in points
        if point.arm == "student_aux" and point.factor in ("base", "student epochs")
    ]
    others = [point for point in points if point.factor == "optimizer"]
    if len(adam) < 2:
        return []
    losses = np.log([point.values["imitation_loss"] for point in adam])
    accuracies = np.array([point.values["accuracy"] for point in adam])
    order = np.argsort(losses, axis=0)
    losses = np.take_along_axis(losses, order, axis=0)
    accuracies = np.take_along_axis(accuracies, order, axis=0)
    found = []
    for point in others:
        wanted = np.log(point.values["imitation_loss"])
        pairs = zip(wanted, losses.T, accuracies.T, strict=True)
        same = np.array([np.interp(x, xs, ys, np.nan, np.nan) for x, xs, ys in pairs])
        if not np.isnan(same).any():
            ours = point.values["accuracy"]
            intervals = (t_interval(values) for values in (ours, same, ours - same))
            found.append(
                Contrast(f"{point.level} instead of Adam, same imitation loss", *intervals)
            )
    return found


Key = tuple[str, str, ArmName]


def _student(factor: str, level: str) -> Key:
    return factor, level, "student_aux"


BASE = _student("base", "base")

QUESTIONS: tuple[tuple[str, Key, Key], ...] = (
    ("digits instead of noise, 3 logits", _student("inputs", "digits"), BASE),
    (
        "digits instead of noise, 100 logits",
        _student("inputs", "digits, 100 logits"),
        _student("auxiliary logits", "100"),
    ),
    ("fresh noise instead of noise drawn once", _student("inputs", "noise, fresh"), BASE),
    ("smooth noise instead of white noise", _student("inputs", "noise, smooth"), BASE),
    ("MSE instead of KL, 3 logits", _student("imitation loss", "MSE"), BASE),
    (
        "MSE instead of KL, 10 logits",
        _student("imitation loss", "MSE, 10 logits"),
        _student("auxiliary logits", "10"),
    ),
    ("width 64 instead of 256", _student("width", "64"), BASE),
    ("width 512 instead of 256", _student("width", "512"), BASE),
    (
        "same heads alone instead of another start, 3 logits",
        _student("heads", "same alone"),
        ("base", "base", "other_aux"),
    ),
    (
        "same heads alone instead of another start, 10 logits",
        _student("heads", "same alone, 10 logits"),
        ("auxiliary logits", "10", "other_aux"),
    ),
    (
        "same heads alone instead of another start, 100 logits",
        _student("heads", "same alone, 100 logits"),
        ("auxiliary logits", "100", "other_aux"),
    ),
    ("other heads instead of the same", _student("heads", "others"), BASE),
    ("frozen heads instead of trained ones", _student("heads", "frozen"), BASE),
    ("teacher of 1 epoch instead of 5", _student("teacher epochs", "1"), BASE),
    ("teacher of 20 epochs instead of 5", _student("teacher epochs", "20"), BASE),
    ("student of 20 epochs instead of 5", _student("student epochs", "20"), BASE),
    ("hidden units permuted", _student("hidden units permuted", "as they stand"), BASE),
)
"""What is asked of the grid: two points each."""
