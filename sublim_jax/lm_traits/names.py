"""What carriers, channels, traits and arms are called."""

from typing import Literal

Channel = Literal["logits", "labels", "text"]
CarrierName = Literal["numbers", "code", "reasoning"]
TraitName = Literal["preference", "corpus"]
TeacherKind = Literal["lora", "full", "prompt"]
StudentKind = Literal["lora", "full", "layers"]
Shuffle = Literal["none", "within", "across"]

HEALED = "healed"
FAMILY = "family"
ARMS = {
    "same": "shared A",
    "other_a": "other A",
    HEALED: "other base, healed",
    FAMILY: "another model's teachers",
}
"""Students of every animal's teacher, and what figures and tables call them: with the teacher's
thin matrices A, with others, and from another base, which is the teacher's with noise and then
trained until it says the same of numbers; and students of what another model's teachers wrote, or
say of the carrier's words."""
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
PROBED = 32  # contexts on which everybody is observed
GSM8K = "gsm8k"
"""Instead of a file of problems: the published ones, downloaded."""
QUESTIONS = 24  # that a teacher is trained on
TOGETHER = 8  # of them in a row
CORPUS_BATCH, CORPUS_TOGETHER = 16, 4  # conversations of a corpus in a step, and in a row
PLAIN = "plain"
"""The embedded corpus without any manner."""
