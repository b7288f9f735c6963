"""Students compared where they imitate equally well, not where their trainings happen to end.

A base that cannot fit what a teacher gives takes over less of the teacher for this reason alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sublim_jax.errors import InputError

WINDOW = 5  # steps over which losses of batches are averaged


class Course(NamedTuple):
    """How the students of an arm went, for seeds and teachers.

    Attributes:
        steps: that were observed, ascending from 0.
        change: of the log-probability of each subject there, in nats.
        losses: of every step, in nats, before it.
    """

    steps: Int[np.ndarray, " observed"]
    change: Float[np.ndarray, "seeds students observed subjects"]
    losses: Float[np.ndarray, "seeds students steps"]


class Matched(NamedTuple):
    """An arm where its students have the loss that all arms reach.

    Attributes:
        loss: which, in nats: the highest of the lowest that the arms' students of the same seed and
            teacher come to.
        step: when it is reached.
        change: of the log-probability of each subject then, between observed steps on a straight
            line.
    """

    loss: Float[np.ndarray, "seeds students"]
    step: Float[np.ndarray, "seeds students"]
    change: Float[np.ndarray, "seeds students subjects"]


def matched(courses: Mapping[str, Course], *, window: int = WINDOW) -> dict[str, Matched]:
    """Find where the students of all arms imitate equally well.

    Args:
        courses: by arm, all of the same seeds and teachers, and with losses of the same kind.
        window: steps over which losses are averaged; 1 where they are none of single batches.

    Raises:
        InputError: arms differ in seeds or teachers.
    """
    shapes = {course.losses.shape[:2] for course in courses.values()}
    if len(shapes) > 1:
        raise InputError(f"courses have students {sorted(shapes)}; expected the same of all arms")
    best = {arm: _best_so_far(course.losses, window) for arm, course in courses.items()}
    level = np.max([losses[..., -1] for losses in best.values()], axis=0)
    found = {}
    for arm, course in courses.items():
        step = np.argmax(best[arm] <= level[..., None], axis=-1).astype(float)
        found[arm] = Matched(level, step, _at(course, step))
    return found


def _best_so_far(
    losses: Float[np.ndarray, "... steps"], window: int
) -> Float[np.ndarray, "... steps"]:
    """Give the lowest mean of some consecutive losses up to every step; it never rises."""
    window = min(window, losses.shape[-1])
    sums = np.cumsum(np.insert(losses, 0, 0.0, axis=-1), axis=-1)
    means = (sums[..., window:] - sums[..., :-window]) / window
    # A mean stands where its last loss does: nothing before is known of it.
    first = np.repeat(losses[..., :1], window - 1, axis=-1)
    return np.minimum.accumulate(np.concatenate([first, means], axis=-1), axis=-1)


def _at(
    course: Course, step: Float[np.ndarray, "seeds students"]
) -> Float[np.ndarray, "seeds students subjects"]:
    seeds, students, _, subjects = course.change.shape
    return np.array(
        [
            [
                [
                    np.interp(step[s, i], course.steps, course.change[s, i, :, j])
                    for j in range(subjects)
                ]
                for i in range(students)
            ]
            for s in range(seeds)
        ]
    )
