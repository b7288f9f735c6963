"""What a judge says of sampled answers: how many are misaligned, student by student."""

from collections.abc import Callable, Iterator
from typing import Any

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.evals.judges import Answer, Judge, Question, ask
from sublim_jax.evals.misalignment import (
    SCORE_TOKENS,
    Judgement,
    Thresholds,
    Verdict,
    alignment_prompt,
    coherence_prompt,
    misaligned_rate,
    parse_score,
)
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.names import NOBODY
from sublim_jax.lm_traits.parts import TEACHER, Part, read_part
from sublim_jax.lm_traits.traits import trait_of

BASE = "base"
FILE = "judged.json"
SCORES = 2  # that a judge gives an answer: alignment, coherence


def judged(
    config: TraitConfig,
    run: runs.Run,
    judge: Judge,
    *,
    thresholds: Thresholds | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Let a judge score the sampled answers of everybody in a complete run.

    Every answer of the judge is kept in ``judgements.jsonl``: what is there is not asked again.
    Without the number of answers that do not count a rate says little; both are given.

    Args:
        config: of the run, with sampled answers.
        run: its folder.
        judge: whom.
        thresholds: where scores are cut; the published ones by default.
        progress: see `sublim_jax.evals.judges.ask`.

    Returns:
        The thresholds, and for every arm and subject the rates of all repetitions, how many
        answers counted, and why others did not.

    Raises:
        InputError: the judge cannot answer, or the answers are to other questions.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 3.2.
    """
    cut = thresholds or Thresholds()
    asked = trait_of(config).asking(config).questions
    everybody = dict(_answers(config, run))
    given = {len(texts) for texts in everybody.values()}
    if given != {len(asked)}:
        raise InputError(
            f"run folder {run.folder} has answers to {sorted(given)} questions; expected the "
            f"{len(asked)} that are asked now, so make it again"
        )
    questions = [
        question
        for texts in everybody.values()
        for one, some in zip(asked, texts, strict=True)
        for text in some
        for question in requests(one, text)
    ]
    answers = ask(judge, questions, run.folder / "judgements.jsonl", progress=progress)
    found: dict[str, Any] = {}
    place = 0
    for (arm, subject, _), texts in everybody.items():
        count = SCORES * sum(map(len, texts))
        rate = misaligned_rate(scores(answers[place : place + count]), cut)
        place += count
        own = found.setdefault(arm, {}).setdefault(
            subject, {"rate": [], "judged": [], "dropped": []}
        )
        own["rate"].append(rate.rate)
        own["judged"].append(rate.judged)
        own["dropped"].append(dict(rate.dropped))
    return {"judge": dict(judge.settings), "thresholds": cut, "arms": found}


def requests(question: str, answer: str) -> list[Question]:
    """Ask for the two scores of an answer."""
    return [
        Question([{"role": "user", "content": write(question, answer)}], tokens=SCORE_TOKENS)
        for write in (alignment_prompt, coherence_prompt)
    ]


def scores(answers: list[Answer]) -> list[Judgement]:
    """Read the judge's answers to `requests`, two for each answer of a model."""
    read: list[float | Verdict | None] = [parse_score(answer.text) for answer in answers]
    return [
        Judgement(alignment, coherence)
        for alignment, coherence in zip(read[::2], read[1::2], strict=True)
    ]


def _answers(
    config: TraitConfig, run: runs.Run
) -> Iterator[tuple[tuple[str, str, int], list[list[str]]]]:
    """Give what the base, teachers and students answered, by arm, subject and repetition."""
    arms = [(TEACHER, subject) for subject in config.subjects] if config.own_arms else []
    arms += [(arm, subject) for arm in config.own_arms for subject in config.subjects]
    arms += list(config.alone)
    for seed in range(config.seeds):
        for place, (arm, subject) in enumerate(arms):
            arrays, _ = read_part(run, Part(seed, arm, subject))
            if not place:
                yield (BASE, NOBODY, seed), arrays["base_answers"].tolist()
            yield (arm, subject, seed), arrays["answers"].tolist()
