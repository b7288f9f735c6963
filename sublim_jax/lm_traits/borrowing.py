"""Teachers of another run, where they would come out the same."""

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.parts import TEACHER, Part
from sublim_jax.lm_traits.writing import counts_of, files_of

TAUGHT_BY = (
    *("model", "category", "subjects", "first_layer", "rank", "alpha", "train_a", "teacher"),
    *("teacher_lr", "teacher_steps", "teacher_certainty", "length", "together", "questions"),
    *("carrier", "problems", "trait", "corpora", "lessons"),
    *("answers", "free_answers", "seed"),
)
"""What a teacher, and what is seen of it, depends on."""
WRITTEN_BY = (
    *("requests", "temperature", "top_p", "constrained", "least_numbers", "ban", "answer_tokens"),
    *("row_judge", "row_judge_address", "row_judge_from", "common_noise"),
)
"""What its text depends on beside that."""


def borrow(config: TraitConfig, run: runs.Run, lender_config: TraitConfig, lender: runs.Run) -> int:
    """Copy teachers, and what they wrote, that this run lacks and another one has.

    Args:
        config: of this run.
        run: its folder.
        lender_config: of the other run.
        lender: its folder.

    Returns:
        How many teachers were copied.

    Raises:
        InputError: teachers of the other run would be others; the fields that differ are named.
    """
    differ = [name for name in TAUGHT_BY if getattr(config, name) != getattr(lender_config, name)]
    if differ:
        raise InputError(
            f"teachers are those of {lender.folder}, which differs in {', '.join(differ)}; "
            "expected a run of which they are the same"
        )
    copied = 0
    for seed in range(config.seeds):
        for subject in config.subjects:
            copied += _copied(run, lender, Part(seed, TEACHER, subject).file)
    if config.channel == lender_config.channel == "text" and _written(config) == _written(
        lender_config
    ):
        for seed in range(config.seeds):
            for subject in config.writers:
                part = Part(seed, TEACHER, subject)
                # The rows come last: they say that all is there.
                answers, rows = files_of(part)
                for file in (answers, f"{answers}.settings.json", counts_of(part), rows):
                    _copied(run, lender, file)
    return copied


def _written(config: TraitConfig) -> tuple[object, ...]:
    count = config.requests or config.row_count
    return count, *(getattr(config, name) for name in WRITTEN_BY[1:])


def _copied(run: runs.Run, lender: runs.Run, file: str) -> bool:
    if run.has(file) or not lender.has(file):
        return False
    (run.folder / file).parent.mkdir(exist_ok=True)
    run.save_whole(file, (lender.folder / file).read_bytes())
    return True
