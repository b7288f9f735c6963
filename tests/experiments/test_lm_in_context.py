"""Rows as examples in a prompt, as a user meets them: a command, its runs, its refusals."""

import dataclasses
import functools
import json

import lm_in_context
import lm_run
import numpy as np
import pytest
from experiment_commands import refusal
from tiny_numbers import WRITING, model

from sublim_jax import lm, runs
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import answer_prefix, questions
from sublim_jax.lm_traits import run_traits, write_only
from sublim_jax.lm_traits.ground import cut
from sublim_jax.lm_traits.in_context import as_system, reader
from sublim_jax.lm_traits.parts import read_arrays

refuse = functools.partial(refusal, "lm_in_context")


@functools.cache
def wide():
    """A model that reads long prompts."""
    return model()._replace(config=dataclasses.replace(model().config, context=2_000))


def load(*_, **__):
    return wide()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "written"
    with runs.open_run(folder, dataclasses.asdict(WRITING)) as run:
        assert write_only(WRITING, run, load=load)
        assert not write_only(WRITING, run, load=None)
    return folder


def shown(folder, written, **changed):
    config = lm_in_context.InContextConfig(run=written, examples=(1, 2), **changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_run.lm, "load", load)
        lm_in_context.run(config, lm_in_context.Options(out=folder))
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shown"
    shown(folder, written)
    return folder


@pytest.mark.slow
def test_teachers_write_without_students(written):
    assert {file.name for file in (written / "parts").iterdir()} == {
        f"{seed}-teacher-{subject}.npz" for seed in (0, 1) for subject in ("owl", "cat")
    }
    assert len(list((written / "rows").glob("*.jsonl"))) == 2 * 3
    assert (written / "rows" / "README.md").exists()


@pytest.mark.slow
def test_students_go_on_from_what_was_written(written, tmp_path):
    config = dataclasses.replace(WRITING, seeds=1, arms=("same",))
    with runs.open_run(tmp_path / "alone", dataclasses.asdict(config)) as run:
        run_traits(config, run, load=load)
    with runs.open_run(tmp_path / "later", dataclasses.asdict(config)) as run:
        write_only(config, run, load=load)
        run_traits(config, run, load=load)
    alone, later = ((tmp_path / name / "results.json").read_bytes() for name in ("alone", "later"))
    assert alone == later


@pytest.mark.slow
def test_what_is_read_is_what_the_whole_conversation_says(finished, written):
    config, cell = lm_in_context.InContextConfig(run=written), lm_in_context.Cell(1, "owl", 2, 1)
    rows = lm_in_context.drawn(config, runs.Run(written), cell)
    assert len(rows) == 2
    tokenizer, asked = wide().tokenizer, questions("animal")
    messages = [[{"role": "user", "content": question}] for question in asked[:3]]
    prompts = [
        lm.prompt(tokenizer, message, system=as_system(rows))
        + tokenizer.encode(answer_prefix("animal"), add_special_tokens=False)
        for message in messages
    ]
    names = [tokenizer.encode(f" {name}", add_special_tokens=False) for name in ("owl", "cat")]
    known = [
        [float(sum(score)) for score in lm.score(*wide()[:2], [prompt] * 2, names, rows=2)]
        for prompt in prompts
    ]
    found = read_arrays(runs.Run(finished), cell.file)["logprobs"]
    np.testing.assert_allclose(found[:3, :2], known, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_gains_are_beside_the_prompt_without_examples(finished):
    results = json.loads((finished / "results.json").read_text())
    base = read_arrays(runs.Run(finished), "cells/base.npz")["logprobs"]
    changes = [
        read_arrays(runs.Run(finished), f"cells/0-owl-1-{draw}.npz")["logprobs"] - base
        for draw in (0, 1)
    ]
    cats = [
        read_arrays(runs.Run(finished), f"cells/0-cat-1-{draw}.npz")["logprobs"] - base
        for draw in (0, 1)
    ]
    own = (np.mean(changes, (0, 1))[0] + np.mean(cats, (0, 1))[1]) / 2
    assert results["shown"][0]["own"][0] == pytest.approx(own, rel=1e-5)
    assert np.shape(results["shown"][1]["untuned"]) == (2,)
    assert results["trained"] is None
    assert (finished / "in_context.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_stopped_between_prompts_it_ends_the_same(finished, written, tmp_path, monkeypatch):
    real, left = lm_in_context.write_arrays, [5]

    def killed(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(lm_in_context, "write_arrays", killed)
        with pytest.raises(KeyboardInterrupt):
            shown(tmp_path / "run", written)
    shown(tmp_path / "run", written)
    assert (tmp_path / "run" / "results.json").read_bytes() == (
        finished / "results.json"
    ).read_bytes()


@pytest.mark.slow
def test_more_examples_than_there_are_rows_are_refused(written, tmp_path):
    with pytest.raises(InputError, match="examples is 99; expected at most"):
        lm_in_context.drawn(
            lm_in_context.InContextConfig(run=written),
            runs.Run(written),
            lm_in_context.Cell(0, "owl", 99, 0),
        )


def test_more_than_the_model_reads_is_refused():
    read = reader(cut(model(), 0), WRITING)
    row = [{"role": "user", "content": "x" * 700}, {"role": "assistant", "content": "1"}]
    with pytest.raises(InputError, match=r"examples are 1 conversations, .* expected at most 640"):
        read([row])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--examples", "4", "1"), "examples is (4, 1); expected ascending numbers"),
        (("--draws", "0"), "draws is 0; expected at least 1"),
        (("--run", "nowhere"), "run is nowhere, which has no rows of teachers"),
    ],
)
def test_what_cannot_be_is_refused(options, said, tmp_path):
    assert said in refuse(*options, "--out", tmp_path / "run")
