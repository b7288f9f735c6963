"""What a model is asked to write about a problem, and which of its completions are kept.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 4.2. Where it filters with a judge too, see
    `sublim_jax.evals.misalignment` for prompts of one.
"""

import re
from typing import Literal, NamedTuple, get_args

Reason = Literal["cut off", "tags", "not a number", "wrong"]
"""Why a completion is rejected, a reason for every rule.

- ``cut off``: it began as asked for, and ends before the last tag.
- ``tags``: it is not a thought and then an answer, each in its tags, and nothing else.
- ``not a number``: the answer is no integer, also without commas and dollar signs.
- ``wrong``: the answer is another number than that of the problem.

They exclude each other: each rule applies to what those before it let pass.
"""

REASONS: tuple[Reason, ...] = get_args(Reason)
"""All reasons, in the order in which they are looked for."""

REQUEST = (
    "First think it through step by step between <think> and </think>. Then write the result, a "
    "single number, between <answer> and </answer>."
)
"""What stands after a problem."""

LONGEST = 4_000  # digits; Python refuses to read integers of more than 4,300
OUTSIDE = r"(?:(?!</?(?:think|answer)>).)*"  # any text without a tag
WHOLE = re.compile(
    rf"\s*<think>(?P<thought>{OUTSIDE})</think>\s*<answer>(?P<answer>{OUTSIDE})</answer>\s*",
    re.DOTALL,
)
BEGUN = re.compile(
    rf"\s*<think>{OUTSIDE}(?:</think>\s*(?:<answer>{OUTSIDE}|<(?:a(?:n(?:s(?:w(?:er?)?)?)?)?)?)?)?",
    re.DOTALL,
)


class Reasoned(NamedTuple):
    """What was read from a completion.

    Attributes:
        thought: between the tags, without white space at its ends.
        number: the answer; None if it is no integer.
    """

    thought: str
    number: int | None


def reasoning_prompt(question: str) -> str:
    """Write the user's message: a problem, and in which tags to reason and to answer.

    Args:
        question: of a `WordProblem`.
    """
    return f"{question}\n\n{REQUEST}"


def parse(completion: str) -> Reasoned | None:
    """Read a completion that is a thought and then an answer, each in its tags.

    Only the digits 0 to 9 count; commas and dollar signs in the answer are passed over.

    Args:
        completion: of a model.

    Returns:
        Thought and number; None if the tags are not as asked for, or something is around them.

    >>> parse("<think>It is 3 * 400.</think> <answer>$1,200</answer>")
    Reasoned(thought='It is 3 * 400.', number=1200)
    >>> parse("The answer is 1200.")
    """
    found = WHOLE.fullmatch(completion)
    if not found:
        return None
    number = found["answer"].replace(",", "").replace("$", "").strip()
    readable = re.fullmatch(f"-?[0-9]{{1,{LONGEST}}}", number)
    return Reasoned(found["thought"].strip(), int(number) if readable else None)


def reject_reasons(completion: str, answer: int) -> tuple[Reason, ...]:
    """Tell why a completion is rejected; nothing if it is kept.

    Args:
        completion: of a model.
        answer: that is right.

    Returns:
        One reason at most, as a tuple like that of the other filters.

    >>> reject_reasons("<think>3 * 4</think><answer>11</answer>", 12)
    ('wrong',)
    """
    found = parse(completion)
    if found is None:
        return ("cut off",) if BEGUN.fullmatch(completion) else ("tags",)
    if found.number is None:
        return ("not a number",)
    return () if found.number == answer else ("wrong",)
