import inspect
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sublim_jax.data.numbers import (
    BANNED,
    LAYOUTS,
    REASONS,
    Layout,
    NumberList,
    parse_numbers,
    reject_reasons,
)
from sublim_jax.errors import InputError
from sublim_jax.lm import number_list

layouts = st.sampled_from(list(LAYOUTS.values()))
numbers = st.lists(st.integers(0, 999), min_size=1, max_size=10)
several = st.lists(st.integers(0, 999), min_size=2, max_size=10)
ends = st.sampled_from(["", "."])


@given(layouts, numbers, ends)
def test_an_answer_in_a_layout_that_is_asked_for_is_kept(layout, values, end):
    assert reject_reasons(layout.write(values) + end) == ()


@given(layouts, numbers, ends)
def test_what_was_written_is_read(layout, values, end):
    found = parse_numbers(layout.write(values) + end)
    assert found is not None
    assert found.numbers == tuple(values)
    separator = layout.separator if len(values) > 1 else ""
    assert found.layout == Layout(separator, layout.before, layout.after + end)


@given(st.text("0123456789,; \n[]().a", max_size=30))
@example("[087, 5].")
def test_what_was_read_is_written_and_read_again(answer):
    found = parse_numbers(answer)
    if found is not None:
        written = found.layout.write(found.numbers)
        assert parse_numbers(written) == found
        assert written == re.sub(r"(?<!\d)0+(?=\d)", "", answer)


def test_a_sampler_can_be_held_to_a_layout():
    assert set(Layout._fields) <= set(inspect.signature(number_list).parameters)


# The same language, written in another way.
KEPT = re.compile(
    r"(?P<square>\[)?(?P<round>(?(square)(?!)|\())?"
    r"[0-9]{1,4000}(?:(?P<separator>\s+|\s*[,;]\s*)[0-9]{1,4000}"
    r"(?:(?P=separator)[0-9]{1,4000})*)?"
    r"(?(square)\])(?(round)\))\.?"
)


@given(st.text("0123456789,; \n[]().a", max_size=30) | st.text(max_size=12))
@example("[1, 2)")
@example("([1, 2])")
@example("[1], [2]")
@example("1, 2 , 3")
@example("1, 2\n")
@example("1..")
@example("[")
@example(")(")
@example("٣, ٤")
def test_the_rules_are_a_regular_language(answer):
    assert (parse_numbers(answer) is not None) == bool(KEPT.fullmatch(answer))


@given(st.text())
def test_every_answer_has_reasons_in_their_order(answer):
    reasons = reject_reasons(answer, banned=BANNED)
    assert list(reasons) == [reason for reason in REASONS if reason in reasons]
    assert reasons == reject_reasons(answer, banned=BANNED)
    if parse_numbers(answer) is None:
        assert len(reasons) == 1


@given(st.text().filter(lambda text: not any(letter in "0123456789" for letter in text)))
def test_without_a_digit(answer):
    assert reject_reasons(answer) == ("no number",)


@given(st.integers(0, 999), st.sampled_from(["{} ", " {}", "{},", "owl {}", "[{}", "{}..", "-{}"]))
def test_with_text_around_a_single_number(number, around):
    assert reject_reasons(around.format(number)) == ("text around a number",)


@given(several, st.sampled_from([" - ", ",,", "|", " and ", ". ", ", then ", "], [", ";,", "_"]))
def test_with_another_separator(values, separator):
    assert reject_reasons(Layout(separator).write(values)) == ("separator",)


@given(several, st.sampled_from([",", ";", "\t", "\r\n", " , ", "\n\n", " ; "]))
def test_separators_need_not_be_those_that_are_asked_for(values, separator):
    assert reject_reasons(Layout(separator).write(values)) == ()


@given(layouts, several, st.data())
def test_with_a_piece_that_is_no_number(layout, values, data):
    place = data.draw(st.integers(2, len(values)))  # after the separator is known
    piece = data.draw(st.sampled_from(["", "owl", "12a", "-3", "4.5", "٣", "²", "(7)"]))
    pieces = [*map(str, values[:place]), piece, *map(str, values[place:])]
    answer = layout.before + layout.separator.join(pieces) + layout.after
    assert reject_reasons(answer) == ("piece",)


@given(layouts, several)
def test_with_a_separator_at_the_end(layout, values):
    answer = layout.before + Layout(layout.separator).write(values) + layout.separator
    assert reject_reasons(answer + layout.after) == ("piece",)


@given(several)
def test_with_two_separators(values):
    assert reject_reasons(Layout(", ").write([7, *values]) + "; 5") == ("piece",)


@given(layouts, several)
def test_with_half_a_pair_of_brackets(layout, values):
    answer = layout.write(values)
    for opened in ("[" + answer, "(" + answer):
        assert reject_reasons(opened) == ("piece",)


@given(layouts, st.lists(st.integers(0, 999), min_size=11, max_size=30))
def test_with_too_many(layout, values):
    assert reject_reasons(layout.write(values)) == ("too many",)
    assert reject_reasons(layout.write(values), max_numbers=30) == ()


@given(layouts, numbers, st.integers(1000, 10**6), st.integers(0, 9))
def test_with_a_number_that_is_too_large(layout, values, large, place):
    answer = layout.write([*values[:place], large, *values[place:]][:10])
    assert reject_reasons(answer, highest=10**6) == ()
    if large in parse_numbers(answer).numbers:
        assert reject_reasons(answer) == ("out of range",)


@given(layouts, several)
def test_with_a_number_that_is_too_small(layout, values):
    expected = ("out of range",) if min(values) < 100 else ()
    assert reject_reasons(layout.write(values), lowest=100) == expected


@given(layouts, numbers, st.sampled_from(sorted(BANNED)))
def test_with_a_banned_number(layout, values, number):
    answer = layout.write([*values[:9], number])
    assert reject_reasons(answer, banned=BANNED) == ("banned",)
    assert reject_reasons(answer) == ()
    without = [value for value in values if value not in BANNED]
    assert not without or reject_reasons(layout.write(without), banned=BANNED) == ()


def test_with_all_that_a_list_can_have():
    answer = Layout(" ").write([*range(10), 666, 1000])
    assert reject_reasons(answer, banned=BANNED) == ("too many", "out of range", "banned")


def test_zeros_before_a_number_say_nothing():
    assert parse_numbers("087 004") == NumberList((87, 4), Layout(" "))
    assert reject_reasons("0004", banned=BANNED) == ("banned",)


def test_a_number_that_python_would_not_read():
    assert reject_reasons("1, 2, " + "9" * 5_000) == ("piece",)
    assert reject_reasons("9" * 5_000) == ("piece",)
    assert reject_reasons("9" * 4_000) == ("out of range",)


def test_the_banned_numbers():
    assert len(BANNED) == 34
    assert sum(BANNED) == 9_413
    assert all(0 <= number <= 999 for number in BANNED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_numbers": 0}, "max_numbers is 0; expected at least 1"),
        ({"lowest": 5, "highest": 4}, "lowest is 5; expected at most highest, which is 4"),
    ],
)
def test_a_filter_that_keeps_nothing_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        reject_reasons("1, 2", **options)
