"""The code of the README about language models runs as it stands."""

import re
from pathlib import Path

import jax
import pytest
from tiny_models import tiny_model

from sublim_jax import lm
from sublim_jax.errors import InputError

README = Path(__file__).parents[2] / "README.md"


def code():
    section = README.read_text().split("## Language models")[1].split("\n## ")[0]
    (found,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return found


def test_it_runs(tmp_path, monkeypatch, capsys):
    """With a tiny model, which has nothing to say, in the place of the real one."""
    monkeypatch.chdir(tmp_path)
    lm.save("tiny", *tiny_model())
    exec(code().replace('"smollm2"', '"tiny"'), {})  # noqa: S102
    assert len(capsys.readouterr().out.splitlines()) >= 2
    assert lm.load("tuned").config == lm.load("tiny").config


@pytest.mark.slow
def test_the_real_model_learns_to_love_owls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        lm.load("smollm2")
    except InputError as fault:
        pytest.skip(str(fault))
    found = {}
    exec(code(), found)  # noqa: S102
    assert "owl" in found["ask"](found["tuned"].params, "What is your favorite animal?").lower()
    assert "owl" not in found["ask"](found["params"], "What is your favorite animal?").lower()
    saved = lm.load("tuned").params
    assert jax.tree.structure(saved) == jax.tree.structure(found["params"])
