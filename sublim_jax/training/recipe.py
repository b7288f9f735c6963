"""How long and how fast to train."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import optax

from sublim_jax.errors import InputError
from sublim_jax.training.schedule import Decay, scheduled

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
        learning_rate: the optimizer's step size, at its highest.
        epochs: passes over the rows.
        batch_size: rows in a step.
        warmup: steps in which the learning rate rises to its highest.
        decay: how it falls after them: not at all (``"none"``), or to 0 by a straight line
            (``"linear"``) or half a cosine (``"cosine"``).
        clip: Euclidean norm, over all parameters, to which longer gradients are cut.
        weight_decay: of Adam, which it makes AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101):
            times the learning rate, it pulls every parameter toward 0.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: float = 3e-4
    epochs: int = 5
    batch_size: int = 1024
    warmup: int = 0
    decay: Decay = "none"
    clip: float | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(OptimizerName):
            expected = ", ".join(get_args(OptimizerName))
            raise InputError(f"optimizer is {self.optimizer!r}; expected one of {expected}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}; expected a positive number")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip is {self.clip}; expected a positive number")
        decays = self.weight_decay != 0 and self.optimizer != "adam"
        if decays or not 0 <= self.weight_decay < float("inf"):
            raise InputError(
                f"weight_decay is {self.weight_decay} with {self.optimizer}; expected at least 0, "
                "and 0 unless the optimizer is adam"
            )
        scheduled(warmup=self.warmup, decay=self.decay)

    def transformation(self) -> optax.GradientTransformation:
        """Make the optax transformation.

        The learning rate is part of its state, so that one compiled program serves every rate, and
        members of an ensemble may differ in it.
        """
        make, fixed = TRANSFORMATIONS[self.optimizer]
        if self.weight_decay:
            make, fixed = optax.adamw, fixed | {"weight_decay": self.weight_decay}
        core = optax.inject_hyperparams(make, static_args=tuple(fixed))(
            learning_rate=self.learning_rate, **fixed
        )
        parts = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        parts.append(core)
        if self.warmup or self.decay != "none":
            parts.append(scheduled(warmup=self.warmup, decay=self.decay))
        return optax.chain(*parts) if len(parts) > 1 else core
