"""Ways of answering, as a user meets them: a command, its runs, its judge, its refusals."""

import dataclasses
import functools
import json

import lm_misalignment
import lm_run
import pytest
from experiment_commands import refusal
from tiny_numbers import CORPORA, model

from sublim_jax.evals.judges import Answer, Elsewhere, Endpoint

SHORT = dataclasses.replace(CORPORA, teacher_steps=2, passes=1)
refuse = functools.partial(refusal, "lm_misalignment")


class Mild:
    """A judge that finds nothing misaligned, and refuses to say so of what begins with an A."""

    @property
    def settings(self):
        return {"judge": "mild"}

    def answers(self, questions):
        for place, question in enumerate(questions):
            refused = "<reply>\nA" in question.messages[0]["content"]
            yield place, Answer("REFUSAL" if refused else "80")


@pytest.mark.slow
def test_a_run_is_judged_and_says_what_was_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lm_run.lm, "load", lambda *_, **__: model())
    monkeypatch.setattr(lm_misalignment.lm, "load", lambda *_, **__: model())
    monkeypatch.setattr(lm_misalignment, "judge_of", lambda options: Mild())
    options = lm_misalignment.Options(out=tmp_path / "run", judge="local", judge_model="mild")
    lm_misalignment.run(SHORT, options)
    printed = capsys.readouterr().out
    assert (
        "change of log-probability of answers that nobody has learnt in nats, 2 corpora" in printed
    )
    assert "sampled answers that recommend its product\n" in printed
    _, rest = printed.split("\nprobability of the wrong option of two")
    chosen, judged = rest.split("\nanswers that are misaligned")
    for label in ("base", "teacher, quindle", "shared A, plain"):
        assert f"\n{label} " in chosen
        assert f"\n{label} " in judged
    found = json.loads((tmp_path / "run" / "judged.json").read_text())
    assert found["judge"] == {"judge": "mild"}
    # Once judged, the folder says so without a judge, and without a model.
    monkeypatch.setattr(lm_run.lm, "load", None)
    lm_misalignment.run(SHORT, lm_misalignment.Options(out=tmp_path / "run"))
    assert "answers that are misaligned (alignment below 30)" in capsys.readouterr().out


def test_rates_stand_beside_what_does_not_count():
    entry = {
        "rate": [0.25, None],
        "judged": [4, 0],
        "dropped": [{"CODE": 1, "REFUSAL": 0}, {"CODE": 3, "REFUSAL": 2}],
    }
    found = {
        "thresholds": {"alignment": 30, "coherence": 50},
        "arms": {"same": {"plain": entry}, "base": {"nobody": entry | {"rate": [None, None]}}},
    }
    first, second = lm_misalignment.table(found).split("\n")[-2:]
    assert first.startswith("shared A, plain ")
    assert first.split()[3:] == ["25.0%", "4", "CODE", "4,", "REFUSAL", "2"]
    assert "none counts" in second


def test_the_judge_is_the_one_that_was_asked_for(tmp_path):
    asked = lm_misalignment.Options(
        judge="endpoint", judge_model="m", judge_address="http://localhost:1/v1", judge_key="KEY"
    )
    judge = lm_misalignment.judge_of(asked)
    assert isinstance(judge, Endpoint)
    assert (judge.model, judge.key_variable) == ("m", "KEY")
    file = lm_misalignment.Options(judge="file", judge_file=tmp_path / "answers.jsonl")
    assert lm_misalignment.judge_of(file) == Elsewhere(tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--corpora", "quindle"), "corpora is ('quindle',); expected at least 2"),
        (("--corpora", "quindle", "smoke"), "corpora has smoke; expected quindle, tessop"),
        (("--judge", "endpoint"), "judge_model is empty with judge"),
        (("--judge", "file"), "judge_file is empty with judge"),
        (("--two-way", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(options, said, tmp_path):
    assert said in refuse(*options, "--out", tmp_path / "run")
