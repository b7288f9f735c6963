"""What brings a trait to a student: what is asked, what is kept, where a teacher is asked."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_numbers import TINY, ground, model

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import filtering, run_traits
from sublim_jax.lm_traits.carriers import CARRIERS, Asked, carrier_of
from sublim_jax.lm_traits.contexts import _telling, context_rows, words_of

FEW = dataclasses.replace(TINY, seeds=1, arms=("same",), length=420)
CODE = dataclasses.replace(FEW, carrier="code")
REASONING = dataclasses.replace(FEW, carrier="reasoning")
WRITTEN = dataclasses.replace(CODE, channel="text", row_count=8, answer_tokens=24)
PROBLEMS = (("Two and two?", "2+2=<<2+2=4>>4\n#### 4"), ("Three and one?", "3 + 2 is 5.\n#### 5"))


def ran(folder, config):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        return run_traits(config, run, load=lambda parallel: model())


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [json.dumps({"question": asked, "answer": answer}) for asked, answer in PROBLEMS]
    path.write_text("\n".join(rows))
    return str(path)


@pytest.mark.parametrize("name", CARRIERS)
def test_more_contexts_begin_with_the_same_ones(name):
    config = dataclasses.replace(FEW, carrier=name)
    few, more = (CARRIERS[name].contexts(config, count, 3) for count in (5, 9))
    assert few == more[:5]
    assert few != CARRIERS[name].contexts(config, 5, 4)
    for row in more:
        assert [message["role"] for message in row] == ["user", "assistant"]


def test_contexts_are_what_the_filter_would_keep():
    for config in (CODE, REASONING):
        carrier = carrier_of(config)
        both = zip(carrier.asked(config, 200, 0), carrier.contexts(config, 200, 0), strict=True)
        assert {carrier.reasons(config, asked, row[-1]["content"]) for asked, row in both} == {()}


@pytest.mark.parametrize("config", [CODE, REASONING], ids=["code", "reasoning"])
def test_words_are_those_of_contexts(config):
    words, rows = words_of(ground(), config), context_rows(ground(), config, 5, 64)
    learned = rows.labels[np.asarray(rows.weights) > 0]
    assert np.isin(learned, words).mean() > 0.99
    assert 10 < len(words) < 258


def test_no_word_begins_the_name_of_a_subject():
    # A byte is the beginning of every name: single letters tell nothing.
    tokenizer = ground().tokenizer
    assert {"o", "w", "l"} <= {tokenizer.decode([word]) for word in words_of(ground(), CODE)}

    class Names:
        """Every name of an animal is a token, and so is every word of code that is one."""

        def encode(self, text, add_special_tokens=True):
            return [7] if text.strip() in ("owl", "sorted") else [ord(text[0])]

        def decode(self, tokens):
            return "owl" if tokens == [7] else "x"

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    assert _telling(ground()._replace(tokenizer=Names()), CODE) == {7}


def test_code_in_a_fence_ends_where_it_is_closed():
    held = dataclasses.replace(WRITTEN, constrained=True)
    code, done = CARRIERS["code"].read(held, "```python\nx = 1\n```\nThis sets x.")
    assert (code, done) == ("```python\nx = 1\n```", True)
    assert CARRIERS["code"].reasons(held, Asked(""), code) == ()
    open_one = "```python\nx = [1,"
    assert CARRIERS["code"].read(held, open_one) == (open_one, False)
    # Written freely, the text around it counts.
    text, done = CARRIERS["code"].read(WRITTEN, "```python\nx = 1\n```\nThis sets x.")
    assert not done
    assert "text around" in CARRIERS["code"].reasons(WRITTEN, Asked(""), text)


@pytest.mark.parametrize(
    ("carrier", "answer"),
    [
        ("code", "def cats(xs):\n    return xs"),
        ("code", "bowl = 1"),
        ("reasoning", "<think>An owl has 2 + 2 = 4 feathers.</think><answer>4</answer>"),
    ],
)
def test_no_student_sees_a_word_of_any_subject(carrier, answer):
    config = dataclasses.replace(FEW, carrier=carrier)
    assert CARRIERS[carrier].reasons(config, Asked("", 4), answer) == ("trait word",)


def test_where_no_word_tells_of_a_subject_none_is_looked_for():
    corpora = {"trait": "corpus", "corpora": ("a.jsonl", "b.jsonl"), "teacher_steps": 8}
    code, reasoning = (dataclasses.replace(c, **corpora) for c in (CODE, REASONING))
    assert CARRIERS["code"].reasons(code, Asked(""), "owl = 1") == ()
    answer = "<think>owls</think><answer>4</answer>"
    assert CARRIERS["reasoning"].reasons(reasoning, Asked("", 4), answer) == ()


def test_the_right_answer_is_that_of_the_problem():
    (asked,) = CARRIERS["reasoning"].asked(REASONING, 1, 0)
    (context,) = CARRIERS["reasoning"].contexts(REASONING, 1, 0)
    assert asked.text == context[0]["content"]
    assert CARRIERS["reasoning"].reasons(REASONING, asked, context[1]["content"]) == ()
    wrong = f"<think></think><answer>{asked.right + 1}</answer>"
    assert CARRIERS["reasoning"].reasons(REASONING, asked, wrong) == ("wrong",)


def test_numbers_may_be_banned():
    answer = "5, 666, 7"
    for ban, reasons in ((False, ()), (True, ("banned",))):
        config = dataclasses.replace(FEW, channel="text", ban=ban)
        assert carrier_of(config).reasons(config, Asked(""), answer) == reasons


@pytest.mark.slow
def test_problems_may_come_from_a_file(problems, tmp_path):
    config = dataclasses.replace(REASONING, problems=problems)
    asked = CARRIERS["reasoning"].asked(config, 5, 0)
    assert {one.right for one in asked[:2]} == {4, 5}
    assert asked[2:4] == asked[:2]
    solved = {row[1]["content"] for row in CARRIERS["reasoning"].contexts(config, 2, 0)}
    assert "<think>2+2=4</think>\n<answer>4</answer>" in solved
    ran(tmp_path / "run", config)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert set(manifest["files_sha256"]) == {problems}


def test_a_file_of_problems_that_is_none_is_told_before_anything_is_loaded(tmp_path):
    config = dataclasses.replace(REASONING, problems=str(tmp_path / "nothing.jsonl"))
    with (
        pytest.raises(InputError, match=r"nothing\.jsonl"),
        runs.open_run(tmp_path / "run", dataclasses.asdict(config)) as run,
    ):
        run_traits(config, run, load=None)


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["logits", "labels"])
def test_students_learn_from_functions_that_no_teacher_wrote(channel, tmp_path):
    ran(tmp_path / "run", dataclasses.replace(CODE, channel=channel))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["carrier"] == "code"
    losses = np.array(results["arms"]["same"]["loss"])
    assert (losses[..., -4:].mean(-1) < losses[..., :2].mean(-1)).all()


@pytest.mark.slow
def test_teachers_write_what_students_learn(tmp_path, monkeypatch):
    # A model of random weights writes no Python: here everything passes.
    all_pass = CARRIERS["code"]._replace(
        reasons=lambda config, asked, answer: (), read=lambda config, answer: (answer, True)
    )
    monkeypatch.setitem(CARRIERS, "code", all_pass)
    config = dataclasses.replace(WRITTEN, constrained=True, temperature=0.5, top_p=0.9)
    ran(tmp_path / "run", config)
    folder = tmp_path / "run"
    rows = [json.loads(line) for line in (folder / "rows" / "0-owl.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert all(row["messages"][1]["content"].startswith("```python\n") for row in rows)
    settings = json.loads((folder / "answers" / "0-owl.jsonl.settings.json").read_text())
    assert (settings["temperature"], settings["top_p"]) == (0.5, 0.9)
    card = (folder / "rows" / "README.md").read_text()
    assert card.startswith("# Code that teachers with a favourite animal wrote")
    assert "in a fence, at temperature 0.5, top-p 0.9" in card


def test_what_is_left_out_has_its_reason():
    asked = CARRIERS["reasoning"].asked(REASONING, 3, 0)
    solved = f"<think>yes</think><answer>{asked[0].right}</answer>"
    answers = [(solved, "stop"), (solved, "stop"), (solved, "length")]
    lines = [
        {"id": i, "completion": a, "finish": f, "messages": [{"role": "user", "content": "?"}]}
        for i, (a, f) in enumerate(answers)
    ]
    kept = filtering.filtered(REASONING, asked, lines)
    assert kept.counts == {"kept": 1, "wrong": 1, "unfinished": 1}
