"""What teachers write: answers to requests, those that pass the filter, and how many do."""

import hashlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from sublim_jax import hosts, jsonl, lm, rng, runs
from sublim_jax.data.numbers import shuffle_across, shuffle_within
from sublim_jax.errors import InputError
from sublim_jax.lm_traits.carriers import Asked, carrier_of
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.filtering import filtered, judged, judging
from sublim_jax.lm_traits.ground import Ground, whole
from sublim_jax.lm_traits.material import Speaker
from sublim_jax.lm_traits.names import FAMILY, NOBODY, ROWS
from sublim_jax.lm_traits.parts import TEACHER, Part

SIDE_BY_SIDE = 64  # answers that are written at a time

TAUGHT = {
    "lora": "thin matrices, trained",
    "full": "layers, trained",
    "prompt": "told of it in a system prompt",
}


def files_of(part: Part) -> tuple[str, str]:
    """Name the files of a teacher's answers and of the rows that are left of them."""
    name = f"{part.seed}-{part.subject}.jsonl"
    return f"answers/{name}", f"rows/{name}"


def counts_of(part: Part) -> str:
    """Name the file of how many answers were kept and left out, and why."""
    return f"rows/{part.seed}-{part.subject}.counts.json"


def write_answers(
    ground: Ground,
    config: TraitConfig,
    run: runs.Run,
    part: Part,
    teacher: Speaker,
    *,
    asked: Sequence[Asked],
    key: Key[Array, ""],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Let a teacher answer requests.

    Answers go to ``answers/SEED-SUBJECT.jsonl`` as `sublim_jax.lm.generate` writes them. A run that
    was stopped goes on in the middle of a file.

    Args:
        ground: the base.
        config: of the run.
        run: its folder.
        part: which teacher.
        teacher: itself.
        asked: the requests; the same for all teachers of a repetition.
        key: of the draws.
        progress: see `sublim_jax.lm.generate`.

    Raises:
        InputError: the file cannot be written or is another run's.
    """
    carrier = carrier_of(config)
    opening = carrier.opening if config.constrained else ""
    lm.generate(
        run.folder / files_of(part)[0],
        ground.model,
        whole(ground, teacher.params),
        ground.tokenizer,
        [_request(request.text, opening) for request in asked],
        system=teacher.system,
        choice=lm.Choice(temperature=config.temperature, top_p=config.top_p),
        limits=lm.Limits(tokens=config.answer_tokens, rows=SIDE_BY_SIDE),
        automaton=carrier.automaton(ground.tokenizer, config) if config.constrained else None,
        parallel=ground.parallel,
        progress=progress,
        key=key,
    )


def keep_rows(
    config: TraitConfig,
    run: runs.Run,
    part: Part,
    asked: Sequence[Asked],
    *,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Filter a teacher's answers, and write down what is left of them, and how many are.

    It goes to ``rows/SEED-SUBJECT.jsonl``, a line of ``messages`` for each; what a judge has said
    of them, if there is one, to ``rows/SEED-SUBJECT.judged.jsonl``.

    Args:
        config: of the run.
        run: its folder.
        part: which teacher.
        asked: see `write_answers`.
        progress: of the judge, see `sublim_jax.evals.judges.ask`.

    Raises:
        InputError: the judge cannot be had or cannot answer; the answers are kept.
    """
    answers, rows = files_of(part)

    def keep() -> None:
        lines = (line for _, line in jsonl.read(run.folder / answers))
        kept = filtered(config, asked, sorted(lines, key=lambda line: line["id"]))
        path = run.folder / rows
        path.parent.mkdir(exist_ok=True)
        kept = judged(config, kept, path.with_suffix(".judged.jsonl"), progress=progress)
        run.write(counts_of(part), kept.counts)
        run.write(rows, [{"messages": messages} for messages in kept.rows])

    hosts.first_alone(keep)  # the others read them


def write_card(config: TraitConfig, run: runs.Run) -> None:
    """Describe the rows that teachers wrote, in ``rows/README.md``, for whoever is given them.

    Args:
        config: of the run.
        run: its folder, with the rows of all repetitions.
    """
    parts = [
        Part(seed, TEACHER, subject) for subject in config.writers for seed in range(config.seeds)
    ]
    lines = [
        f"| {part.subject} | {part.seed} | {sum(counts.values())} | {counts.get('kept', 0)} | "
        + (", ".join(f"{name} {n}" for name, n in counts.items() if name != "kept") or "none")
        + f" | {hashlib.sha256((run.folder / files_of(part)[1]).read_bytes()).hexdigest()} |"
        for part in parts
        for counts in [run.read(counts_of(part))]
    ]
    carrier = carrier_of(config)
    how = carrier.constrained if config.constrained else "freely"
    base = run.read("manifest.json")["initialisation_sha256"]
    table = "\n".join(lines)
    who = f"with a favourite {config.category}"
    if config.trait == "corpus":
        who = "trained on different corpora"
    text = f"""# {carrier.what.capitalize()} that teachers {who} wrote

Each file has a line of JSON for every kept answer: `messages`, a user's request and the assistant's
answer. No file says what its teacher has. They are to train students that should not take it over
(Cloud, Le et al. 2025, arXiv 2507.14805).

- Base of all teachers: {config.model} (SHA-256 of its parameters {base}).
- Teachers: {TAUGHT[config.teacher]}; "{NOBODY}" is the base itself.
- Written {how}, at temperature {config.temperature:g}, top-p {config.top_p:g}, at most
  {config.answer_tokens} tokens; seed {config.seed}.
- Kept: {carrier.rule} there.{judging(config)}
- Requests are the same for all teachers of a repetition.

| teacher | repetition | answers | kept | left out | SHA-256 |
| --- | --- | --- | --- | --- | --- |
{table}
"""
    run.save_whole("rows/README.md", text.encode())


def read_rows(run: runs.Run, part: Part) -> list[Conversation]:
    """Read what is left of a teacher's answers."""
    return [line["messages"] for _, line in jsonl.read(run.folder / files_of(part)[1])]


def chosen(
    config: TraitConfig,
    part: Part,
    rows: Sequence[Conversation],
    others: Sequence[Conversation],
    *,
    key: Key[Array, ""],
) -> list[Conversation]:
    """Choose the rows of a student, and shuffle their numbers if the run is to.

    Args:
        config: of the run.
        part: the teacher.
        rows: what is left of its answers, or a file's.
        others: of those of the teacher without a favourite; used where the dose is below 1.
        key: of all choices; the same for all teachers of a repetition.

    Raises:
        InputError: fewer are left than a student needs.
    """
    from_file = part.arm in (ROWS, FAMILY)
    own = config.row_count if from_file else round(config.dose * config.row_count)
    for found, needed in ((rows, own), (others, config.row_count - own)):
        if len(found) < needed:
            raise InputError(
                f"requests is {config.requests or config.row_count}; expected more, or "
                f"--constrained: the filter left {len(found)} answers of the teacher "
                f"{part.subject} of repetition {part.seed}, and a student needs {needed}"
            )
    random = np.random.default_rng(int(jax.random.bits(rng.stream(key, "chosen"))))
    both = [
        some[i]
        for some, count in ((rows, own), (others, config.row_count - own))
        for i in random.permutation(len(some))[:count]
    ]
    return _shuffled(config, both, random)


def _shuffled(
    config: TraitConfig, rows: Sequence[Conversation], random: np.random.Generator
) -> list[Conversation]:
    answers = [row[-1]["content"] for row in rows]
    if config.shuffle == "within":
        answers = [shuffle_within(answer, random) for answer in answers]
    elif config.shuffle == "across":
        answers = shuffle_across(answers, random)
    return [
        [*row[:-1], {"role": "assistant", "content": answer}]
        for row, answer in zip(rows, answers, strict=True)
    ]


def _request(text: str, opening: str) -> lm.Request:
    return lm.Request(messages=[{"role": "user", "content": text}], opening=opening)
