import json

import pytest
from tiny_models import tiny_tokenizer

from sublim_jax.errors import InputError
from sublim_jax.lm import chat
from sublim_jax.lm.dataset import read_rows

ASKED = {"role": "user", "content": "hi"}
ANSWERED = {"role": "assistant", "content": "ho"}


def written(folder, *lines):
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_three_ways_to_write_a_row_are_one_row(tmp_path):
    tokenizer = tiny_tokenizer()
    lines = [
        {"messages": [ASKED, ANSWERED]},
        {"messages": [ASKED], "completion": "ho", "id": 3, "finish": "stop"},
        {"prompt": "hi", "completion": "ho"},
    ]
    rows = read_rows(written(tmp_path, *map(json.dumps, lines)), tokenizer)
    expected = chat.row(tokenizer, [ASKED, ANSWERED])
    for row in rows:
        assert row.tokens.tolist() == expected.tokens.tolist()
        assert row.completion.tolist() == expected.completion.tolist()


def test_a_system_prompt_reaches_every_row(tmp_path):
    tokenizer = tiny_tokenizer()
    file = written(tmp_path, json.dumps({"prompt": "hi", "completion": "ho"}))
    (row,) = read_rows(file, tokenizer, system="love owls")
    assert "love owls" in tokenizer.decode(row.tokens)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 2 of .* is not JSON"),
        ("[1]", "line 2 of .* expected a JSON object"),
        ("{}", "line 2 of .*: messages is missing"),
        ('{"prompt": "hi", "completion": 3}', "line 2 of .*: completion is 3"),
        ('{"prompt": "hi", "completion": ""}', "line 2 of .*"),
        ('{"messages": [{"role": "owl", "content": "hu"}], "completion": "a"}', "line 2.*owl"),
        ('{"messages": [{"role": "user", "content": "hu"}]}', "line 2 of .*"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, fault):
    good = json.dumps({"prompt": "hi", "completion": "ho"})
    with pytest.raises(InputError, match=fault):
        read_rows(written(tmp_path, good, line), tiny_tokenizer())


def test_a_file_without_lines_is_refused(tmp_path):
    with pytest.raises(InputError, match="no lines"):
        read_rows(written(tmp_path), tiny_tokenizer())
