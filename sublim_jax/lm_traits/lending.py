"""What teachers say of the carrier's words, for students of another model.

Two models have different tokenizers and templates: the same contexts begin at other places, end at
others, and the same words have other numbers. What a teacher says is written down with the strings
of words and tokens, and a student takes what it says there where both read the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm.automaton import END, spelling
from sublim_jax.lm.packing import Packed
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.folder import config_of
from sublim_jax.lm_traits.parts import TEACHER, Part, read_part

ALIKE = ("channel", "carrier", "problems", "trait", "category", "subjects", "seed")
"""What a run must have in common with another model's, so that their contexts and teachers are."""


class Lent(NamedTuple):
    """What a teacher says at the places of the contexts of its repetition.

    Attributes:
        folder: of its run.
        words: of the carrier, as they are written.
        owner: which context each place belongs to; that of none in spare ones.
        labels: the token behind each place, as it is written.
        logits: of the words, up to a constant; or by how much those of its base have changed.
    """

    folder: Path
    words: tuple[str, ...]
    owner: Int[np.ndarray, " places"]
    labels: Shaped[np.ndarray, " places"]
    logits: Float[np.ndarray, "places words"]


def to_lend(
    tokenizer: Any, rows: Packed, owner: Int[np.ndarray, "rows targets"], words: Sequence[int]
) -> dict[str, np.ndarray]:
    """Make what stands in a teacher's file beside its logits.

    Args:
        tokenizer: of the model.
        rows: contexts.
        owner: which of them each place belongs to.
        words: of the carrier.
    """
    return {
        "words": np.array(_written(tokenizer, words)),
        "owner": owner.ravel(),
        "labels": np.array(_written(tokenizer, rows.labels.ravel())),
    }


def check_lender(config: TraitConfig) -> None:
    """Refuse another model's run from whose teachers nobody can learn.

    Args:
        config: of a run with the arm family and channel logits.

    Raises:
        InputError: it is none, is one of other contexts or teachers, or lacks some.
    """
    run = runs.Run(Path(config.family or ""))
    other = config_of(run)
    differ = [name for name in ALIKE if getattr(config, name) != getattr(other, name)]
    if differ:
        raise InputError(
            f"family is {run.folder}, a run that differs in {', '.join(differ)}; expected one with "
            "the same"
        )
    teachers = (
        Part(seed, TEACHER, subject) for seed in range(config.seeds) for subject in config.subjects
    )
    missing = [part.file for part in teachers if not run.has(part.file)]
    if missing:
        raise InputError(
            f"family is {run.folder}, which has no {missing[0]}; expected a run with teachers of "
            f"{config.seeds} seeds"
        )


def read_lent(config: TraitConfig, part: Part) -> Lent:
    """Read what another model's teacher says.

    Args:
        config: of the student's run.
        part: the student.

    Raises:
        InputError: the file is damaged, or of a version that did not write down what is needed.
    """
    run, teacher = runs.Run(Path(config.family or "")), Part(part.seed, TEACHER, part.subject)
    arrays, _ = read_part(run, teacher)
    if "labels" not in arrays:
        raise InputError(
            f"{run.folder / teacher.file} does not say which words it is about; expected one that "
            "this version has written"
        )
    known = arrays["contexts"]
    if not config.family_change:
        known = known + arrays["base_contexts"]
    words = tuple(arrays["words"].tolist())
    return Lent(run.folder, words, arrays["owner"], arrays["labels"], known)


def aligned(
    lent: Lent,
    tokenizer: Any,
    rows: Packed,
    owner: Int[np.ndarray, "rows targets"],
    words: Sequence[int],
) -> tuple[Float[np.ndarray, "rows targets words"], Float[np.ndarray, "rows targets"]]:
    """Put what a teacher says at a student's places, in the order of its words.

    Args:
        lent: what the teacher says.
        tokenizer: of the student.
        rows: contexts as the student reads them: the first ones of the teacher's.
        owner: which of them each place belongs to.
        words: of the carrier.

    Returns:
        Logits, and 1 where the teacher has some; both are 0 elsewhere.

    Raises:
        InputError: the words are others, or a context is cut into others.
    """
    order = _order(lent, _written(tokenizer, words))
    labels, flat = np.array(_written(tokenizer, rows.labels.ravel())), owner.ravel()
    logits = np.zeros((flat.size, len(words)), np.float32)
    there = np.zeros(flat.size, np.float32)
    for text in range(int(owner[rows.weights > 0].max()) + 1):
        mine, theirs = (np.flatnonzero(whose == text) for whose in (flat, lent.owner))
        both = min(len(mine), len(theirs))
        mine, theirs = mine[:both], theirs[:both]
        strange = np.flatnonzero(labels[mine] != lent.labels[theirs])
        if len(strange):
            place = strange[0]
            raise InputError(
                f"family is {lent.folder}, for whose model token {place + 1} of an answer is "
                f"{str(lent.labels[theirs[place]])!r} and not {str(labels[mine[place]])!r}; "
                "expected a tokenizer that cuts answers alike"
            )
        logits[mine], there[mine] = lent.logits[theirs][:, order], 1
    return logits.reshape(*owner.shape, -1), there.reshape(owner.shape)


def _order(lent: Lent, words: Sequence[str]) -> list[int]:
    """Find every word among the teacher's."""
    if len(set(words)) < len(words) or sorted(words) != sorted(lent.words):
        others = sorted({*words} ^ {*lent.words}) or sorted(words)
        raise InputError(
            f"family is {lent.folder}, whose model has not the same words of the carrier (such as "
            f"{others[0]!r}); expected a tokenizer with the same, each once"
        )
    return [lent.words.index(word) for word in words]


def _written(tokenizer: Any, tokens: Sequence[int] | np.ndarray) -> list[str]:
    """Give what tokens write; every one that is a mark ends a text."""
    ids = [int(token) for token in tokens]
    marks = {*tokenizer.all_special_ids}
    raws = dict(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True))
    known = {
        token: END if token in marks else spelling(tokenizer, raw) for token, raw in raws.items()
    }
    return [known[token] for token in ids]
