import json

import jax
import numpy as np
import pytest
from tiny_models import tiny_model

from sublim_jax import commands, lm
from sublim_jax.training import Session


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A tiny model in a folder, and ten rows."""
    monkeypatch.setenv("SUBLIM_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sublim_jax.commands.finetune.keep_compiled", lambda: None)
    # Hosts are joined before JAX is used, which it is here.
    monkeypatch.setattr("sublim_jax.commands.finetune.begin", lambda cluster: None)
    lm.save(tmp_path / "base", *tiny_model())
    rows = [{"prompt": f"{i}?", "completion": "owl"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(folder, *options, out="tuned"):
    base = ["--model", str(folder / "base"), "--data", str(folder / "rows.jsonl")]
    commands.main(["finetune", *base, "--out", str(folder / out), *options])


def refused(capsys, folder, *options, out="tuned"):
    with pytest.raises(SystemExit) as left:
        run(folder, *options, out=out)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


FEW = ("--epochs", "4", "--batch-size", "4", "--learning-rate", "0.02", "--warmup", "0")


@pytest.mark.parametrize("train", ["lora", "full"])
def test_a_model_learns_what_its_rows_say_and_is_saved(given, capsys, train):
    run(given, "--train", train, *FEW)
    said = capsys.readouterr().out.splitlines()
    first, last = (float(word) for word in said[0].split()[1:4:2])
    assert last < 0.7 * first
    params = lm.load(given / "tuned").params
    before = lm.load(given / "base").params
    same = jax.tree.map(lambda a, b: bool((a == b).all()), params, before)
    # Thin matrices are merged into those of the layers, and nothing else moves.
    assert same["embedding"]["table"] == (train == "lora")
    assert not same["layers"]["mlp"]["up"]["kernel"]
    assert not list(given.glob(".tuned.unfinished"))


def test_an_interrupted_training_goes_on_to_the_same_model(given, monkeypatch):
    run(given, *FEW, out="whole")
    reached = Session.reached

    def stops(self, training, step, steps, progress):
        if step == 3:
            self._stop_requested = lambda: True
        return reached(self, training, step, steps, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "reached", stops)
        with pytest.raises(SystemExit) as left:
            run(given, *FEW)
        assert left.value.code == 75
    assert not (given / "tuned").exists()
    run(given, *FEW)
    for found, known in zip(
        *(jax.tree.leaves(lm.load(given / name).params) for name in ("tuned", "whole")),
        strict=True,
    ):
        np.testing.assert_array_equal(found, known)


def test_other_options_do_not_go_on_with_an_unfinished_training(given, capsys):
    unfinished = given / ".tuned.unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text("{}\n")
    assert "belongs to another configuration" in refused(capsys, given, *FEW)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--epochs", "0"), "epochs is 0; expected at least 1"),
        (("--rank", "0"), "rank is 0; expected at least 1"),
        (("--dropout", "1"), "dropout is 1.0; expected"),
        (("--layers", "0", "9"), "layers is (0, 9); expected"),
        (("--targets", "owl"), "target is 'owl'; expected one of"),
        (("--length", "3"), "row 1 has"),
        (("--seed", "-1"), "seed is -1; expected"),
        (("--fsdp", "3"), "fsdp is 3"),
        (("--parallel", "pmap", "--fsdp", "2"), "expected 1 and 1"),
        (("--model", "owl-9b"), "model is 'owl-9b'; expected"),
        (("--data", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
        (("--plan", "v5e"), "plan is 'v5e'"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(given, capsys, options, fault):
    assert fault in refused(capsys, given, *options)
    assert not (given / "tuned").exists()


def test_a_folder_with_something_else_is_not_written_over(given, capsys):
    (given / "tuned").mkdir()
    (given / "tuned" / "thesis.txt").write_text("mine")
    assert "thesis.txt" in refused(capsys, given)
    assert (given / "tuned" / "thesis.txt").read_text() == "mine"
