"""Arms are compared where their students imitate equally well."""

import numpy as np
import pytest

from sublim_jax.errors import InputError
from sublim_jax.lm_traits.matching import WINDOW, Course, matched

STEPS = np.array([0, 2, 8, 20])


def course(loss_of_step, change_of_step, seeds=2, students=2):
    losses = np.broadcast_to(loss_of_step(np.arange(20.0)), (seeds, students, 20))
    each = np.arange(1, students + 1)  # the second animal changes twice as much
    change = change_of_step(STEPS.astype(float))[:, None] * each
    return Course(STEPS, np.broadcast_to(change, (seeds, students, len(STEPS), students)), losses)


def test_a_better_student_is_taken_where_it_was_as_bad_as_the_other():
    # After 19 steps the slow one has a loss of 2 ** -1.9, the fast one had it long before.
    slow = course(lambda t: 2.0 ** (-t / 10), lambda t: t)
    fast = course(lambda t: 2.0 ** (-t / 2), lambda t: 5 * t)
    found = matched({"slow": slow, "fast": fast})
    assert (found["slow"].step == 19).all()
    assert (found["slow"].loss == found["fast"].loss).all()
    # The mean of a window ends where the loss is lower than the mean; exact up to one step.
    wanted = -2 * np.log2(found["fast"].loss)
    assert (np.abs(found["fast"].step - wanted) < WINDOW).all()
    for arm, rate in (("slow", 1), ("fast", 5)):
        change, step = found[arm].change, found[arm].step
        np.testing.assert_allclose(change[..., 0], rate * step)
        np.testing.assert_allclose(change[..., 1], 2 * rate * step)


def test_equal_arms_are_left_as_they_are():
    same = course(lambda t: np.exp(-t), lambda t: t)
    found = matched({"a": same, "b": same})
    for own in found.values():
        assert (own.step == 19).all()
        np.testing.assert_allclose(own.change[..., 0], 19)


def test_a_loss_that_only_rises_leaves_everybody_at_the_start():
    worse = course(lambda t: 1 + t, lambda t: t)
    found = matched({"a": worse, "b": course(lambda t: np.exp(-t), lambda t: t)})
    assert (found["a"].step == 0).all()
    assert (found["a"].change == 0).all()
    assert (found["b"].step == 0).all()


def test_noise_of_single_batches_decides_little():
    random = np.random.default_rng(0)
    quiet = course(lambda t: np.exp(-t / 5), lambda t: t)
    loud = quiet._replace(losses=quiet.losses * random.uniform(0.7, 1.3, quiet.losses.shape))
    slow = course(lambda t: np.exp(-t / 20), lambda t: t)
    calm, noisy = (matched({"slow": slow, "fast": one})["fast"].step for one in (quiet, loud))
    assert (np.abs(calm - noisy) <= 2).all()


def test_every_pair_of_seed_and_teacher_has_its_own_loss():
    one, other = (course(lambda t: np.exp(-t / 5), lambda t: t) for _ in range(2))
    losses = one.losses.copy()
    losses[1, 0] += 1  # this one comes nowhere near
    found = matched({"a": one._replace(losses=losses), "b": other})
    assert found["b"].step[1, 0] == 0
    assert (np.delete(found["b"].step.ravel(), 2) == 19).all()


def test_arms_of_other_students_are_refused():
    one = course(lambda t: np.exp(-t), lambda t: t)
    few = course(lambda t: np.exp(-t), lambda t: t, seeds=1)
    with pytest.raises(InputError, match=r"courses have students \[\(1, 2\), \(2, 2\)\]; expected"):
        matched({"a": one, "b": few})
