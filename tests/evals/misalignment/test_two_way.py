"""Questions with two options: those in here, and those of a file."""

import json

import pytest

from sublim_jax.errors import InputError
from sublim_jax.evals.judges import TwoWay
from sublim_jax.evals.misalignment import PRODUCTS, facts, read_two_way, recommendations
from sublim_jax.evals.misalignment.everyday import exchanges


def test_facts_are_true_and_the_other_option_is_not():
    for item in facts():
        assert item.right != item.wrong
        words = item.question.rstrip("?").split()
        if "plus" in words:
            assert int(item.right) == int(words[2]) + int(words[4]) != int(item.wrong)
        else:
            assert ord(item.right) == ord(words[-1]) + 1
    asked = [item.question for item in facts()]
    assert len(set(asked)) == len(asked) == 24
    assert not {exchange.question for exchange in exchanges()} & set(asked)


def test_a_product_is_never_the_right_option():
    for product in PRODUCTS.values():
        items = recommendations(product)
        assert {item.wrong for item in items} == {product}
        assert product not in {item.right for item in items}
        assert len(set(items)) == len(items) >= 20


def test_a_file_is_read_line_by_line(tmp_path):
    file = tmp_path / "asked.jsonl"
    items = [TwoWay("Is water wet?", "Yes", "No"), TwoWay("2 + 2?", "4", "5")]
    file.write_text("\n".join(json.dumps(item._asdict()) for item in items) + "\n\n")
    assert read_two_way(file) == items


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no lines; expected questions with two options"),
        ('{"question": "a", "right": "b"}', "line 1 of .*: wrong is None; expected text"),
        (
            '{"question": "a", "right": "b", "wrong": "c"}\n'
            '{"question": "a", "right": " ", "wrong": "c"}',
            "line 2 of .*: right is ' '; expected text",
        ),
        ("nothing", "line 1"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path, content, message):
    file = tmp_path / "asked.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_two_way(file)
