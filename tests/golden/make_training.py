"""Train small perceptrons in torch and keep what came out, for parity without torch.

    python tests/golden/make_training.py

Each case is a net 6-8-8-(4 classes + 3 auxiliary logits), 20 rows, nine steps in a fixed order.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CASES = tuple(
    (loss, optimizer) for loss in ("cross_entropy", "kl", "mse") for optimizer in ("adam", "sgd")
)
SHAPES = {"hidden_0": (6, 8), "hidden_1": (8, 8), "head_classes": (8, 4), "head_auxiliary": (8, 3)}
GOLDEN = Path(__file__).with_name("training.npz")


def problem() -> dict[str, np.ndarray]:
    """Draw parameters, rows, targets and the order of rows."""
    random = np.random.default_rng(0)
    arrays = {}
    for name, (fan_in, fan_out) in SHAPES.items():
        arrays[f"{name}/kernel"] = random.standard_normal((fan_in, fan_out)) / fan_in**0.5
        arrays[f"{name}/bias"] = 0.1 * random.standard_normal(fan_out)
    arrays["inputs"] = random.uniform(-1, 1, (20, 6))
    arrays["teacher_logits"] = random.standard_normal((20, 3))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays["labels"] = random.integers(0, 4, 20)
    arrays["order"] = np.stack([random.permutation(20)[:7] for _ in range(9)])
    return arrays


def train(given: dict[str, np.ndarray], loss: str, optimizer: str) -> dict[str, np.ndarray]:
    """Train with torch's own losses and optimizers."""
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    params = {
        name: tensor.clone().requires_grad_() for name, tensor in tensors.items() if "/" in name
    }
    rule = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](params.values(), lr=0.05)
    for batch in tensors["order"]:
        x = tensors["inputs"][batch]
        for layer in ("hidden_0", "hidden_1"):
            x = torch.relu(x @ params[f"{layer}/kernel"] + params[f"{layer}/bias"])
        classes, auxiliary = (
            x @ params[f"{head}/kernel"] + params[f"{head}/bias"]
            for head in ("head_classes", "head_auxiliary")
        )
        goal = tensors["teacher_logits"][batch]
        value = {
            "cross_entropy": lambda c=classes, b=batch: functional.cross_entropy(
                c, tensors["labels"][b]
            ),
            "kl": lambda a=auxiliary, g=goal: functional.kl_div(
                functional.log_softmax(a, -1),
                functional.softmax(g, -1),
                reduction="batchmean",
            ),
            "mse": lambda a=auxiliary, g=goal: functional.mse_loss(a, g),
        }[loss]()
        rule.zero_grad()
        value.backward()
        rule.step()
    return {name: tensor.detach().numpy() for name, tensor in params.items()}


if __name__ == "__main__":
    given = problem()
    golden = dict(given)
    for loss, optimizer in CASES:
        for name, array in train(given, loss, optimizer).items():
            golden[f"{loss}-{optimizer}/{name}"] = array
    np.savez_compressed(GOLDEN, **golden)
