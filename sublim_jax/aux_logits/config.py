"""Configuration of the auxiliary-logit experiment of arXiv 2507.14805, section 6.2."""

import dataclasses

from sublim_jax.data import Dataset
from sublim_jax.errors import InputError
from sublim_jax.losses import ImitationLossName
from sublim_jax.nets import MLPConfig
from sublim_jax.training import OptimizerName, Recipe, steps_per_epoch, watch_steps

OFFICIAL_IMAGES = 60_000  # training images of the full data sets
DEFAULT_LR: dict[OptimizerName, float] = {"adam": 3e-4, "sgd": 0.1}

AT_LEAST = {
    "members": 2,  # for an interval, and for another initialisation
    "aux": 1,
    "teacher_epochs": 1,
    "student_epochs": 1,
    "batch_size": 1,
    "noise_images": 1,
    "observations": 2,
    "curve_images": 1,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxLogitsConfig:
    """What the results depend on. The defaults are the official set-up, with fewer members."""

    members: int = 8
    """Members of the ensemble, each an initialisation with its own teacher, noise and students."""
    dataset: Dataset = "mnist"
    """Images and labels that the teacher learns."""
    aux: int = 3
    """Auxiliary logits."""
    loss: ImitationLossName = "kl"
    """Imitation loss of the students on the chosen logits, at temperature 1."""
    optimizer: OptimizerName = "adam"
    """Optimizer of the students; the teacher's is always Adam."""
    teacher_lr: float = 3e-4
    """Learning rate of the teacher."""
    student_lr: float | None = None
    """Learning rate of the students; by default 3e-4 for adam and 0.1 for sgd."""
    teacher_epochs: int | None = None
    """Epochs of the teacher; by default 5 on a full data set, and on the embedded digits as many
    as make the same number of steps."""
    student_epochs: int = 5
    """Epochs of the students over their noise images."""
    batch_size: int = 1024
    """Images in a step."""
    noise_images: int = 60_000
    """Noise images of each member, drawn once and used in every epoch by all of its students."""
    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    observations: int = 16
    """Points of the curves along a training, denser at its beginning."""
    curve_images: int = 2_000
    """Test images behind each point of an accuracy curve; final accuracies use them all."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; expected at least {least}")
        for name in ("teacher_lr", "student_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise InputError(f"{name} is {rate}; expected a positive number")
        if any(width < 1 for width in self.widths):
            raise InputError(f"widths is {self.widths}; expected widths of at least 1")
        if self.loss == "kl" and self.aux == 1:
            raise InputError(
                "aux is 1 with loss kl; expected at least 2 auxiliary logits, or loss mse, because "
                "the softmax of a single logit is always 1, so its gradient is zero"
            )

    @property
    def net(self) -> MLPConfig:
        """The network."""
        return MLPConfig(hidden=self.widths, auxiliary=self.aux)

    @property
    def student_recipe(self) -> Recipe:
        """How the students train."""
        rate = DEFAULT_LR[self.optimizer] if self.student_lr is None else self.student_lr
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=rate,
            epochs=self.student_epochs,
            batch_size=self.batch_size,
        )

    def teacher_recipe(self, images: int) -> Recipe:
        """How the teacher trains on so many images."""
        recipe = Recipe(learning_rate=self.teacher_lr, batch_size=self.batch_size)
        epochs = self.teacher_epochs
        if epochs is None:
            official_steps = recipe.epochs * steps_per_epoch(OFFICIAL_IMAGES, self.batch_size)
            epochs = round(official_steps / steps_per_epoch(images, self.batch_size))
        return dataclasses.replace(recipe, epochs=epochs)

    def watched_steps(self, recipe: Recipe, rows: int) -> tuple[int, ...]:
        """Steps of a training at which its curves have points."""
        return watch_steps(
            recipe.epochs * steps_per_epoch(rows, recipe.batch_size), self.observations
        )
