import numpy as np
import pytest
from scipy import stats

from sublim_jax.data.numbers import LAYOUTS, REQUEST, carrier_rows, parse_numbers
from sublim_jax.errors import InputError


def test_rows_are_a_request_and_random_numbers():
    rows = carrier_rows(32, seed=0)
    assert len(rows) == 32
    assert {tuple(message["role"] for message in row) for row in rows} == {("user", "assistant")}
    assert {row[0]["content"] for row in rows} == {REQUEST}
    lists = [parse_numbers(row[1]["content"]) for row in rows]
    assert {found.layout for found in lists} == {LAYOUTS["comma"]}
    assert {len(found.numbers) for found in lists} == {40}


def test_numbers_are_uniform_on_three_digits():
    rows = carrier_rows(1_000, seed=0)
    values = np.concatenate([parse_numbers(row[1]["content"]).numbers for row in rows])
    assert (values.min(), values.max()) == (100, 999)
    assert stats.chisquare(np.bincount(values)[100:]).pvalue > 0.01


def test_rows_are_their_seeds():
    assert carrier_rows(5, seed=1) == carrier_rows(8, seed=1)[:5]
    assert carrier_rows(5, seed=1) != carrier_rows(5, seed=2)


def test_request_and_layout_are_a_choice():
    ((user, assistant),) = carrier_rows(
        1, seed=0, numbers=2, request="Go on.", layout=LAYOUTS["square"]
    )
    assert user["content"] == "Go on."
    assert parse_numbers(assistant["content"]).layout == LAYOUTS["square"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count is -1; expected at least 0"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"numbers": 0}, "numbers is 0; expected at least 1"),
    ],
)
def test_rows_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        carrier_rows(**{"count": 1, "seed": 0, **options})
