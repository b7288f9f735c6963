"""How long and how fast to train."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import optax

from sublim_jax.errors import InputError

OptimizerName = Literal["adam", "sgd", "momentum", "lion"]

TRANSFORMATIONS: dict[OptimizerName, tuple[Callable[..., Any], dict[str, float]]] = {
    "adam": (optax.adam, {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0}),
    "sgd": (optax.sgd, {}),
    "momentum": (optax.sgd, {"momentum": 0.9}),
    "lion": (optax.lion, {"b1": 0.9, "b2": 0.99, "weight_decay": 0.0}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimizer and length of a training; the defaults are the paper's for MNIST.

    Attributes:
        optimizer: ``"adam"`` (betas .9 and .999, epsilon 1e-8), plain ``"sgd"``, ``"momentum"``
            (heavy ball, .9) or ``"lion"`` (betas .9 and .99, no weight decay; Chen et al. 2023,
            arXiv 2302.06675).
        learning_rate: the optimizer's constant step size.
        epochs: passes over the rows.
        batch_size: rows in a step.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: float = 3e-4
    epochs: int = 5
    batch_size: int = 1024

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(OptimizerName):
            expected = ", ".join(get_args(OptimizerName))
            raise InputError(f"optimizer is {self.optimizer!r}; expected one of {expected}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}; expected a positive number")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")

    def transformation(self) -> optax.GradientTransformation:
        """Make the optax transformation.

        The learning rate is part of its state, so that one compiled program serves every rate, and
        members of an ensemble may differ in it.
        """
        make, fixed = TRANSFORMATIONS[self.optimizer]
        return optax.inject_hyperparams(make, static_args=tuple(fixed))(
            learning_rate=self.learning_rate, **fixed
        )
