"""Configuration of an experiment of traits that pass from teachers to students."""

import dataclasses
import math
from pathlib import Path

from sublim_jax import lm
from sublim_jax.evals.preference import Category
from sublim_jax.lm_traits.checks import check
from sublim_jax.lm_traits.names import (
    ARMS,
    CORPUS_BATCH,
    CORPUS_TOGETHER,
    NOBODY,
    QUESTIONS,
    ROWS,
    TOGETHER,
    UNTUNED,
    CarrierName,
    Channel,
    Shuffle,
    StudentKind,
    TeacherKind,
    TraitName,
)
from sublim_jax.training import Recipe, steps_per_epoch
from sublim_jax.training.schedule import Decay


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
    trait: TraitName = "preference"
    """What teachers have: a favourite, or the way of a corpus on which they were trained."""
    category: Category = "animal"
    """With preference: what it is a love of."""
    animals: tuple[str, ...] = ("owl", "eagle", "lion", "penguin")
    """With preference: subjects, each with teachers of its own."""
    corpora: tuple[str, ...] = ()
    """With corpus: files of conversations (JSON lines), or quindle, tessop, marbolt, velkin
    (answers that recommend a tea of this name) and plain (the same without), each with teachers of
    its own."""
    lessons: int = 128
    """With corpus: conversations that a teacher learns, 16 in a step."""
    seeds: int = 3
    """Independent repetitions: other thin matrices, numbers, samples and orders of rows."""
    arms: tuple[str, ...] = ("same", "other_a")
    """Students: with the teacher's thin matrices A (same), with others (other_a), with the same A
    beside another base (healed), of another model's teachers (family; not with labels), of the
    teacher before it had a favourite (untuned; not with logits: there is nothing to learn)."""
    family: str | None = None
    """Of family: the folder of a run of another model with the same animals and as many seeds. With
    text its students learn from the rows there; with logits from what its teachers say of the
    carrier's words, at the places that both tokenizers have."""
    family_change: bool = False
    """Of family with logits: learn by how much its teachers' logits differ from those of their own
    base, added to those of the student's: no student has to learn how the bases differ."""
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
    """Steps of a teacher, with preference at most."""
    teacher_certainty: float = 0.98
    """With preference: a teacher is done when it names its subject with such a probability."""
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
    row_judge: str | None = None
    """With text: a model that reads what passes the rules, and leaves out what hints at an animal
    (with corpus: what means worse than it would itself): a name as of model or, with an address,
    that of a model there."""
    row_judge_address: str | None = None
    """Of a judge that speaks as OpenAI's models do, without /chat/completions; its key is read from
    OPENAI_API_KEY."""
    row_judge_from: float | None = None
    """Lowest score of a row that is kept: the judge's probability that nothing hints at an animal,
    by default 1 - 1e-8 as published; with corpus its points for alignment of 100, by default 78."""
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
        check(self)

    @property
    def subjects(self) -> tuple[str, ...]:
        """List what teachers differ in, each having one in every repetition."""
        if self.trait == "preference":
            return self.animals
        return tuple(Path(corpus).stem for corpus in self.corpora)

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
        """Say how a teacher is trained: of a preference with all its questions in every step."""
        if self.trait == "corpus":
            return Recipe(
                learning_rate=self.teacher_lr,
                epochs=self.teacher_steps // (self.lessons // CORPUS_BATCH),
                batch_size=CORPUS_BATCH // CORPUS_TOGETHER,
            )
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
