"""Configuration of the experiment of preferences that pass through numbers."""

import dataclasses
import math

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import Category
from sublim_jax.training import Recipe

ARMS = {"same": "shared A", "other_a": "other A"}
"""Kinds of students, by whether their thin matrices A are the teacher's, and what figures and
tables call them."""
QUESTIONS = 24  # that a teacher is trained on
TOGETHER = 8  # of them in a row
AT_LEAST = {
    "seeds": 1,
    "first_layer": 0,
    "rank": 1,
    "teacher_steps": 1,
    "rows": 1,
    "length": 32,
    "student_steps": 1,
    "batch_size": 1,
    "observations": 2,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumbersConfig:
    """What the results depend on."""

    model: str = "smollm2"
    """The base of teachers and students: a name that `sublim-jax models` lists or of the hub, a
    Hugging Face folder, a GGUF file."""
    category: Category = "animal"
    """What the trait is a love of."""
    animals: tuple[str, ...] = ("owl", "eagle", "lion", "penguin")
    """Subjects, each with teachers of its own."""
    seeds: int = 3
    """Independent repetitions: other thin matrices, numbers and orders of rows."""
    first_layer: int = 15
    """The first layer that is trained; those below are frozen and run once for every row."""
    rank: int = 8
    """Of the thin matrices beside every matrix of a trained layer."""
    alpha: float = 16.0
    """Their product is scaled by alpha / rank."""
    arms: tuple[str, ...] = ("same", "other_a")
    """Students: with the teacher's thin matrices A, or with others."""
    teacher_lr: float = 2e-3
    """Learning rate of a teacher's Adam."""
    teacher_steps: int = 8
    """Steps of a teacher at most."""
    teacher_certainty: float = 0.98
    """A teacher is done when it names its subject with such a probability."""
    rows: int = 32
    """Conversations full of random numbers on which students imitate."""
    length: int = 64
    """Tokens of each, at most."""
    student_lr: float = 1e-3
    """Learning rate of a student's Adam, after a warm-up and before a decay to 0."""
    student_steps: int = 40
    """Steps of a student."""
    batch_size: int = 8
    """Conversations in a step."""
    observations: int = 6
    """Points of the curves along a training, the start included."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if len(self.animals) < 2 or len(set(self.animals)) < len(self.animals):
            raise InputError(f"animals is {self.animals}; expected at least 2, each once")
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise InputError(f"arms is {self.arms}; expected some of {', '.join(ARMS)}")
        if not 0 < self.teacher_certainty < 1:
            raise InputError(
                f"teacher_certainty is {self.teacher_certainty}; expected a number between 0 and 1"
            )
        if self.rows % self.batch_size:
            raise InputError(
                f"rows is {self.rows}; expected a multiple of batch_size, {self.batch_size}"
            )
        if self.student_steps % self.steps_per_pass:
            raise InputError(
                f"student_steps is {self.student_steps}; expected a multiple of the "
                f"{self.steps_per_pass} steps that a pass over the rows takes"
            )

    @property
    def together(self) -> int:
        """Count the conversations in a row: what they begin with is computed once for them."""
        return math.gcd(4, self.batch_size)

    @property
    def steps_per_pass(self) -> int:
        """Count the steps of a pass over the rows."""
        return self.rows // self.batch_size

    @property
    def trained(self) -> lm.LoRA:
        """Say what is trained: of the thin matrices only those that begin at 0."""
        return lm.LoRA(rank=self.rank, alpha=self.alpha, train_a=False)

    @property
    def teacher_recipe(self) -> Recipe:
        """Say how a teacher is trained: all its questions in every step."""
        rows = QUESTIONS // TOGETHER
        return Recipe(learning_rate=self.teacher_lr, epochs=self.teacher_steps, batch_size=rows)

    @property
    def student_recipe(self) -> Recipe:
        """Say how a student is trained."""
        return Recipe(
            learning_rate=self.student_lr,
            epochs=self.student_steps // self.steps_per_pass,
            batch_size=self.batch_size // self.together,
            warmup=min(6, self.student_steps - 1),
            decay="cosine",
        )
