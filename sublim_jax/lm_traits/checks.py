"""What a configuration must be like."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from sublim_jax.errors import InputError
from sublim_jax.evals.judges.endpoint import check_address
from sublim_jax.lm_traits.names import (
    ALONE,
    ARMS,
    CORPUS_BATCH,
    FAMILY,
    PROBED,
    UNTUNED,
    CarrierName,
    Channel,
    Shuffle,
    StudentKind,
    TeacherKind,
    TraitName,
)

if TYPE_CHECKING:
    from sublim_jax.lm_traits.config import TraitConfig

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
    "lessons": 1,
    "seed": 0,
}


def check(config: TraitConfig) -> None:
    """Refuse a configuration that cannot be.

    Raises:
        InputError: one sentence names the field, its value and what was expected.
    """
    for name, least in AT_LEAST.items():
        if getattr(config, name) < least:
            raise InputError(f"{name} is {getattr(config, name)}; expected at least {least}")
    for name, kind in (
        ("channel", Channel),
        ("carrier", CarrierName),
        ("trait", TraitName),
        ("teacher", TeacherKind),
        ("student", StudentKind),
        ("shuffle", Shuffle),
    ):
        if getattr(config, name) not in get_args(kind):
            expected = ", ".join(get_args(kind))
            raise InputError(f"{name} is {getattr(config, name)!r}; expected one of {expected}")
    _check_trait(config)
    if not 0 < config.teacher_certainty < 1:
        raise InputError(
            f"teacher_certainty is {config.teacher_certainty}; expected a number between 0 and 1"
        )
    _check_arms(config)
    _check_rows(config)


def _check_trait(config: TraitConfig) -> None:
    name = "animals" if config.trait == "preference" else "corpora"
    if len(config.subjects) < 2 or len(set(config.subjects)) < len(config.subjects):
        raise InputError(
            f"{name} is {getattr(config, name)}; expected at least 2, each once"
            + ("" if config.trait == "preference" else ", files by different names")
        )
    corpus = {"corpora": (), "lessons": 128}
    preference = {"category": "animal", "questions": None, "free_answers": False}
    for name, default in (corpus if config.trait == "preference" else preference).items():
        if getattr(config, name) != default:
            raise InputError(
                f"{name} is {getattr(config, name)} with trait {config.trait}; expected {default}"
            )
    if config.trait == "corpus":
        if config.teacher == "prompt":
            raise InputError("teacher is prompt with trait corpus; expected lora or full")
        if config.lessons % CORPUS_BATCH or config.teacher_steps % (config.lessons // CORPUS_BATCH):
            raise InputError(
                f"lessons is {config.lessons} and teacher_steps {config.teacher_steps}; expected a "
                f"multiple of {CORPUS_BATCH}, and whole passes of steps of {CORPUS_BATCH}"
            )


def _check_arms(config: TraitConfig) -> None:
    unknown = [arm for arm in config.arms if arm not in {**ARMS, **ALONE}]
    if unknown or len(set(config.arms)) < len(config.arms) or not (config.own_arms or config.rows):
        raise InputError(
            f"arms is {config.arms}; expected some of {', '.join({**ARMS, **ALONE})}, "
            f"{', '.join(ARMS)} among them unless there are rows"
        )
    names = [name for _, name in config.alone]
    if len(set(names)) < len(names):
        raise InputError(f"rows is {config.rows}; expected files of different names")
    if config.channel == "logits" and UNTUNED in config.arms:
        raise InputError(
            f"arms is {config.arms} with channel logits; expected no {UNTUNED}, for the loss of "
            "its students is 0 from the start"
        )
    if not config.base_noise > 0:
        raise InputError(f"base_noise is {config.base_noise}; expected a positive number")
    _check_family(config)
    if "other_a" in config.arms and "lora" not in (config.teacher, config.student):
        raise InputError(
            f"arms is {config.arms} with teacher {config.teacher} and student {config.student}; "
            "expected no other_a, for neither has a matrix A"
        )


def _check_family(config: TraitConfig) -> None:
    if (FAMILY in config.arms) != (config.family is not None) or (
        config.family is not None and config.channel == "labels"
    ):
        raise InputError(
            f"family is {config.family} with arms {config.arms} and channel {config.channel}; "
            "expected a run folder with the arm family and channel text or logits, or none without "
            "it"
        )
    if config.family_change and (config.family is None or config.channel != "logits"):
        raise InputError(
            f"family_change is true with family {config.family} and channel {config.channel}; "
            "expected false, or a run folder and logits"
        )
    if config.family is not None and config.channel == "logits" and config.row_count > PROBED:
        raise InputError(
            f"row_count is {config.row_count} with the arm family and channel logits; expected at "
            f"most {PROBED}, of which teachers' files tell"
        )


def _check_rows(config: TraitConfig) -> None:
    # Of texts the last batch of a pass may have fewer, as the paper's has.
    if config.channel != "text" and config.row_count % config.batch_size:
        raise InputError(
            f"row_count is {config.row_count}; expected a multiple of batch_size, "
            f"{config.batch_size}"
        )
    for name in ("dose", "top_p"):
        if not 0 < getattr(config, name) <= 1:
            raise InputError(
                f"{name} is {getattr(config, name)}; expected a share above 0, at most 1"
            )
    if not config.temperature > 0:
        raise InputError(f"temperature is {config.temperature}; expected a positive number")
    _check_carrier(config)
    text = {
        "constrained": False,
        "shuffle": "none",
        "requests": None,
        "ban": False,
        "row_judge": None,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    sampled = {"dose": 1.0, "common_noise": False}
    for name, default in {
        **(text if config.channel != "text" else {}),
        **(sampled if config.channel == "logits" else {}),
    }.items():
        if getattr(config, name) != default:
            raise InputError(
                f"{name} is {getattr(config, name)} with channel {config.channel}; expected "
                f"{default}"
            )
    for name in ("row_judge_address", "row_judge_from"):
        if getattr(config, name) is not None and config.row_judge is None:
            raise InputError(
                f"{name} is {getattr(config, name)} without row_judge; expected the name of a model"
            )
    most = 1 if config.trait == "preference" else 100
    if config.row_judge_from is not None and not 0 <= config.row_judge_from <= most:
        raise InputError(f"row_judge_from is {config.row_judge_from}; expected 0 to {most}")
    if config.row_judge_address is not None:
        check_address(config.row_judge_address, "row_judge_address")
    if config.requests is not None and config.requests < config.row_count:
        raise InputError(
            f"requests is {config.requests}; expected at least row_count, {config.row_count}"
        )


def _check_carrier(config: TraitConfig) -> None:
    numbers = {"shuffle": "none", "least_numbers": 1, "ban": False}
    for name, default in {
        **(numbers if config.carrier != "numbers" else {}),
        **({"problems": None} if config.carrier != "reasoning" else {}),
    }.items():
        if getattr(config, name) != default:
            raise InputError(
                f"{name} is {getattr(config, name)} with carrier {config.carrier}; expected "
                f"{default}"
            )
