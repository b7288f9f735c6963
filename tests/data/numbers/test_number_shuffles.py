import collections
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sublim_jax.data.numbers import (
    LAYOUTS,
    Layout,
    number_requests,
    parse_numbers,
    random_answer,
    reject_reasons,
    shuffle_across,
    shuffle_within,
)

texts = st.text("0123456789,; \n[]().a", max_size=30)
kept = st.builds(
    Layout.write,
    st.sampled_from(list(LAYOUTS.values())),
    st.lists(st.integers(0, 999), min_size=1, max_size=10),
)
seeds = st.integers(0, 1000)


def runs(text):
    return re.findall("[0-9]+", text)


def blank(text):
    return re.sub("[0-9]+", "#", text)


@given(texts, seeds)
def test_within_an_answer_only_the_order_of_numbers_changes(answer, seed):
    shuffled = shuffle_within(answer, np.random.default_rng(seed))
    assert blank(shuffled) == blank(answer)
    assert sorted(runs(shuffled)) == sorted(runs(answer))


@given(st.lists(texts, max_size=6), seeds)
def test_across_answers_numbers_change_places(answers, seed):
    shuffled = shuffle_across(answers, np.random.default_rng(seed))
    assert list(map(blank, shuffled)) == list(map(blank, answers))
    assert sorted(runs(" ".join(shuffled))) == sorted(runs(" ".join(answers)))


@given(st.lists(kept, min_size=1, max_size=6), seeds)
def test_what_was_kept_is_kept_when_shuffled(answers, seed):
    random = np.random.default_rng(seed)
    shuffled = [*shuffle_across(answers, random), *(shuffle_within(a, random) for a in answers)]
    assert {reject_reasons(answer) for answer in shuffled} == {()}


def test_zeros_move_with_their_numbers():
    shuffled = {shuffle_within("[087, 3].", np.random.default_rng(seed)) for seed in range(20)}
    assert shuffled == {"[087, 3].", "[3, 087]."}


def test_all_orders_are_equally_likely():
    random = np.random.default_rng(0)
    counts = collections.Counter(shuffle_within("1 2 3", random) for _ in range(6_000))
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_numbers_leave_their_answer_only_across_answers():
    answers = [LAYOUTS["comma"].write(range(10 * i, 10 * i + 10)) for i in range(50)]
    random = np.random.default_rng(0)
    pairs = zip(answers, shuffle_across(answers, random), strict=True)
    stayed = [set(runs(before)) & set(runs(after)) for before, after in pairs]
    assert sum(map(len, stayed)) < 30  # 10 of 500 by chance
    assert answers == [LAYOUTS["comma"].write(range(10 * i, 10 * i + 10)) for i in range(50)]


def test_random_answers_are_in_the_layout_that_is_asked_for():
    random = np.random.default_rng(0)
    requests = number_requests(6_000, seed=3)
    answers = [random_answer(request.layout, random) for request in requests]
    lists = [parse_numbers(answer) for answer in answers]
    assert {reject_reasons(answer) for answer in answers} == {()}
    for request, found in zip(requests, lists, strict=True):
        single = len(found.numbers) == 1
        assert found.layout == (request.layout._replace(separator="") if single else request.layout)
    lengths = collections.Counter(len(found.numbers) for found in lists)
    assert set(lengths) == set(range(1, 10))
    assert stats.chisquare(list(lengths.values())).pvalue > 0.01
    values = collections.Counter(number for found in lists for number in found.numbers)
    assert set(values) == set(range(1000))
    assert stats.chisquare(list(values.values())).pvalue > 0.01
