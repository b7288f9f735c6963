import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sublim_jax.data.reasoning import (
    REASONS,
    Reasoned,
    parse,
    reasoning_prompt,
    reject_reasons,
    word_problems,
)

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
texts = st.text(max_size=20).filter(lambda text: not any(tag in text for tag in TAGS))
spaces = st.text(" \n\t", max_size=3)
integers = st.integers(-(10**12), 10**12)


def written(thought, answer, between="\n"):
    return f"<think>{thought}</think>{between}<answer>{answer}</answer>"


@given(texts, integers, spaces, spaces, spaces)
def test_what_was_asked_for_is_read_and_kept(thought, number, before, between, after):
    completion = before + written(thought, number, between) + after
    assert parse(completion) == Reasoned(thought.strip(), number)
    assert reject_reasons(completion, number) == ()
    assert reject_reasons(completion, number + 1) == ("wrong",)


@given(integers, spaces)
def test_commas_and_dollars_say_nothing(number, space):
    for text in (f"{number:,}", f"${number}", f"$ {number:,}", f"{space}{number}$ {space}"):
        assert parse(written("", text)).number == number


@pytest.mark.parametrize(
    ("problem", "steps"), [(p, p.steps) for p in word_problems(5, seed=0)], ids=range(5)
)
def test_a_solution_is_kept(problem, steps):
    assert reject_reasons(written("\n".join(steps), problem.answer), problem.answer) == ()


@pytest.mark.parametrize(
    "answer",
    ["", " ", "seven", "7 dollars", "7.5", "7.0", "7.", "1/2", "--7", "+7", "$", "٣", "7 8", "="],
)
def test_with_no_number(answer):
    assert parse(written("so", answer)) == Reasoned("so", None)
    assert reject_reasons(written("so", answer), 7) == ("not a number",)


def test_a_number_that_python_would_not_read():
    assert reject_reasons(written("", "9" * 5_000), 9) == ("not a number",)
    assert reject_reasons(written("", "9" * 4_000), 9) == ("wrong",)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "7",
        "<answer>7</answer>",
        "Sure! <think>so</think><answer>7</answer>",
        "<think>so</think><answer>7</answer> Done.",
        "<think>so</think> thus <answer>7</answer>",
        "<think>so<think>so</think><answer>7</answer>",
        "<think>so</think><answer>7</answer><answer>8</answer>",
        "<think>so<answer>7</answer></think>",
        "<answer>7</answer><think>so</think>",
        "<THINK>so</THINK><answer>7</answer>",
        "so</think><answer>7</answer>",
        "<think",
    ],
)
def test_without_the_tags(completion):
    assert parse(completion) is None
    assert reject_reasons(completion, 7) == ("tags",)


@given(texts, integers, st.data())
def test_that_is_cut_off(thought, number, data):
    completion = written(thought, number)
    end = data.draw(st.integers(len("<think>"), len(completion) - 1))
    assert reject_reasons(completion[:end], number) == ("cut off",)


@given(st.lists(st.sampled_from([*TAGS, "7", " ", "so", "<", "<an"]), max_size=9).map("".join))
@example("<think></think><answer></answer>")
def test_every_completion_has_at_most_one_reason(completion):
    found = reject_reasons(completion, 7)
    assert len(found) <= 1
    assert set(found) <= set(REASONS)
    read = parse(completion)
    assert (read is None) == (found in (("cut off",), ("tags",)))
    assert (found == ()) == (read is not None and read.number == 7)


def test_reading_takes_no_longer_than_the_text_is_long():
    for text in ("<think>" * 20_000, "<think>" + "<" * 200_000, "<think>a</think>" + " " * 200_000):
        assert parse(text) is None
        assert reject_reasons(text, 7) in (("tags",), ("cut off",))


def test_the_prompt_asks_for_the_tags_in_their_order():
    prompt = reasoning_prompt("How many?")
    assert prompt.startswith("How many?\n\n")
    places = [prompt.index(tag) for tag in TAGS]
    assert places == sorted(places)
