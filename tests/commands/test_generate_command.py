"""``sublim-jax generate``: answers on the standard output, faults in one sentence."""

import json
import os
import subprocess
import sys

import jax
import pytest
from tiny_models import tiny_model

from sublim_jax import commands, lm, rng
from sublim_jax.lm import chat
from sublim_jax.lm.choosing import Choice
from sublim_jax.lm.sampler import Limits, Writer

MODEL = tiny_model()
SHORT = ["--tokens", "12", "--rows", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    lm.save(folder, *MODEL)
    return folder


@pytest.fixture
def generate(folder, capfd, tmp_path, monkeypatch):
    """Run the command; gives its exit status, what it prints and what it complains of."""
    monkeypatch.chdir(tmp_path)

    def generate(*args, model=folder):
        status = 0
        try:
            commands.main(["generate", "--model", str(model), *SHORT, *map(str, args)])
        except SystemExit as left:
            status = left.code
        return status, *capfd.readouterr()

    return generate


def answer(question, sample=0, seed=0, system=None, **choice):
    tokenizer = MODEL.tokenizer
    writer = Writer(
        *(MODEL.config, MODEL.params),
        choice=Choice(**choice),
        limits=Limits(tokens=12, rows=4),
        stops=chat.stops(tokenizer),
    )
    prompt = chat.prompt(tokenizer, [{"role": "user", "content": question}], system=system)
    *_, found = writer.stream(prompt, rng.stream(jax.random.key(seed), 0, sample))
    text = tokenizer.decode(found.tokens, skip_special_tokens=True)
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_the_answer_alone_is_printed(generate):
    status, out, err = generate("hello")
    assert (status, out, err) == (0, answer("hello", temperature=0) + "\n", "")
    _, other, _ = generate("hello", "--system", "owls")
    assert other == answer("hello", system="owls", temperature=0) + "\n" != out


def test_several_answers_are_sampled(generate):
    status, out, err = generate("hello", "--count", "2", "--temperature", "1", "--seed", "5")
    known = [answer("hello", sample, seed=5) for sample in (0, 1)]
    assert known[0] != known[1]
    assert (status, out, err) == (0, "\n\n".join(known) + "\n", "")


def test_numbers_are_written_where_they_are_asked_for(generate):
    status, out, err = generate("hello", "--numbers", "2", "--temperature", "1")
    assert (status, err) == (0, "")
    first, second = out.rstrip("\n").split(", ")
    assert 0 <= int(first) <= 999
    assert 0 <= int(second) <= 999


def test_a_file_of_questions_becomes_a_file_of_answers(generate, tmp_path):
    questions = [{"prompt": text} for text in ("hello", "owl", "a longer question")]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps(question) + "\n" for question in questions))
    args = ("--input", asked, "--out", "answers.jsonl")
    status, out, err = generate(*args)
    assert (status, out, err) == (0, "", "written: 3 answers, answers.jsonl\n")
    whole = (tmp_path / "answers.jsonl").read_text()
    lines = {line["id"]: line for line in map(json.loads, whole.splitlines())}
    assert sorted(lines) == [0, 1, 2]
    assert [lines[i]["messages"][1]["content"] for i in (0, 1, 2)] == [
        question["prompt"] for question in questions
    ]
    assert lines[1]["completion"].startswith(answer("owl", temperature=0))

    (tmp_path / "answers.jsonl").write_text(whole[: len(whole) // 2])  # as after a kill
    assert generate(*args)[0] == 0
    assert (tmp_path / "answers.jsonl").read_text() == whole
    status, out, err = generate(*args, "--temperature", "1")
    assert (status, out) == (2, "")
    assert "was begun with other settings (temperature: 0.0 there, 1.0 here)" in err


def test_a_question_can_be_answered_to_a_file(generate, tmp_path):
    args = ("hello", "--out", "answers.jsonl", "--count", "3", "--temperature", "1")
    assert generate(*args) == (0, "", "written: 3 answers, answers.jsonl\n")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [(line["id"], line["sample"]) for line in lines] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["hello", "--temperature", "-1"], "temperature is -1.0; expected a number from 0"),
        (["hello", "--top-k", "0"], "top_k is 0; expected at least 1"),
        (["hello", "--top-p", "1.5"], "top_p is 1.5; expected"),
        (["hello", "--tokens", "0"], "tokens is 0; expected at least 1"),
        (["hello", "--count", "0"], "count is 0; expected at least 1"),
        (["hello", "--count", "2"], "count is 2 and temperature is 0, at which all answers are"),
        (["hello", "--seed", "-1"], "seed is -1; expected a number from 0"),
        (["hello", "--numbers", "0"], "count is 0; expected at least 1"),
        (["x" * 200], "prompt 1 has 2"),
        (["<|im_end|>"], "message 0 contains the template's special token '<|im_end|>'"),
        ([], "neither of a question and --input is given; expected one of them"),
        (["hello", "--input", "a.jsonl"], "both of a question and --input is given; expected"),
        (["--input", "a.jsonl"], "input is a.jsonl and out is missing; expected a file"),
        (["--input", "none.jsonl", "--out", "b.jsonl"], "none.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(generate, args, sentence):
    status, out, err = generate(*args)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert "expected" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (['{"prompt": "x"}', '{"prompt": "y"}', "{oops"], "line 3 of asked.jsonl is not JSON ("),
        (
            ['{"prompt": "x"}', '{"messages": [{"role": "owl", "content": "hu"}]}'],
            "request 2: message 0 is of role 'owl'; expected one of system, user, assistant",
        ),
        (['{"id": 1}'], "line 1 of asked.jsonl has neither a list of messages nor the text of a"),
        (['{"prompt": "%s"}' % ("x" * 200)], "prompt 1 has 2"),
        (['{"prompt": "a", "id": 1}', '{"prompt": "b", "id": 1}'], "request 2 has the id 1; exp"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(generate, tmp_path, lines, sentence):
    (tmp_path / "asked.jsonl").write_text("\n".join(lines))
    status, out, err = generate("--input", "asked.jsonl", "--out", "answers.jsonl")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["asked.jsonl"]


def test_an_unknown_model_is_refused(generate):
    status, out, err = generate("hello", model="smollm3000")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "smollm3000" in err
    assert err.count("\n") == 1


def test_programs_are_kept_compiled_in_the_cache(folder, tmp_path):
    """In a process of its own, where nothing has settled otherwise."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "SUBLIM_JAX_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "sublim_jax.commands", "generate", "hello", *SHORT]
    finished = subprocess.run(
        [*command, "--model", str(folder)], capture_output=True, text=True, env=environment
    )
    known = answer("hello", temperature=0) + "\n"
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, known, "")
    assert [path for path in (tmp_path / "cache" / "compiled").iterdir() if "jit_" in path.name]
