"""A forecast of the trait from a pilot: a student of a few steps on a few inputs.

The pilot takes the same way as the student with fewer and longer steps of fewer rows each. What it
has learnt by then is calibrated on some settings and judged on others.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.errors import InputError
from sublim_jax.stats import Interval, rank_correlation, t_interval
from sublim_jax.training import OptimizerName, steps_per_epoch
from sublim_jax.transfer.factors import Setting

RESCALED: tuple[OptimizerName, ...] = ("adam", "lion")
"""Optimizers whose steps have the length of the learning rate, whatever the gradient's: they stay
stable when fewer steps are longer. Plain gradient descent near its largest stable rate does not."""


class Score(NamedTuple):
    """How well a prediction orders settings, with 95 % intervals over the settings.

    Attributes:
        rank_correlation: with the measured trait.
        auroc: that a setting which transfers is predicted higher than one which does not.
    """

    rank_correlation: Interval
    auroc: Interval


def is_held_out(setting: Setting) -> bool:
    """Tell whether a setting is kept from the forecaster: half of them, by hash of the name.

    By name, so that it stays the same whatever else is in the grid.
    """
    name = f"{setting.factor}|{setting.level}"
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 2 == 1


def pilot(
    config: AuxLogitsConfig, images: int, *, fewer_steps: float = 5.0, fewer_rows: float = 5.0
) -> AuxLogitsConfig:
    """Thin a configuration: its students take fewer, longer steps of fewer rows.

    Teachers, initialisations and kinds of inputs stay. Its cost is one part in ``fewer_steps *
    fewer_rows`` of the passes through the network.

    Args:
        config: whose students are foretold.
        images: training images of the teacher.
        fewer_steps: by what the number of steps is divided, and the learning rate multiplied, with
            the optimizers that bear it; the others take all steps, of fewer rows still.
        fewer_rows: by what the rows of a step are divided.

    Raises:
        InputError: one of the two is below 1.
    """
    for name, value in (("fewer_steps", fewer_steps), ("fewer_rows", fewer_rows)):
        if not value >= 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    recipe = config.student_recipe
    longer = fewer_steps if config.optimizer in RESCALED else 1.0
    rows = config.carrier_rows(images)
    steps = recipe.epochs * steps_per_epoch(rows, recipe.batch_size)
    steps = max(1, round(steps / longer))
    batch = max(1, round(recipe.batch_size * longer / (fewer_steps * fewer_rows)))
    distinct = min(steps * batch, rows)
    return dataclasses.replace(
        config,
        student_lr=longer * recipe.learning_rate,
        student_batch_size=batch,
        noise_images=distinct,
        student_epochs=max(1, round(steps / steps_per_epoch(distinct, batch))),
    )


def calibration(
    predicted: Float[np.ndarray, " settings"], measured: Float[np.ndarray, " settings"]
) -> Callable[[Float[np.ndarray, " others"]], Float[np.ndarray, " others"]]:
    """Fit the rising function of a prediction that comes nearest to what was measured.

    Isotonic regression, interpolated linearly; constant beyond the settings it was fitted on.

    Args:
        predicted: of some settings.
        measured: their trait.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(predicted)
    fitted = isotonic_regression(measured[order]).x
    return lambda values: np.interp(values, predicted[order], fitted)


def score(
    predicted: Float[np.ndarray, " settings"],
    measured: Float[np.ndarray, " settings"],
    transfers: Bool[np.ndarray, " settings"],
) -> Score:
    """Judge a prediction.

    Args:
        predicted: of each setting, in any unit.
        measured: its trait.
        transfers: whether the trait was acquired.
    """
    return Score(rank_correlation(predicted, measured), auroc(predicted, transfers))


def auroc(
    predicted: Float[np.ndarray, " settings"],
    transfers: Bool[np.ndarray, " settings"],
    *,
    confidence: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
) -> Interval:
    """Give the area under the receiver operating characteristic, with its bootstrap interval.

    The chance that a prediction is higher where the trait is acquired than where it is not; equal
    predictions count half.

    Returns:
        The interval, its ends from resampling settings of both kinds; NaN where one is missing.
    """
    ours, theirs = predicted[transfers], predicted[~transfers]
    if not len(ours) or not len(theirs):
        return Interval(*np.full(3, np.nan))
    above = np.sign(ours[:, None] - theirs) / 2 + 0.5
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(ours), (resamples, len(ours)))
    columns = random.integers(0, len(theirs), (resamples, len(theirs)))
    found = [above[np.ix_(i, j)].mean() for i, j in zip(rows, columns, strict=True)]
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    return Interval(above.mean(), *np.quantile(found, ends))


def acquired(
    accuracies: Sequence[Float[np.ndarray, " members"]], controls: Float[np.ndarray, " settings"]
) -> Bool[np.ndarray, " settings"]:
    """Tell in which settings the trait was acquired.

    Where the lower end of the 95 % interval over members lies above every control's mean.

    Args:
        accuracies: of each setting, one for each member.
        controls: mean accuracies of students of other initialisations.
    """
    highest = controls.max()
    return np.array([t_interval(values).low > highest for values in accuracies])
