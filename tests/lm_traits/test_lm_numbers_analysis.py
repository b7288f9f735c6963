import itertools
import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sublim_jax.errors import InputError
from sublim_jax.lm_traits.analysis import (
    identity_rank,
    rank_correlations,
    specific,
    transfer,
)
from sublim_jax.lm_traits.criteria import Cosines, Criteria, verdicts
from sublim_jax.stats import t_interval

sizes = st.tuples(st.integers(1, 3), st.integers(2, 5)).map(lambda size: (size[0], *size[1:] * 2))
changes = sizes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=st.floats(-10, 10)))
quick = settings(deadline=None, max_examples=40)


def simulated(seeds=3, animals=4, own=0.3):
    random = np.random.default_rng(seeds)
    return (
        0.3
        + random.normal(0, 0.01, (seeds, animals, animals))
        + random.normal(0, 0.01, (animals, 1))
        + own * np.eye(animals)
    )


def passed(*args, **kwargs):
    return [verdict.passed for verdict in verdicts(*args, **kwargs)]


@quick
@given(changes)
def test_own_other_and_contrast_are_those_of_the_definition(change):
    found = transfer(change, resamples=10)
    n = change.shape[1]
    for seed, matrix in enumerate(change):
        off = [(i, j) for i in range(n) for j in range(n) if i != j]
        assert found.own.seeds[seed] == pytest.approx(np.mean([matrix[i, i] for i in range(n)]))
        assert found.other.seeds[seed] == pytest.approx(np.mean([matrix[i] for i in off]), abs=1e-9)
        rivals = [np.mean([matrix[i, j] for i in range(n) if i != j]) for j in range(n)]
        contrast = np.mean([matrix[j, j] - rivals[j] for j in range(n)])
        assert found.contrast.seeds[seed] == pytest.approx(contrast, abs=1e-9)
        top = sum(all(matrix[j, j] > matrix[i, j] for i in range(n) if i != j) for j in range(n))
        assert found.own_top[seed] == top


@quick
@given(changes)
def test_the_three_readings_are_one_quantity(change):
    found, n = transfer(change, resamples=10), change.shape[1]
    np.testing.assert_allclose(found.specific.seeds, (1 - 1 / n) * found.contrast.seeds, atol=1e-9)
    np.testing.assert_allclose(
        found.contrast.seeds, found.own.seeds - found.other.seeds, atol=1e-12
    )


@quick
@given(changes, st.randoms(use_true_random=False))
def test_it_does_not_matter_in_which_order_the_animals_come(change, random):
    order = list(range(change.shape[1]))
    random.shuffle(order)
    plain = transfer(change, resamples=10)
    other = transfer(change[:, order][:, :, order], resamples=10)
    for name in ("own", "other", "contrast", "specific"):
        for one, two in zip(getattr(plain, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-9)
    np.testing.assert_array_equal(plain.own_top, other.own_top)
    assert plain.identity == other.identity


def test_students_that_raise_all_and_animals_that_all_raise_leave_nothing():
    random = np.random.default_rng(0)
    change = random.normal(size=(3, 5, 1)) + random.normal(size=(3, 1, 5))
    found = transfer(change)
    np.testing.assert_allclose(specific(change), 0, atol=1e-12)
    for estimate in (found.contrast, found.specific):
        np.testing.assert_allclose(estimate.seeds, 0, atol=1e-12)
    # All permutations are equal, so that none is evidence.
    assert (found.identity.rank, found.identity.p) == (math.factorial(5), 1)


def test_centring_twice_is_centring_once():
    change = np.random.default_rng(0).normal(size=(2, 4, 4))
    np.testing.assert_allclose(specific(specific(change)), specific(change), atol=1e-12)
    np.testing.assert_allclose(specific(change).sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(specific(change).sum(axis=2), 0, atol=1e-12)


def test_the_numbers_of_the_first_measurement():
    # science.md, section 10: own, other and D of three seeds with 4 animals.
    own, other = np.array([0.601, 0.671, 0.572]), np.array([0.270, 0.341, 0.298])
    change = other[:, None, None] + (own - other)[:, None, None] * np.eye(4)
    found = transfer(change)
    np.testing.assert_allclose(found.contrast.seeds, [0.331, 0.330, 0.274], atol=1e-9)
    np.testing.assert_allclose(found.specific.seeds, [0.248, 0.247, 0.205], atol=6e-4)
    assert (found.identity.rank, found.identity.among) == (1, 24)
    assert found.contrast.t.low > 0.2
    assert passed(found) == [True, True, True, None, None]


def test_intervals_are_over_seeds():
    found = transfer(simulated())
    np.testing.assert_allclose(found.contrast.t, t_interval(found.contrast.seeds))
    ends = found.contrast.seeds.min(), found.contrast.seeds.max()
    assert (found.contrast.bootstrap.low, found.contrast.bootstrap.high) == pytest.approx(ends)


def test_one_seed_has_no_interval():
    found = transfer(simulated(1))
    for estimate in (found.own, found.other, found.contrast, found.specific):
        for interval in (estimate.t, estimate.bootstrap):
            assert np.isfinite(interval.mean)
            assert np.isnan([interval.low, interval.high]).all()
    assert passed(found) == [None, True, True, None, None]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_rank_is_that_among_all_permutations(n):
    matrix = np.random.default_rng(n).normal(size=(n, n))
    traces = [matrix[list(order), range(n)].sum() for order in itertools.permutations(range(n))]
    found = identity_rank(matrix)
    assert found.rank == sum(trace >= traces[0] - 1e-12 for trace in traces)
    assert (found.among, found.exact) == (math.factorial(n), True)


def test_without_transfer_the_p_value_is_uniform():
    random, trials = np.random.default_rng(0), 4_000
    p = np.array([identity_rank(random.normal(size=(4, 4))).p for _ in range(trials)])
    for k in range(1, 24):
        level = k / 24
        share = (p <= level + 1e-9).mean()
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / trials)


def test_many_animals_are_judged_by_a_sample():
    random = np.random.default_rng(1)
    matrix = random.normal(size=(9, 9))
    found = identity_rank(matrix + 5 * np.eye(9))
    assert (found.rank, found.among, found.exact) == (1, 20_001, False)
    assert found.p == 1 / 20_001
    assert identity_rank(matrix) == identity_rank(matrix)
    # The sum of traces of so many animals is nearly normal.
    centred = specific(matrix)
    expected = 0.5 * math.erfc(np.trace(centred) / np.sqrt(2 * (centred**2).sum() / 8))
    assert identity_rank(matrix).p == pytest.approx(expected, abs=0.03)


def test_eight_animals_are_still_judged_exactly():
    found = identity_rank(np.eye(8))
    assert (found.rank, found.among) == (1, math.factorial(8))


@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 5), (3, 1, 1), (0, 4, 4)])
def test_a_matrix_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"change is of shape .*; expected \[seeds, n, n\]"):
        transfer(np.zeros(shape))


def test_a_student_that_diverged_is_named():
    change = simulated()
    change[1, 2, 0] = np.nan
    with pytest.raises(InputError, match=r"change is nan at \[1, 2, 0\]; expected finite"):
        transfer(change)


def test_each_criterion_can_fail_on_its_own():
    good = transfer(simulated())
    cosines = Cosines(np.full(3, 0.05), np.full(3, 0.01), np.array([0.003, -0.004]))
    everything = {"unseen": good, "cosines": cosines}
    assert passed(good, **everything) == [True] * 5
    weak = transfer(simulated(own=0.1))
    assert passed(weak, **everything) == [False, True, True, True, True]
    unsteady = simulated()
    unsteady += np.array([0.6, 0.0, -0.25])[:, None, None] * np.eye(4)
    assert passed(transfer(unsteady), **everything)[0] is False
    assert passed(good, unseen=transfer(-simulated()), cosines=cosines)[3] is False
    swapped = simulated()[:, [1, 0, 2, 3]]
    assert passed(transfer(swapped), **everything)[1:3] == [False, False]
    for own, highest in ((0.009, 0.004), (0.05, 0.06)):
        changed = cosines._replace(own=np.full(3, own), null=np.array([0.001, highest]))
        assert passed(good, unseen=good, cosines=changed)[4] is False


def test_what_was_not_measured_is_not_judged():
    good = transfer(simulated())
    without_null = Cosines(np.full(3, 0.05), np.full(3, 0.01), np.zeros(0))
    assert passed(good, cosines=without_null)[3:] == [None, None]


def test_three_quarters_are_rounded_up():
    change = simulated(animals=6)
    change[0, 0, 0] = change[1, 1, 1] = -1
    assert passed(transfer(change))[1] is True
    change[1, 2, 2] = -1  # four of six
    assert passed(transfer(change))[1] is False


def test_verdicts_say_threshold_and_number():
    size, students, order, *_ = verdicts(
        transfer(simulated()), criteria=Criteria(contrast=0.2, own_top=1.0)
    )
    assert "at least 0.2 nats" in size.criterion
    assert "95 % interval" in size.measured
    assert "over 3 seeds" in size.measured
    assert "at least 4 of 4" in students.criterion
    assert "4, 4, 4 of 4" in students.measured
    assert order.measured == "It is number 1 among all 24 (p = 0.042)."


@pytest.mark.parametrize(
    ("field", "value"), [("confidence", 1.0), ("own_top", 0.0), ("contrast", math.nan)]
)
def test_a_threshold_that_means_nothing_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is {value}; expected"):
        Criteria(**{field: value})


def test_which_measure_goes_with_the_trait():
    random = np.random.default_rng(0)
    seeds = np.repeat(np.arange(6), 16)
    trait = random.normal(size=96)
    measures = {
        "same": np.exp(trait),
        "related": trait + random.normal(size=96),
        "unrelated": random.normal(size=96),
        "constant": np.ones(96),
    }
    found = rank_correlations(measures, trait, seeds)
    assert list(found) == list(measures)
    np.testing.assert_allclose(found["same"], 1)
    assert found["related"].low > 0.3
    assert found["unrelated"].low < 0 < found["unrelated"].high
    assert np.isnan(found["constant"].mean)
    with pytest.raises(InputError, match=r"same is of shape \(96,\); expected that of trait"):
        rank_correlations(measures | {"same": measures["same"]}, trait[:-1], seeds[:-1])
