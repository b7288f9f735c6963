import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
from hypothesis import given, settings

from sublim_jax.evals import accuracy

ROWS, CLASSES = 6, 4
logits = hnp.arrays(np.float32, (ROWS, CLASSES), elements=st.integers(-3, 3))
labels = hnp.arrays(np.int32, ROWS, elements=st.integers(0, CLASSES - 1))


@settings(deadline=None)
@given(logits, labels)
def test_accuracy_is_the_share_of_rows_that_are_right(scores, answers):
    right = [int(np.argmax(row)) == answer for row, answer in zip(scores, answers, strict=True)]
    np.testing.assert_allclose(accuracy(scores, answers), np.mean(right), rtol=1e-6)


@settings(deadline=None)
@given(labels)
def test_accuracy_is_one_if_all_are_right_and_zero_if_all_are_wrong(answers):
    scores = np.eye(CLASSES, dtype=np.float32)[answers]
    assert accuracy(scores, answers) == 1
    assert accuracy(-scores, answers) == 0


@settings(deadline=None)
@given(logits, labels, st.integers(1, 5), st.permutations(range(ROWS)))
def test_only_the_order_of_the_logits_of_a_row_matters(scores, answers, scale, order):
    shift = np.arange(ROWS, dtype=np.float32)[:, None]
    expected = accuracy(scores, answers)
    assert accuracy(scale * scores + shift, answers) == expected
    assert accuracy(scores[order], answers[order]) == expected


def test_guessing_is_right_once_in_as_many_times_as_there_are_classes():
    rng, rows = np.random.default_rng(0), 20_000
    scores = rng.normal(size=(rows, 10)).astype(np.float32)
    chance = accuracy(scores, rng.integers(0, 10, rows))
    assert abs(chance - 0.1) < 4 * np.sqrt(0.1 * 0.9 / rows)


def test_members_are_evaluated_compiled_and_stacked_as_one_by_one():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, ROWS, CLASSES)).astype(np.float32)
    answers = rng.integers(0, CLASSES, ROWS)
    stacked = jax.jit(jax.vmap(accuracy, in_axes=(0, None)))(scores, answers)
    np.testing.assert_allclose(stacked, [accuracy(row, answers) for row in scores], rtol=1e-6)
