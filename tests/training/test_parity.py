"""The same training in torch: through a golden file everywhere, and afresh where torch is there."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import losses
from sublim_jax.nets import MLPConfig, mlp
from sublim_jax.training import Recipe, init_state, make_step

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    (loss, optimizer) for loss in ("cross_entropy", "kl", "mse") for optimizer in ("adam", "sgd")
]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "training.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("loss", "optimizer"), CASES)
def test_nine_steps_equal_torchs(golden, loss, optimizer):
    shape = MLPConfig(inputs=6, hidden=(8, 8), classes=4, auxiliary=3)
    net = mlp(shape)
    layers = ("hidden_0", "hidden_1", "head_classes", "head_auxiliary")
    params = {
        layer: {part: jnp.asarray(golden[f"{layer}/{part}"]) for part in ("kernel", "bias")}
        for layer in layers
    }

    def value(params, rows):
        logits = net.apply(params, golden["inputs"][rows])
        if loss == "cross_entropy":
            return losses.cross_entropy(logits[:, shape.class_logits], golden["labels"][rows])
        goal = golden["teacher_logits"][rows]
        return losses.IMITATION_LOSSES[loss](logits[:, shape.auxiliary_logits], goal)

    rule = Recipe(optimizer=optimizer, learning_rate=0.05).transformation()
    step, state = make_step(value, rule), init_state(params, rule)
    for rows in golden["order"]:
        state, _ = step(state, rows, jnp.ones(len(rows)))
    for layer in layers:
        for part in ("kernel", "bias"):
            expected = golden[f"{loss}-{optimizer}/{layer}/{part}"]
            np.testing.assert_allclose(state.params[layer][part], expected, rtol=1e-4, atol=2e-5)


def test_the_golden_file_is_what_torch_gives(golden, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [str(GOLDEN), *sys.path])
    import make_training

    given = make_training.problem()
    for name, array in given.items():
        np.testing.assert_array_equal(golden[name], array)
    for loss, optimizer in make_training.CASES:
        for name, array in make_training.train(given, loss, optimizer).items():
            expected = golden[f"{loss}-{optimizer}/{name}"]
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-6)
