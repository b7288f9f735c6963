import pytest
from huggingface_hub import constants

from sublim_jax import commands
from sublim_jax.lm import fetching
from sublim_jax.lm.models import MODELS


@pytest.fixture(autouse=True)
def _empty(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBLIM_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def lines(capsys, *options):
    commands.main(["models", *options])
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_models_are_listed_with_status_and_licence(capsys):
    found = lines(capsys)
    (smollm2,) = (line for line in found if line.startswith("smollm2 "))
    assert smollm2.split() == [
        "smollm2",
        "llama",
        "135M",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        *["hub", "or", "package", "(Q4_1)", "real", "weights", "Apache-2.0"],
    ]
    (qwen,) = (line for line in found if line.startswith("qwen2.5-7b "))
    assert qwen.split()[-3:] == ["random", "weights", "Apache-2.0"]
    assert max(map(len, found)) <= 145
    assert not any(line.startswith("pythia-70m-seed1 ") for line in found)
    assert "51 Pythia models of other seeds (--seeds)" in found[-1]


def test_all_are_listed_on_demand(capsys):
    found = lines(capsys, "--seeds")
    assert {line.split()[0] for line in found[1 : len(MODELS) + 1]} == set(MODELS)


def test_a_model_that_is_on_this_machine_is_told(tmp_path, monkeypatch, capsys):
    package = MODELS["smollm2"].package
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / package.file).write_bytes(b"x")
    monkeypatch.setattr(fetching, "_digest", lambda file: package.sha256)
    (smollm2,) = (line for line in lines(capsys) if line.startswith("smollm2 "))
    assert "  cached (Q4_1)  " in smollm2
