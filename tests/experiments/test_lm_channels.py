"""The three channels as a user meets them: a command, its runs, its refusals."""

import dataclasses
import functools
import json

import lm_channels
import lm_run
import numpy as np
import pytest
from experiment_commands import refusal
from tiny_numbers import model

CONFIG = lm_channels.ChannelsConfig(
    channels=("logits", "labels", "text"), animals=("owl", "cat"), seeds=1, row_counts=(16, 32)
)
refuse = functools.partial(refusal, "lm_channels")


def small(config, channel, count):
    """A run of few tokens from a model of two layers."""
    own = REAL(config, channel, count)
    few = {"first_layer": 1, "length": 120, "observations": 2, "teacher_lr": 0.2, "passes": 1}
    return dataclasses.replace(own, **few, teacher_certainty=1e-6, student_lr=0.02)


REAL = lm_channels.ChannelsConfig.of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "channels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_channels.ChannelsConfig, "of", small)
        patch.setattr(lm_run.lm, "load", lambda *_, **__: model())
        lm_channels.run(CONFIG, lm_channels.Options(out=folder))
    return folder


@pytest.mark.slow
def test_every_channel_is_run_with_every_number_of_rows(finished):
    results = json.loads((finished / "results.json").read_text())
    found = {(entry["channel"], entry["rows"]): entry for entry in results["runs"]}
    assert set(found) == {(c, n) for c in CONFIG.channels for n in CONFIG.row_counts}
    for channel in CONFIG.channels:
        few, many = (found[channel, n] for n in CONFIG.row_counts)
        assert many["tokens"] == pytest.approx(2 * few["tokens"], rel=0.2)
        assert np.shape(few["contrast"]) == (1,)
        assert (few["untuned"] is None) == (channel == "logits")
    # What is asked in two channels at the same places differs in nothing but the noise.
    assert found["logits", 32]["divergence"] == found["labels", 32]["divergence"]
    assert (finished / "channels.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_teachers_are_trained_once(finished):
    for part in ("0-teacher-owl.npz", "0-teacher-cat.npz"):
        files = [
            (finished / f"{c}-{n}" / "parts" / part) for c in CONFIG.channels for n in (16, 32)
        ]
        assert len({file.read_bytes() for file in files}) == 1
    written = [(finished / f"text-{n}" / "rows" / "0-nobody.jsonl").read_bytes() for n in (16, 32)]
    assert written[0] == written[1]


@pytest.mark.slow
def test_a_complete_run_only_draws(finished, capsys, monkeypatch):
    monkeypatch.setattr(lm_channels.ChannelsConfig, "of", small)
    monkeypatch.setattr(lm_run.lm, "load", None)
    lm_channels.run(CONFIG, lm_channels.Options(out=finished))
    printed = capsys.readouterr().out
    for label in lm_channels.CHANNELS.values():
        assert label in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--channels", "logits", "logits"), "channels is ('logits', 'logits'); expected some of"),
        (("--row-counts", "20"), "row_counts is (20,); expected"),
        (("--row-counts", "32", "16"), "row_counts is (32, 16); expected"),
        (("--animals", "owl"), "animals is ('owl',); expected at least 2"),
        (("--model", "owl-9b"), "model is 'owl-9b'; expected"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(words, said, tmp_path):
    assert said in refuse(*words, "--out", tmp_path / "run")
