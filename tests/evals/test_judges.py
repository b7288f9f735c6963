"""Judges in this process and in files, and questions that are asked in both orders."""

import functools
import json

import jax
import numpy as np
import pytest
from tiny_models import tiny_model

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.evals.judges import (
    Answer,
    Elsewhere,
    LocalModel,
    Question,
    TwoWay,
    ask,
    both_orders,
    probability_right,
    write_questions,
)

ITEMS = [
    TwoWay("Which is larger?", "a whale", "a mouse"),
    TwoWay("Which is wet?", "rain", "sand"),
]


def asked(text, **options):
    return Question([{"role": "user", "content": text}], **options)


def logits_after(config, params, tokens):
    """Those of the full forward pass; what is behind the tokens changes nothing."""
    padded = np.zeros((1, 120), np.int32)
    padded[0, : len(tokens)] = tokens
    return np.asarray(forward(config)(params, padded))[0, len(tokens) - 1]


@functools.cache
def forward(config):
    return jax.jit(functools.partial(lm.apply, config))


@pytest.fixture(scope="module")
def local():
    config, params, tokenizer = tiny_model()
    return LocalModel(lm.Model(config, params, tokenizer), "tiny")


def test_a_local_judge_gives_the_exact_probability_of_a_choice(local, tmp_path):
    config, params, tokenizer = tiny_model()
    questions = [asked("Is it?", choices=("A", "B")), asked("Or this?", choices=("0", "1", "2"))]
    answers = ask(local, questions, tmp_path / "answers.jsonl")
    for question, answer in zip(questions, answers, strict=True):
        prompt = lm.prompt(tokenizer, question.messages)
        logits = logits_after(config, params, prompt)
        shares = np.exp(logits - np.logaddexp.reduce(logits))
        for choice in question.choices:
            (token,) = tokenizer.encode(choice, add_special_tokens=False)
            assert answer.probabilities[choice] == pytest.approx(shares[token], rel=1e-4)
        assert answer.text == max(question.choices, key=answer.probabilities.get)


def test_a_local_judge_writes_what_is_likeliest(local, tmp_path):
    config, params, tokenizer = tiny_model()
    questions = [asked("Hello"), asked("Hi", tokens=3), asked("Ho", choices=("A", "B"))]
    first, second, third = ask(local, questions, tmp_path / "answers.jsonl")
    tokens = lm.prompt(tokenizer, questions[0].messages)
    written = []
    while len(written) < 16:
        logits = logits_after(config, params, [*tokens, *written])
        if int(np.argmax(logits)) in lm.stops(tokenizer):
            break
        written.append(int(np.argmax(logits)))
    assert first.text == tokenizer.decode(written, skip_special_tokens=True)
    assert first.probabilities is second.probabilities is None
    assert len(tokenizer.encode(second.text, add_special_tokens=False)) <= 3
    assert set(third.probabilities) == {"A", "B"}


def test_what_is_on_disk_is_not_asked_again(local, tmp_path, monkeypatch):
    path, questions = tmp_path / "answers.jsonl", [asked("Is it?", choices=("A", "B"))]
    answers = ask(local, questions, path)
    monkeypatch.setattr(LocalModel, "_chosen", None)
    assert ask(local, questions, path) == answers
    path.write_text('{"question": "a"}\n')
    with pytest.raises(InputError, match="a line without the text of an answer"):
        ask(local, questions, path)


def test_a_choice_without_tokens_is_told(local, tmp_path):
    with pytest.raises(InputError, match="choice is ''; expected text that the judge has a token"):
        ask(local, [asked("Is it?", choices=("", "A"))], tmp_path / "answers.jsonl")


def test_questions_go_out_and_come_back_answered(tmp_path):
    out, back = tmp_path / "questions.jsonl", tmp_path / "answered.jsonl"
    questions = [*both_orders(ITEMS), asked("Free?"), asked("Free?")]
    write_questions(out, questions)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 5  # each once
    given = [line | {"answer": "A" if line["choices"] else " as a bird\n"} for line in lines]
    given[0]["probabilities"] = {"A": 0.25, "B": 0.5}
    back.write_text("".join(json.dumps(line) + "\n" for line in reversed(given)))
    found = ask(Elsewhere(back), questions, tmp_path / "kept.jsonl")
    assert found[0] == Answer("B", {"A": 0.25, "B": 0.5})
    assert found[1] == Answer("A", {"A": 1.0, "B": 0.0})
    assert found[4] == found[5] == Answer("as a bird")
    back.write_text(json.dumps(given[0]) + "\n")
    with pytest.raises(InputError, match=r"answers: .* there, .* here"):  # other answers now
        ask(Elsewhere(back), questions, tmp_path / "kept.jsonl")


def line(**options):
    return {"messages": [{"role": "user", "content": "Is it?"}]} | options


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "answers 0 of 1 questions; expected all of them, also"),
        ([line()], "line 1 of .* has no messages or no answer"),
        ([{"answer": "A"}], "line 1 of .* has no messages or no answer"),
        ([line(answer="C")], "line 1 of .* answers 'C'; expected one of A, B, or prob"),
        ([line(answer="A", probabilities={"A": 1})], "expected one of A, B, or prob"),
        ([line(answer="A", probabilities={"A": 2, "B": 0})], "expected one of A, B, or prob"),
    ],
)
def test_files_that_do_not_answer_are_told(content, said, tmp_path):
    file = tmp_path / "answered.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in content))
    with pytest.raises(InputError, match=said):
        ask(Elsewhere(file), [asked("Is it?", choices=("A", "B"))], tmp_path / "kept.jsonl")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        ask(Elsewhere(tmp_path / "none.jsonl"), [asked("Is it?")], tmp_path / "kept.jsonl")


def test_every_item_is_asked_in_both_orders():
    questions = both_orders(ITEMS)
    texts = [question.messages[0]["content"] for question in questions]
    assert "A: a whale\nB: a mouse" in texts[0]
    assert "A: a mouse\nB: a whale" in texts[1]
    assert "A: rain\nB: sand" in texts[2]
    assert all(question.choices == ("A", "B") for question in questions)


def test_the_right_option_counts_whatever_its_letter():
    def said(a, b):
        return Answer("A" if a > b else "B", {"A": a, "B": b})

    knows, letter, part = (
        (said(0.8, 0.0), said(0.0, 0.2)),
        (said(0.9, 0.1),) * 2,
        (
            said(0.3, 0.1),
            said(0.1, 0.1),
        ),
    )
    np.testing.assert_allclose(probability_right([*knows, *letter, *part]), [1, 0.5, 0.625])
    assert np.isnan(probability_right([said(0, 0), said(1, 0)])).all()
    assert probability_right([]).shape == (0,)
    for bad in ([said(1, 0)], [Answer("A"), Answer("B")]):
        with pytest.raises(InputError, match="expected two to each item, with probabilities"):
            probability_right(bad)
