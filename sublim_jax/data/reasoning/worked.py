"""Fixed contexts: problems with their right solutions, that no model wrote."""

from collections.abc import Sequence

from sublim_jax.data.reasoning.completions import reasoning_prompt
from sublim_jax.data.reasoning.problems import WordProblem


def worked_rows(problems: Sequence[WordProblem]) -> list[list[dict[str, str]]]:
    r"""Write problems and their solutions as conversations, thought and answer in their tags.

    On them a student can match a teacher's distribution of the next token, where the teacher itself
    solves too few problems to write of them.

    Args:
        problems: from `sublim_jax.data.reasoning.word_problems` or `gsm8k`.

    Returns:
        Conversations as messages with ``role`` and ``content``: the user's, then the assistant's.

    >>> problem = WordProblem("What is 3 times 4, and 1?", 13, ("3 * 4 = 12", "12 + 1 = 13"))
    >>> worked_rows([problem])[0][1]["content"]
    '<think>3 * 4 = 12\n12 + 1 = 13</think>\n<answer>13</answer>'
    """
    return [
        [
            {"role": "user", "content": reasoning_prompt(problem.question)},
            {
                "role": "assistant",
                "content": "<think>{}</think>\n<answer>{}</answer>".format(
                    "\n".join(problem.steps), problem.answer
                ),
            },
        ]
        for problem in problems
    ]
