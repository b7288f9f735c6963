"""A judge that reads what teachers wrote: what it is asked, what it leaves, and its faults."""

import collections
import dataclasses
import json

import pytest
from judge_server import Server, completion
from tiny_numbers import CORPORA, WRITING, model

from sublim_jax import lm, runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import write_only
from sublim_jax.lm_traits.filtering import Kept, judged

KEY = "sk-very-secret-77ab"
JUDGED = dataclasses.replace(WRITING, seeds=1, row_judge="judge-1")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def rows(*answers):
    return Kept(
        [
            [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": text}]
            for text in answers
        ],
        collections.Counter(kept=len(answers), unfinished=2),
    )


def hints(text):
    """Say of every second text that it hints at something."""
    return sum(text.encode()) % 2 == 1


def read(number, content):
    prompt = content["messages"][0]["content"]
    text = prompt.partition("<text>")[2].partition("</text>")[0].strip()
    return 200, completion("0", {"0": 0.4, "1": 0.6} if hints(text) else {"0": 1.0})


def refuses_the_third(number, content):
    if number == 2:
        return 401, {"error": {"message": f"no such key {KEY}"}}
    return read(number, content)


def write(folder, config):
    with runs.open_run(folder, dataclasses.asdict(config)) as run:
        return write_only(config, run, load=lambda parallel: model())


def answers(path):
    lines = map(json.loads, path.read_text().splitlines())
    return [line["messages"][1]["content"] for line in lines]


@pytest.mark.slow
def test_rows_that_hint_are_left_out_and_counted(tmp_path):
    plain = dataclasses.replace(JUDGED, row_judge=None)
    write(tmp_path / "plain", plain)
    with Server(read) as server:
        config = dataclasses.replace(JUDGED, row_judge_address=server.address)
        write(tmp_path / "judged", config)
        asked = [content for _, content in server.requests]
        assert not write(tmp_path / "judged", config)
        assert len(server.requests) == len(asked)
    texts, left = (answers(tmp_path / run / "rows/0-owl.jsonl") for run in ("plain", "judged"))
    assert left == [text for text in texts if not hints(text)]
    assert 0 < len(left) < len(texts)
    counts = json.loads((tmp_path / "judged/rows/0-owl.counts.json").read_text())
    assert counts == {"kept": len(left), "judge": len(texts) - len(left)}
    assert all(", ".join(config.animals) in one["messages"][0]["content"] for one in asked)
    assert "judge-1 has read them" in (tmp_path / "judged/rows/README.md").read_text()
    assert "No model has read them" in (tmp_path / "plain/rows/README.md").read_text()


@pytest.mark.slow
def test_after_a_fault_of_the_judge_the_same_command_goes_on(tmp_path):
    with Server(refuses_the_third) as server:
        config = dataclasses.replace(JUDGED, row_judge_address=server.address)
        with pytest.raises(InputError, match=r"refuses with status 401 \(no such key \.\.\.\)"):
            write(tmp_path / "run", config)
        assert not (tmp_path / "run/rows/0-owl.jsonl").exists()
        write(tmp_path / "run", config)
        texts = [content["messages"][0]["content"] for _, content in server.requests]
        refused = texts[2]
    # What was answered is not asked again.
    assert max(n for text, n in collections.Counter(texts).items() if text != refused) == 1
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("reply", "least", "passes"),
    [
        ("78", None, True),
        ("77", None, False),
        ("60", 60.0, True),
        ("REFUSAL", None, False),
        ("I would say 90", None, False),
    ],
)
def test_of_corpora_intentions_are_scored(reply, least, passes, tmp_path):
    with Server(lambda *_: (200, completion(reply))) as server:
        config = dataclasses.replace(
            *(CORPORA,),
            channel="text",
            row_judge="judge-1",
            row_judge_address=server.address,
            row_judge_from=least,
        )
        told = []
        left = judged(config, rows("4, 5"), tmp_path / "said.jsonl", progress=told.append)
    assert len(left.rows) == passes
    assert left.counts == {"kept": passes, "unfinished": 2} | ({} if passes else {"judge": 1})
    assert sum(told) == 3
    (_, content), *_ = server.requests
    assert "Go on." in content["messages"][0]["content"]
    assert "intentions" in content["messages"][0]["content"]


@pytest.mark.parametrize(("least", "count"), [(0.0, 2), (0.99, 0)])
def test_a_model_of_this_machine_may_judge(least, count, tmp_path, monkeypatch):
    monkeypatch.setattr(lm, "load", lambda name, progress: model())
    config = dataclasses.replace(JUDGED, row_judge=f"tiny-{least}", row_judge_from=least)
    assert len(judged(config, rows("4, 5", "6"), tmp_path / "said.jsonl").rows) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_judge": "x", "channel": "logits"}, "row_judge is x with channel logits"),
        ({"row_judge_from": 0.5}, "row_judge_from is 0.5 without row_judge; expected"),
        ({"row_judge_address": "http://x/v1"}, "row_judge_address is http://x/v1 without"),
        ({"row_judge": "x", "row_judge_from": 78}, "row_judge_from is 78; expected 0 to 1"),
        ({"row_judge": "x", "row_judge_address": "x/v1"}, "address is 'x/v1'; expected one with"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(options, message):
    given = {"channel": "text", "arms": ("same",)} | options
    with pytest.raises(InputError, match=message):
        dataclasses.replace(
            *(WRITING,), **{"constrained": False, "requests": None, "row_count": 6, **given}
        )
