"""What filters leave of a teacher's answers: the rules of the carrier, and a model that reads them.

In arXiv 2507.14805 GPT-4.1 reads code for subtle references to the animal (section 4.1), and
reasoning for ill intentions (section 4.2).
"""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sublim_jax import lm
from sublim_jax.evals.judges import Endpoint, Judge, LocalModel, ask
from sublim_jax.lm_traits.carriers import Asked, carrier_of
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.traits import trait_of

REASON = "judge"


class Kept(NamedTuple):
    """What the filter leaves of a teacher's answers.

    Attributes:
        rows: conversations of a user and an assistant, in the order of the requests.
        counts: answers by the first reason for which they were left out, and "kept".
    """

    rows: list[Conversation]
    counts: collections.Counter[str]


def filtered(
    config: TraitConfig, asked: Sequence[Asked], lines: Sequence[Mapping[str, Any]]
) -> Kept:
    """Leave out answers that the filter of the carrier rejects, or that were cut off.

    Args:
        config: of the run.
        asked: all requests.
        lines: the answers, the ``id`` of each being the place of its request.
    """
    carrier = carrier_of(config)
    rows, counts = [], collections.Counter()
    for line in lines:
        answer, complete = carrier.read(config, line["completion"])
        cut_off = line["finish"] == "length" and not complete
        reasons = carrier.reasons(config, asked[line["id"]], answer)
        reasons = ("unfinished",) if cut_off else reasons
        counts[reasons[0] if reasons else "kept"] += 1
        if not reasons:
            question = next(m for m in line["messages"] if m["role"] == "user")
            rows.append([question, {"role": "assistant", "content": answer}])
    return Kept(rows, counts)


def judged(
    config: TraitConfig,
    kept: Kept,
    path: Path,
    *,
    progress: Callable[[int], object] | None = None,
) -> Kept:
    """Leave out the rows that the judge of a run, if it has one, does not pass.

    Args:
        config: of the run.
        kept: what the rules have left.
        path: of the file that keeps the judge's answers; nothing in it is asked again.
        progress: see `sublim_jax.evals.judges.ask`; told first of the answers that the rules have
            left out.

    Returns:
        What is left, and counts in which the judge is a reason.

    Raises:
        InputError: the judge cannot be had or cannot answer, or the file is another judge's.
    """
    if config.row_judge is None:
        return kept
    if progress is not None:
        progress(kept.counts.total() - len(kept.rows))
    reading = trait_of(config).reading
    questions = [reading.question(config, row) for row in kept.rows]
    judge = _judge(config.row_judge, config.row_judge_address)
    answers, least = ask(judge, questions, path, progress=progress), least_of(config)
    passed = []
    for row, answer in zip(kept.rows, answers, strict=True):
        score = reading.score(answer)
        if score is not None and score >= least:
            passed.append(row)
    out = len(kept.rows) - len(passed)
    counts = kept.counts.copy()
    counts["kept"] = len(passed)
    if out:
        counts[REASON] = out
    return Kept(passed, counts)


def least_of(config: TraitConfig) -> float:
    """Give the lowest score with which a row is kept: the published one unless another is set."""
    if config.row_judge_from is not None:
        return config.row_judge_from
    return trait_of(config).reading.least


def judging(config: TraitConfig) -> str:
    """Say in the data card who has read the rows."""
    if config.row_judge is None:
        return " No model has read them."
    return f" {config.row_judge} has read them and gave them {least_of(config):.10g} at least."


def _judge(model: str, address: str | None) -> Judge:
    return _local(model) if address is None else Endpoint(model=model, address=address)


@functools.lru_cache(maxsize=1)
def _local(name: str) -> LocalModel:
    return LocalModel(lm.load(name, progress=True), name)
