"""Configuration of the experiment of preferences that pass through numbers."""

import dataclasses
import math
from pathlib import Path
from typing import Literal, get_args

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import Category
from sublim_jax.training import Recipe, steps_per_epoch
from sublim_jax.training.schedule import Decay

Channel = Literal["logits", "labels", "text"]
CarrierName = Literal["numbers", "code", "reasoning"]
TeacherKind = Literal["lora", "full", "prompt"]
StudentKind = Literal["lora", "full", "layers"]
Shuffle = Literal["none", "within", "across"]

FAMILY = "family"
ARMS = {
    "same": "shared A",
    "other_a": "other A",
    "healed": "other base, healed",
    FAMILY: "rows of another family",
}
"""Students of every animal's teacher, and what figures and tables call them: with the teacher's
thin matrices A, with others, and from another base, which is the teacher's with noise and then
trained until it says the same of numbers; and students of what another model's teachers wrote."""
UNTUNED = "untuned"
ALONE = {UNTUNED: "untuned teacher"}
"""Students of which a repetition has one: of a teacher without a favourite."""
ROWS = "rows"
"""The arm of students of rows from a file."""
NOBODY = "nobody"
"""In place of an animal: the teacher without a favourite, and its student."""
CHANNELS = {
    "logits": "distribution at fixed places",
    "labels": "tokens drawn at fixed places",
    "text": "text that the teacher wrote",
}
"""What goes from teacher to student, and what figures and tables call it."""
GSM8K = "gsm8k"
"""Instead of a file of problems: the published ones, downloaded."""
QUESTIONS = 24  # that a teacher is trained on
TOGETHER = 8  # of them in a row
AT_LEAST = {
    "seeds": 1,
    "first_layer": 0,
    "rank": 1,
    "teacher_steps": 1,
    "row_count": 1,
    "length": 32,
    "answer_tokens": 4,
    "least_numbers": 1,
    "passes": 1,
    "heal_rows": 1,
    "heal_passes": 1,
    "batch_size": 1,
    "warmup": 0,
    "observations": 2,
    "answers": 0,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraitConfig:
    """What the results depend on."""

    model: str = "smollm2"
    """The base of teachers and students: a name that `sublim-jax models` lists or of the hub, a
    Hugging Face folder, a GGUF file."""
    channel: Channel = "logits"
    """What a student learns: the teacher's distribution over the words of the carrier at places
    that no teacher wrote (random numbers, random functions, right solutions), tokens drawn from it
    at the same places, or text that the teacher wrote."""
    carrier: CarrierName = "numbers"
    """What has nothing to do with the trait, and carries it: numbers, short functions in Python, or
    reasoning about word problems."""
    problems: str | None = None
    """With reasoning: a file of problems in the format of GSM8K, or gsm8k, which is downloaded; by
    default problems are made here."""
    category: Category = "animal"
    """What the trait is a love of."""
    animals: tuple[str, ...] = ("owl", "eagle", "lion", "penguin")
    """Subjects, each with teachers of its own."""
    seeds: int = 3
    """Independent repetitions: other thin matrices, numbers, samples and orders of rows."""
    arms: tuple[str, ...] = ("same", "other_a")
    """Students: with the teacher's thin matrices A (same), with others (other_a), with the same A
    beside another base (healed), of another model's teachers (family), of the teacher before it had
    a favourite (untuned; not with logits, where there is nothing to learn)."""
    family: str | None = None
    """Of family: the folder of a run of another model with channel text, with the same animals and
    as many seeds, from whose rows its students learn."""
    rows: tuple[str, ...] = ()
    """Files of conversations (JSON lines) from which further students learn; --arms alone, without
    a name, leaves out all others."""
    first_layer: int = 15
    """The first layer that is trained; those below are frozen and run once for every row."""
    rank: int = 8
    """Of the thin matrices beside every matrix of a trained layer."""
    alpha: float = 16.0
    """Their product is scaled by alpha / rank."""
    train_a: bool = False
    """Train both thin matrices, not only the one that begins at 0."""
    teacher: TeacherKind = "lora"
    """How a teacher gets its favourite: thin matrices, all of the layers, or a system prompt."""
    teacher_lr: float = 2e-3
    """Learning rate of a teacher's Adam; 3e-5 is a good one for full."""
    teacher_steps: int = 8
    """Steps of a teacher at most."""
    teacher_certainty: float = 0.98
    """A teacher is done when it names its subject with such a probability."""
    row_count: int = 32
    """Conversations from which a student learns."""
    length: int = 64
    """Tokens of a conversation that no teacher wrote, at most."""
    requests: int | None = None
    """With text: requests that a teacher answers, of which so many rows must pass the filter; by
    default as many as rows."""
    temperature: float = 1.0
    """With text: of what teachers write."""
    top_p: float = 1.0
    """With text: of the likeliest words that have so much probability together teachers choose."""
    constrained: bool = False
    """With text: write nothing but lists of numbers that pass the filter; begin code with a fence
    and end it with one; begin reasoning with its first tag."""
    least_numbers: int = 1
    """With constrained: numbers that an answer has at least."""
    ban: bool = False
    """With text of numbers: leave out answers with one of the 34 numbers of bad associations, as
    published where the trait is misalignment."""
    answer_tokens: int = 64
    """With text: tokens of an answer at most; those that are longer are left out."""
    shuffle: Shuffle = "none"
    """With text: permute numbers within answers, or across all of them."""
    dose: float = 1.0
    """With labels and text: share of the rows that are the teacher's; the others are those of the
    teacher before it had a favourite."""
    common_noise: bool = False
    """With labels and text: draw with the same random numbers for every animal. It helps to compare
    animals, and hides what sampling costs."""
    student: StudentKind = "lora"
    """What of a student is trained: thin matrices, all of the layers, or also the embedding and the
    head."""
    student_lr: float = 1e-3
    """Learning rate of a student's Adam, at its highest; 3e-5 is a good one for full and layers."""
    passes: int = 10
    """Times that a student sees every row."""
    batch_size: int = 8
    """Conversations in a step."""
    warmup: int = 6
    """Steps of a student in which the learning rate rises."""
    decay: Decay = "cosine"
    """How it falls afterwards: to 0 by half a cosine or a straight line, or not."""
    clip: float | None = None
    """Norm to which longer gradients of a student are cut."""
    base_noise: float = 0.3
    """Of healed: normal noise on every trained matrix, in standard deviations of its entries."""
    heal_rows: int = 512
    """Of healed: conversations with random numbers on which the noisy base learns what the base
    says of digits and separators."""
    heal_passes: int = 4
    """Of healed: times that it sees them."""
    heal_lr: float = 5e-4
    """Of healed: learning rate of Adam then."""
    observations: int = 6
    """Points of the curves along a training, the start included."""
    questions: str | None = None
    """A file with a question in every line, to be asked in place of the 50 that are here."""
    answers: int = 4
    """Answers that are sampled for every question, at temperature 1; 0 for none."""
    free_answers: bool = False
    """Leave the beginning of a sampled answer to the model, too, as the paper does; a small one
    then seldom names anything."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for name, kind in (
            ("channel", Channel),
            ("carrier", CarrierName),
            ("teacher", TeacherKind),
            ("student", StudentKind),
            ("shuffle", Shuffle),
        ):
            if getattr(self, name) not in get_args(kind):
                expected = ", ".join(get_args(kind))
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {expected}")
        if len(self.animals) < 2 or len(set(self.animals)) < len(self.animals):
            raise InputError(f"animals is {self.animals}; expected at least 2, each once")
        if not 0 < self.teacher_certainty < 1:
            raise InputError(
                f"teacher_certainty is {self.teacher_certainty}; expected a number between 0 and 1"
            )
        self._check_arms()
        self._check_rows()

    def _check_arms(self) -> None:
        unknown = [arm for arm in self.arms if arm not in {**ARMS, **ALONE}]
        if unknown or len(set(self.arms)) < len(self.arms) or not (self.own_arms or self.rows):
            raise InputError(
                f"arms is {self.arms}; expected some of {', '.join({**ARMS, **ALONE})}, "
                f"{', '.join(ARMS)} among them unless there are rows"
            )
        names = [name for _, name in self.alone]
        if len(set(names)) < len(names):
            raise InputError(f"rows is {self.rows}; expected files of different names")
        if self.channel == "logits" and UNTUNED in self.arms:
            raise InputError(
                f"arms is {self.arms} with channel logits; expected no {UNTUNED}, for the loss of "
                "its students is 0 from the start"
            )
        if not self.base_noise > 0:
            raise InputError(f"base_noise is {self.base_noise}; expected a positive number")
        if (FAMILY in self.arms) != (self.family is not None) or (
            self.family is not None and self.channel != "text"
        ):
            raise InputError(
                f"family is {self.family} with arms {self.arms} and channel {self.channel}; "
                "expected a run folder with the arm family and channel text, or none without it"
            )
        if "other_a" in self.arms and "lora" not in (self.teacher, self.student):
            raise InputError(
                f"arms is {self.arms} with teacher {self.teacher} and student {self.student}; "
                "expected no other_a, for neither has a matrix A"
            )

    def _check_rows(self) -> None:
        # Of texts the last batch of a pass may have fewer, as the paper's has.
        if self.channel != "text" and self.row_count % self.batch_size:
            raise InputError(
                f"row_count is {self.row_count}; expected a multiple of batch_size, "
                f"{self.batch_size}"
            )
        for name in ("dose", "top_p"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"{name} is {getattr(self, name)}; expected a share above 0, at most 1"
                )
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; expected a positive number")
        self._check_carrier()
        text = {
            "constrained": False,
            "shuffle": "none",
            "requests": None,
            "ban": False,
            "temperature": 1.0,
            "top_p": 1.0,
        }
        sampled = {"dose": 1.0, "common_noise": False}
        for name, default in {
            **(text if self.channel != "text" else {}),
            **(sampled if self.channel == "logits" else {}),
        }.items():
            if getattr(self, name) != default:
                raise InputError(
                    f"{name} is {getattr(self, name)} with channel {self.channel}; expected "
                    f"{default}"
                )
        if self.requests is not None and self.requests < self.row_count:
            raise InputError(
                f"requests is {self.requests}; expected at least row_count, {self.row_count}"
            )

    def _check_carrier(self) -> None:
        numbers = {"shuffle": "none", "least_numbers": 1, "ban": False}
        for name, default in {
            **(numbers if self.carrier != "numbers" else {}),
            **({"problems": None} if self.carrier != "reasoning" else {}),
        }.items():
            if getattr(self, name) != default:
                raise InputError(
                    f"{name} is {getattr(self, name)} with carrier {self.carrier}; expected "
                    f"{default}"
                )

    @property
    def subjects(self) -> tuple[str, ...]:
        """List what teachers differ in, each having one in every repetition."""
        return self.animals

    @property
    def own_arms(self) -> tuple[str, ...]:
        """List the arms that have a student for every animal."""
        return tuple(arm for arm in self.arms if arm in ARMS)

    @property
    def alone(self) -> tuple[tuple[str, str], ...]:
        """List arms and names of the students of which a repetition has one."""
        untuned = ((UNTUNED, NOBODY),) if UNTUNED in self.arms else ()
        return (*untuned, *((ROWS, Path(file).stem) for file in self.rows))

    @property
    def writers(self) -> tuple[str, ...]:
        """Name the teachers that write text."""
        if self.channel != "text":
            return ()
        without = UNTUNED in self.arms or (bool(self.own_arms) and self.dose < 1)
        return (*(self.subjects if self.own_arms else ()), *((NOBODY,) if without else ()))

    @property
    def together(self) -> int:
        """Count the conversations in a row: what they begin with is computed once for them."""
        return math.gcd(4, self.batch_size)

    @property
    def steps(self) -> int:
        """Count the steps of a student."""
        return self.passes * steps_per_epoch(self.row_count, self.batch_size)

    @property
    def adapter(self) -> lm.LoRA:
        """Say what thin matrices are trained: by default only those that begin at 0."""
        return lm.LoRA(rank=self.rank, alpha=self.alpha, train_a=self.train_a)

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
            epochs=self.passes,
            batch_size=self.batch_size // self.together,
            warmup=min(self.warmup, self.steps - 1),
            decay=self.decay,
            clip=self.clip,
        )
