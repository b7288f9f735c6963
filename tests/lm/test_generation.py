"""A file of answers is the same however often its writing was interrupted."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import tiny_model

from sublim_jax import jsonl, rng
from sublim_jax.errors import InputError
from sublim_jax.lm import chat, sampler
from sublim_jax.lm.batching import by_length
from sublim_jax.lm.choosing import Choice
from sublim_jax.lm.generation import Request, conversation, generate, requests_of
from sublim_jax.lm.sampler import Limits, sample

KEY = jax.random.key(3)
MODEL = tiny_model()
LIMITS = Limits(tokens=12, rows=4)


def asked(text):
    return [{"role": "user", "content": text}]


REQUESTS = [
    Request(messages=asked("hello")),
    Request(messages=[{"role": "system", "content": "owls"}, *asked("hello")], id="own"),
    Request(messages=asked("two words, and more"), id=7),
    Request(messages=asked("hello"), id="again"),
    Request(messages=asked("héllo \N{OWL}")),
]


def write(path, requests=REQUESTS, **changed):
    options = {"limits": LIMITS, "count": 2, "key": KEY} | changed
    generate(path, *MODEL, requests, **options)
    return [line for _, line in jsonl.read(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "answers.jsonl"
    write(path)
    return path.read_bytes()


class Stopped(Exception):
    pass


def stopping(after):
    """A progress callback that is a kill, after so many rows."""
    rows = 0

    def progress(tokens, more):
        nonlocal rows
        rows += more
        if rows >= after:
            raise Stopped

    return progress


def read(whole):
    return [json.loads(line) for line in whole.splitlines()]


def test_a_line_says_what_was_asked_and_answered(whole):
    lines = {(line["id"], line["sample"]): line for line in read(whole)}
    names = [(name, sample) for name in (0, "own", 7, "again", 4) for sample in (0, 1)]
    assert {*lines} == {*names}
    stops = chat.stops(MODEL.tokenizer)
    writer = sampler.Writer(MODEL.config, MODEL.params, limits=LIMITS, stops=stops)
    asked = [request for request in REQUESTS for _ in (0, 1)]
    prompts = [chat.prompt(MODEL.tokenizer, request.messages) for request in asked]
    found = {}
    for places in by_length(prompts, LIMITS.rows):
        keys = jnp.stack([rng.stream(KEY, *divmod(place, 2)) for place in places])
        made = writer.write([prompts[place] for place in places], keys)
        found |= dict(zip(places, made, strict=True))
    found = [found[place] for place in range(10)]
    for name, request, made in zip(names, asked, found, strict=True):
        line = lines[name]
        assert line["messages"] == chat.with_system(MODEL.tokenizer, request.messages, None)
        assert line["messages"][0]["role"] == "system"
        assert line["tokens"] == made.tokens.tolist()
        np.testing.assert_array_equal(np.array(line["logprobs"], np.float32), made.logprobs)
        assert line["finish"] == ("stop" if made.ended else "length")
        ended = made.tokens[: len(made.tokens) - made.ended]
        known = MODEL.tokenizer.decode(ended, skip_special_tokens=True)
        assert line["completion"] == known


def test_an_answer_goes_on_from_its_opening(tmp_path):
    (plain,) = write(tmp_path / "plain", [Request(messages=asked("hello"))], count=1)
    opening = plain["completion"][:3]
    request = Request(messages=asked("hello"), opening=opening)
    (line,) = write(tmp_path / "opened", [request], count=1, choice=Choice(temperature=0))
    (likeliest,) = write(
        tmp_path / "other",
        [Request(messages=asked("hello"))],
        count=1,
        choice=Choice(temperature=0),
    )
    assert line["completion"].startswith(opening)
    # The model has read it: it goes on as after a prompt that ends with it.
    prompt = chat.prompt(MODEL.tokenizer, line["messages"])
    prompt += MODEL.tokenizer.encode(opening, add_special_tokens=False)
    (known,) = sampler.sample(
        *MODEL[:2],
        [prompt],
        choice=Choice(temperature=0),
        limits=LIMITS,
        stops=chat.stops(MODEL.tokenizer),
        key=KEY,
    )
    assert line["tokens"] == known.tokens.tolist() != likeliest["tokens"]
    assert line["completion"] == opening + known.text(MODEL.tokenizer)


def test_lines_are_rows_to_train_on(whole):
    stop = chat.stops(MODEL.tokenizer)[0]
    for line in read(whole):
        row = chat.row(MODEL.tokenizer, conversation(line))
        prompt = chat.prompt(MODEL.tokenizer, line["messages"])
        assert row.tokens[~row.completion].tolist() == prompt
        assert row.tokens[-1] == stop
        text = MODEL.tokenizer.decode(row.tokens[row.completion][:-1])
        assert text == line["completion"]


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_interrupted_is_uninterrupted(tmp_path, whole, after):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(Stopped):
        write(path, progress=stopping(after))
    assert whole.startswith(path.read_bytes())
    assert len(path.read_bytes().splitlines()) == -(-after // 4) * 4
    told = []
    write(path, progress=lambda *news: told.append(news))
    assert path.read_bytes() == whole
    assert told[0] == (0, -(-after // 4) * 4)
    assert sum(rows for _, rows in told) == 10


@pytest.mark.parametrize("lines", [0, 3, 9])
def test_a_torn_line_is_written_anew_and_nothing_twice(tmp_path, whole, lines):
    path = tmp_path / "answers.jsonl"
    write(path)
    kept = b"".join(whole.splitlines(keepends=True)[:lines])
    path.write_bytes(kept + whole[len(kept) :][:40])
    write(path)
    assert path.read_bytes() == whole
    before = path.stat().st_mtime_ns
    write(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (whole, before)


def test_whatever_is_missing_is_filled_in(tmp_path, whole):
    path = tmp_path / "answers.jsonl"
    write(path)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[3:9]))
    write(path)
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"key": jax.random.key(4)}, r"key: \[0, 3\] there, \[0, 4\] here"),
        ({"choice": Choice(temperature=0.5)}, "temperature: 1.0 there, 0.5 here"),
        ({"limits": Limits(tokens=13, rows=4)}, "tokens: 12 there, 13 here"),
        ({"count": 3}, "count: 2 there, 3 here"),
        ({"requests": REQUESTS[:3]}, "requests: "),
        ({"system": "other"}, "requests: "),
    ],
)
def test_a_file_of_other_settings_is_refused(tmp_path, changed, sentence):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(Stopped):
        write(path, progress=stopping(0))
    with pytest.raises(InputError, match="was begun with other settings.*" + sentence) as refused:
        write(path, **changed)
    assert "\n" not in str(refused.value)
    other = jax.tree.map(lambda x: x * 1.5, MODEL.params)
    with pytest.raises(InputError, match="model: "):
        generate(
            *(path, MODEL.config, other, MODEL.tokenizer, REQUESTS),
            limits=LIMITS,
            count=2,
            key=KEY,
        )


def test_what_else_is_there_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": 0}\n')
    with pytest.raises(InputError, match=r"is there without answers.jsonl.settings.json; expected"):
        write(path)
    assert path.read_text() == '{"id": 0}\n'
    (tmp_path / "answers.jsonl.settings.json").write_text("{")
    with pytest.raises(InputError, match=r"settings.json is damaged; expected"):
        write(path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "file" / "answers.jsonl")


def test_a_damaged_line_is_named(tmp_path, whole):
    path = tmp_path / "answers.jsonl"
    write(path)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(InputError, match=r"line 3 of .* is not JSON"):
        write(path)


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "answers.jsonl"

    def progress(tokens, rows):
        with pytest.raises(InputError, match="is in use by another process; expected one"):
            write(path)
        raise Stopped

    with pytest.raises(Stopped):
        write(path, progress=progress)
    write(path)


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ([Request(messages=[])], "request 1: the conversation has no messages; expected"),
        (
            [REQUESTS[0], Request(messages=[{"role": "owl", "content": "hu"}])],
            "request 2: message 0 is of role 'owl'; expected one of system, user, assistant",
        ),
        ([REQUESTS[1], REQUESTS[1]], "request 2 has the id 'own'; expected"),
        ([Request(messages=asked("x"), id=1), REQUESTS[0]], "request 2 has the id 1; expected"),
        ([Request(messages=asked("x"), id=1.5)], "request 1 has the id 1.5; expected"),
        ([Request(messages=asked("x" * 200))], "prompt 1 has 2.. tokens; expected at most 148"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(tmp_path, requests, sentence):
    with pytest.raises(InputError, match=sentence):
        write(tmp_path / "answers.jsonl", requests)
    assert [*tmp_path.iterdir()] == []


def test_requests_are_read_from_json_lines(tmp_path):
    path = tmp_path / "asked.jsonl"
    lines = [{"prompt": "hello"}, {"messages": asked("\N{OWL}"), "id": "owl", "else": 1}]
    path.write_text("\n\n".join(json.dumps(line) for line in lines))
    assert requests_of(path) == [
        Request(messages=asked("hello")),
        Request(messages=asked("\N{OWL}"), id="owl"),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"prompt": "x"}\n\n{"prompt"\n', "line 3 of .* is not JSON"),
        (b'{"prompt": "x"}\n[1]\n', r"line 2 of .* is \[1\]; expected a JSON object"),
        (b'{"prompt": 3}', "line 1 of .* has neither a list of messages nor the text of a prompt"),
        (b'{"prompt": "\xff"}', "line 1 of .* is not JSON"),
        (b'{"prompt": "\\ud83e"}', "line 1 of .* is not JSON .*surrogates not allowed"),
        (b"\n", "has no lines; expected requests"),
        (None, "cannot be read"),
    ],
)
def test_files_that_hold_no_requests_are_refused(tmp_path, content, sentence):
    path = tmp_path / "asked.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as refused:
        requests_of(path)
    assert re.search("expected", str(refused.value))


def test_a_text_is_gone_on_with_where_there_is_no_template(tmp_path):
    config, params, tokenizer = tiny_model(template=None)
    path = tmp_path / "answers.jsonl"
    options = {"limits": LIMITS, "key": KEY, "choice": Choice(temperature=0)}
    generate(path, config, params, tokenizer, REQUESTS[:1], **options)
    ((_, line),) = jsonl.read(path)
    assert line["messages"] == asked("hello")
    prompt = tokenizer.encode("hello")
    (known,) = sample(config, params, [prompt], stops=(tokenizer.eos_token_id,), **options)
    assert line["tokens"] == known.tokens.tolist()
