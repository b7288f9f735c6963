"""The endpoint judge against a real server that fails in all the usual ways."""

import json
import sys
import time

import pytest
from judge_server import Server, completion

from sublim_jax.errors import InputError
from sublim_jax.evals.judges import Answer, Endpoint, Question, ask

KEY = "sk-very-secret-5f3a"
CHOICES = ("0", "1")


def question(text="Is it?", **options):
    return Question([{"role": "user", "content": text}], **options)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def endpoint(server, **options):
    given = {"pause": 0.01, "timeout": 5.0, "attempts": 3, "at_once": 1} | options
    return Endpoint(model="judge-1", address=server.address, **given)


def answered(judge, questions):
    found = dict(judge.answers(questions))
    return [found[place] for place in range(len(questions))]


def test_a_question_goes_out_as_the_protocol_wants_it():
    with Server(lambda *_: (200, completion("yes"))) as server:
        assert answered(endpoint(server), [question(tokens=7)]) == [Answer("yes")]
        limited = endpoint(server, limit="max_completion_tokens")
        answered(limited, [question(tokens=9)])
    (path, content), (_, other) = server.requests
    assert path == "/v1/chat/completions"
    assert content == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "Is it?"}],
        "temperature": 0,
        "max_tokens": 7,
    }
    assert other["max_completion_tokens"] == 9
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_choices_have_the_probabilities_of_their_first_token():
    alternatives = {"0": 0.6, " 0": 0.1, "1": 0.2, "maybe": 0.05}
    with Server(lambda *_: (200, completion("0", alternatives))) as server:
        (answer,) = answered(endpoint(server), [question(choices=CHOICES)])
    assert answer.text == "0"
    assert answer.probabilities == {"0": pytest.approx(0.7), "1": pytest.approx(0.2)}
    content = server.requests[0][1]
    assert (content["logprobs"], content["top_logprobs"], content["max_tokens"]) == (True, 20, 1)


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with Server(lambda *_: (200, completion("yes"))) as server:
        answered(endpoint(server), [question()])
    assert "Authorization" not in server.headers[0]


PASSING = {
    "too many": (429, {"error": {"message": "slow down"}}),
    "fault": (500, b"<html>oops</html>"),
    "overloaded": (503, b""),
    "no JSON": (200, b"{half an ans"),
    "no object": (200, [1, 2]),
    "no choices": (200, {"choices": []}),
    "no message": (200, {"choices": [{"message": None}]}),
    "no text": (200, {"choices": [{"message": {"content": 7}}]}),
    "hang up": (None,),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fault):
    def behave(number, _):
        return PASSING[fault] if number < 2 else (200, completion("yes"))

    with Server(behave) as server:
        assert answered(endpoint(server), [question()]) == [Answer("yes")]
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_is_told_after_the_last_attempt(fault):
    with Server(lambda *_: PASSING[fault]) as server:
        with pytest.raises(InputError, match=r"gave no answer in 3 attempts \(.+\); expected one"):
            answered(endpoint(server), [question()])
        assert len(server.requests) == 3


def test_a_server_that_says_nothing_is_given_up():
    def behave(number, _):
        if number == 0:
            time.sleep(1)
        return 200, completion("yes")

    with Server(behave) as server:
        assert answered(endpoint(server, timeout=0.2), [question()]) == [Answer("yes")]
        server.requests.clear()
        with pytest.raises(InputError, match=r"\(nothing came in 0\.05 s\)"):
            answered(endpoint(server, timeout=0.05, attempts=1), [question()])


def test_nobody_there_is_told():
    with Server(lambda *_: (200, {})) as server:
        address = server.address
    judge = Endpoint(model="m", address=address, attempts=2, pause=0.01)
    with pytest.raises(InputError, match="no connection, or it broke"):
        answered(judge, [question()])


def test_it_waits_as_long_as_the_server_says():
    def behave(number, _):
        if number == 0:
            return 429, {"error": {"message": "later"}}, {"Retry-After": "0.5"}
        return 200, completion("yes")

    with Server(behave) as server:
        answered(endpoint(server, pause=0.001), [question()])
    assert 0.45 < server.times[1] - server.times[0] < 2


def test_pauses_double():
    with Server(lambda *_: (500, b"")) as server, pytest.raises(InputError):
        answered(endpoint(server, pause=0.1, attempts=4), [question()])
    first, _, third = (b - a for a, b in zip(server.times, server.times[1:], strict=False))
    assert third > 1.8 * first


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": f"Incorrect API key: {KEY}"}}, r"status 401 \(Incorrect API"),
        (404, {"error": {"message": "no such model"}}, r"status 404 \(no such model\)"),
        (400, {"message": "too long"}, r"status 400 \(too long\)"),
        (302, b"", r"status 302"),
        (429, {"error": {"code": "insufficient_quota", "message": "pay"}}, r"429 \(pay\)"),
    ],
)
def test_what_will_not_pass_is_told_at_once_and_without_the_key(status, body, said):
    with Server(lambda *_: (status, body)) as server:
        with pytest.raises(InputError, match=said) as told:
            answered(endpoint(server), [question()])
        assert len(server.requests) == 1
    assert KEY not in str(told.value)
    assert "OPENAI_API_KEY" in str(told.value)


def test_a_server_without_log_probabilities_cannot_choose():
    with Server(lambda *_: (200, completion("0"))) as server:
        with pytest.raises(InputError, match="gives no log-probabilities"):
            answered(endpoint(server), [question(choices=CHOICES)])
        assert len(server.requests) == 1


def test_several_are_under_way_at_once_but_no_more_than_allowed():
    def behave(_, content):
        time.sleep(0.05)
        return 200, completion(content["messages"][0]["content"][::-1])

    texts = [f"question {i}" for i in range(12)]
    with Server(behave) as server:
        found = answered(endpoint(server, at_once=4), [question(text) for text in texts])
    assert [answer.text for answer in found] == [text[::-1] for text in texts]
    assert 2 <= server.busiest <= 4


def test_no_more_are_sent_in_a_minute_than_allowed():
    with Server(lambda *_: (200, completion("yes"))) as server:
        many = [question(str(i)) for i in range(5)]
        answered(endpoint(server, at_once=5, per_minute=600), many)
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert sum(gaps) > 0.35  # four gaps of a tenth of a second


def test_answers_are_kept_when_a_later_question_fails(tmp_path):
    path, broken = tmp_path / "answers.jsonl", True

    def behave(_, content):
        text = content["messages"][0]["content"]
        return (400, {"message": "no"}) if broken and text == "3" else (200, completion(text * 2))

    questions = [question(str(i)) for i in (*range(6), 0)]
    with Server(behave) as server:
        judge = endpoint(server)
        with pytest.raises(InputError, match="status 400"):
            ask(judge, questions, path)
        kept = len(path.read_text().splitlines())
        assert kept == 3
        broken, counts = False, []
        before = len(server.requests)
        found = ask(judge, questions, path, progress=counts.append)
        assert [answer.text for answer in found] == [
            q.messages[0]["content"] * 2 for q in questions
        ]
        assert len(server.requests) == before + 6 - kept  # none twice
        assert counts[0] == kept + 1
        assert sum(counts) == len(questions)
        ask(judge, questions, path)
        assert len(server.requests) == before + 6 - kept
    assert KEY not in "".join(file.read_text() for file in tmp_path.iterdir() if file.is_file())
    assert KEY not in repr(judge) + json.dumps(dict(judge.settings))


def test_those_under_way_when_one_fails_are_kept(tmp_path):
    def behave(_, content):
        if content["messages"][0]["content"] == "bad":
            time.sleep(0.1)
            return 400, {"message": "no"}
        time.sleep(0.3)
        return 200, completion("yes")

    path = tmp_path / "answers.jsonl"
    with Server(behave) as server, pytest.raises(InputError, match="status 400"):
        ask(endpoint(server, at_once=2), [question("bad"), *map(question, "abcdef")], path)
    assert len(path.read_text().splitlines()) == 1


def test_the_fault_that_ended_it_is_told_not_those_of_questions_given_up():
    def behave(_, content):
        if content["messages"][0]["content"] == "bad":
            return 401, {"error": {"message": "no such key"}}
        return 200, completion("yes")

    questions = [question("bad"), *(question(str(i)) for i in range(200))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads interleave as on a busy machine
    try:
        with Server(behave) as server:
            for _ in range(10):
                with pytest.raises(InputError, match="status 401"):
                    answered(endpoint(server, at_once=8), questions)
    finally:
        sys.setswitchinterval(interval)


def test_answers_of_another_judge_are_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    with Server(lambda *_: (200, completion("yes"))) as server:
        ask(endpoint(server), [question()], path)
        other = Endpoint(model="judge-2", address=server.address)
        with pytest.raises(InputError, match=r"model: 'judge-1' there, 'judge-2' here"):
            ask(other, [question()], path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": "localhost"}, "address is 'localhost'; expected one with http"),
        ({"at_once": 0}, "at_once is 0; expected at least 1"),
        ({"attempts": 0}, "attempts is 0; expected at least 1"),
        ({"per_minute": 0}, "per_minute is 0; expected a positive number"),
        ({"timeout": -1}, "timeout is -1; expected a positive number"),
    ],
)
def test_bad_settings_are_told(options, said):
    with pytest.raises(InputError, match=said):
        Endpoint(model="m", **options)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Question([]), "has no messages"),
        (question(choices=("A",)), "choices is .*expected none, or at least two"),
        (question(choices=("A", "A")), "choices is .*expected none, or at least two"),
    ],
)
def test_bad_questions_are_told(bad, said, tmp_path):
    judge = Endpoint(model="m", address="http://127.0.0.1:9")
    with pytest.raises(InputError, match=said):
        ask(judge, [bad], tmp_path / "answers.jsonl")
