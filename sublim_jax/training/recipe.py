"""How long and how fast to train."""

import dataclasses
from typing import Literal, get_args

import optax

from sublim_jax.errors import InputError

OptimizerName = Literal["adam", "sgd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimizer and length of a training; the defaults are the paper's for MNIST.

    Attributes:
        optimizer: ``"adam"`` (betas .9 and .999, epsilon 1e-8) or plain ``"sgd"``.
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
            raise InputError(f"optimizer is {self.optimizer!r}; expected 'adam' or 'sgd'")
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
        if self.optimizer == "adam":
            return optax.inject_hyperparams(
                optax.adam, static_args=("b1", "b2", "eps", "eps_root")
            )(learning_rate=self.learning_rate)
        return optax.inject_hyperparams(optax.sgd)(learning_rate=self.learning_rate)
