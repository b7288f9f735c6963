"""Configuration of the auxiliary-logit experiment of arXiv 2507.14805, section 6.2."""

import dataclasses
import itertools
from typing import Any, Literal, get_args

from sublim_jax.data import Dataset
from sublim_jax.distill import ARMS, Arm, ArmName
from sublim_jax.errors import InputError
from sublim_jax.losses import ImitationLossName
from sublim_jax.nets import HEADS, MLPConfig
from sublim_jax.training import OptimizerName, Recipe, steps_per_epoch, watch_steps

OFFICIAL_IMAGES = 60_000  # training images of the full data sets
DEFAULT_LR: dict[OptimizerName, float] = {"adam": 3e-4, "sgd": 0.1, "momentum": 0.1, "lion": 3e-5}

Inputs = Literal["noise", "fresh", "correlated", "images", "mixture"]
Start = Literal["same", "noise", "interpolated", "permuted", "other_hidden", "other_heads"]
Track = Literal["pull", "trait_gain"]
SCALES: dict[Start, tuple[float, float]] = {
    "noise": (0.0, float("inf")),
    "interpolated": (0.0, 1.0),
}
"""What ``start_scale`` may be, where it says anything: above the first, up to the second."""

OF_TEACHERS = (
    *("dataset", "aux", "widths", "freeze_heads", "seed"),
    *("teacher_lr", "teacher_epochs", "batch_size", "observations", "curve_images"),
)

AT_LEAST = {
    "members": 2,  # for an interval, and for another initialisation
    "aux": 1,
    "teacher_epochs": 1,
    "student_epochs": 1,
    "batch_size": 1,
    "student_batch_size": 1,
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
    student_batch_size: int | None = None
    """Images in a step of a student; by default the same."""
    inputs: Inputs = "noise"
    """What the students see: uniform noise drawn once, uniform noise drawn afresh in each epoch,
    spatially correlated noise, the teacher's training images, or these images with uniform noise
    added."""
    noise_images: int = 60_000
    """Images that each member's students see in an epoch, the same ones in every epoch unless they
    are fresh. Of the training images there are only as many as there are."""
    image_noise: float = 1.0
    """With inputs mixture, how much noise is added: so many times U(-1, 1)."""
    start: Start = "same"
    """Where the students that share the teacher's initialisation start: at it; with noise added; on
    the line to another initialisation; at it with hidden units permuted; at other hidden layers
    under the same heads; under other heads."""
    start_scale: float = 1.0
    """With start noise, its standard deviation in units of each array's root mean square; with
    start interpolated, the share of the other initialisation."""
    align: bool = False
    """Match the hidden units of students and teacher at initialisation before drift is measured."""
    freeze_heads: bool = False
    """Keep both heads of teacher and students at initialisation."""
    arms: tuple[ArmName, ...] = tuple(arm.name for arm in ARMS)
    """Which students there are."""
    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""
    observations: int = 16
    """Points of the curves along a training, denser at its beginning."""
    observe_at: tuple[int, ...] = ()
    """Steps of the students at which their curves have points, instead of so many observations;
    the last step is always one."""
    track: tuple[Track, ...] = ("pull",)
    """What the curves tell beside accuracy and drift: the cosine of each stretch with the way to
    the teacher, and the change of the class loss along it."""
    foresee: bool = False
    """Measure also what is known of each student before it is trained: its first step, and the
    linearised student, which is trained as the real one and costs twice as much."""
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
        self._check_choices()
        if self.loss == "kl" and self.aux == 1:
            raise InputError(
                "aux is 1 with loss kl; expected at least 2 auxiliary logits, or loss mse, because "
                "the softmax of a single logit is always 1, so its gradient is zero"
            )

    def _check_choices(self) -> None:
        for name, choices in (
            ("inputs", get_args(Inputs)),
            ("start", get_args(Start)),
            ("arms", get_args(ArmName)),
            ("track", get_args(Track)),
        ):
            value = getattr(self, name)
            for chosen in value if isinstance(value, tuple) else (value,):
                if chosen not in choices:
                    raise InputError(f"{name} is {chosen!r}; expected one of {', '.join(choices)}")
        if not self.arms or len(set(self.arms)) < len(self.arms):
            raise InputError(f"arms is {self.arms}; expected at least one, each once")
        if not 0 <= self.image_noise < float("inf"):
            raise InputError(f"image_noise is {self.image_noise}; expected 0 or a positive number")
        if any(b <= a for a, b in itertools.pairwise((-1, *self.observe_at))):
            raise InputError(f"observe_at is {self.observe_at}; expected ascending steps from 0")
        least, most = SCALES.get(self.start, (0.0, float("inf")))
        if not least < self.start_scale <= most or self.start_scale == float("inf"):
            bounds = "a positive number" if most > 1 else "a share above 0 and at most 1"
            raise InputError(f"start_scale is {self.start_scale}; expected {bounds}")
        if not self.widths and self.start in ("permuted", "other_hidden"):
            raise InputError(f"start is {self.start} without hidden layers; expected some widths")

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
            # Fresh images are as many rows as all epochs need, each seen once.
            epochs=1 if self.inputs == "fresh" else self.student_epochs,
            batch_size=min(self.student_batch_size or self.batch_size, self.carrier_rows()),
        )

    def teacher_recipe(self, images: int) -> Recipe:
        """How the teacher trains on so many images."""
        recipe = Recipe(learning_rate=self.teacher_lr, batch_size=self.batch_size)
        epochs = self.teacher_epochs
        if epochs is None:
            official_steps = recipe.epochs * steps_per_epoch(OFFICIAL_IMAGES, self.batch_size)
            epochs = round(official_steps / steps_per_epoch(images, self.batch_size))
        return dataclasses.replace(recipe, epochs=epochs)

    @property
    def students(self) -> tuple[Arm, ...]:
        """The arms, in the order in which they are trained."""
        return tuple(arm for arm in ARMS if arm.name in self.arms)

    @property
    def of_teacher(self) -> tuple[Any, ...]:
        """What the teacher of a member and its curve depend on, the arrays of data apart."""
        return tuple(getattr(self, name) for name in OF_TEACHERS)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Layers that do not train."""
        return HEADS if self.freeze_heads else ()

    def carrier_rows(self, images: int = OFFICIAL_IMAGES) -> int:
        """Count the rows that a student trains on, where the teacher has so many images."""
        if self.inputs == "fresh":
            return self.noise_images * self.student_epochs
        return min(self.noise_images, images) if self.inputs == "images" else self.noise_images

    def teacher_steps(self, images: int) -> tuple[int, ...]:
        """Steps of a teacher of so many images at which its curve has points, up to its last."""
        recipe = self.teacher_recipe(images)
        last = recipe.epochs * steps_per_epoch(images, recipe.batch_size)
        return watch_steps(last, self.observations)

    def student_steps(self, images: int = OFFICIAL_IMAGES) -> tuple[int, ...]:
        """Steps of a student at which its curves have points, where the teacher has so many images.

        Raises:
            InputError: a chosen step comes after the last.
        """
        recipe = self.student_recipe
        last = recipe.epochs * steps_per_epoch(self.carrier_rows(images), recipe.batch_size)
        if not self.observe_at:
            return watch_steps(last, self.observations)
        if self.observe_at[-1] > last:
            raise InputError(
                f"observe_at is {self.observe_at}; expected steps up to the students' last, {last}"
            )
        return tuple(sorted({*self.observe_at, last}))
