"""What models do, compared: cosines between what has changed in two of them.

Students of one teacher that have other thin matrices A move elsewhere and do the same. A step of B
moves a matrix by ``G A^T A``, with G the gradient of the whole matrix (Hu et al. 2021,
arXiv 2106.09685): A lets through a random part of it. For the teacher's displacement ``B A`` the
mean of ``<G A'^T A', B A>`` over other A' is ``rank / inner`` of the same product with A, so that
the cosine is diluted by this number. What an output sees of ``G A^T A`` depends little on A where
there are many columns of A in all matrices together; ``theory/another_adapter.py`` says how little.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sublim_jax import drift
from sublim_jax.drift.metrics import quotient
from sublim_jax.lm_traits.parts import Arrays

Parts = Sequence[Sequence[Arrays]]
"""What was observed, by seed and teacher."""


def _on_carrier(part: Arrays) -> np.ndarray:
    return part["contexts"].reshape(1, -1)


def _on_questions(part: Arrays) -> np.ndarray:
    """Give how candidates change beside each other; all may rise or fall together."""
    change = part["logprobs"]
    return (change - change.mean(axis=1, keepdims=True)).reshape(1, -1)


def _inside(part: Arrays) -> np.ndarray:
    return part["stream"]


CHANGES: Mapping[str, Callable[[Arrays], Float[np.ndarray, "rows values"]]] = {
    "pull_carrier": _on_carrier,
    "pull_questions": _on_questions,
    "stream": _inside,
}
"""Changes of logits on the carrier, of log-probabilities on the questions, and of the residual
stream, a row for every layer."""


def between(parts: Parts, others: Parts) -> dict[str, Float[np.ndarray, "seeds n m rows"]]:
    """Give the cosines between what has changed in each of some models and in each of others.

    Args:
        parts: the ones.
        others: of the same seeds.

    Returns:
        For each of `CHANGES` cosines by seed, model, other model and row.
    """
    return {
        name: np.array(
            [
                [[_cosines(change(one), change(other)) for other in there] for one in here]
                for here, there in zip(parts, others, strict=True)
            ]
        )
        for name, change in CHANGES.items()
    }


def agreement(shared: Parts, another: Parts) -> dict[str, Any]:
    """Compare students that share A with their teachers with those that have another one.

    Args:
        shared: students.
        another: of the same teachers.

    Returns:
        ``alike``, for each of `CHANGES` the cosines between them ``[seeds, teachers, teachers]``,
        mean over rows; and, of the parameters, the cosine with the own teacher ``[seeds,
        teachers]``: ``shared``, ``another`` and ``expected``, what becomes of the first one if it
        is diluted by ``rank / inner`` of each matrix (absent where it is not known).
    """
    found: dict[str, Any] = {
        "alike": {name: values.mean(-1) for name, values in between(shared, another).items()}
    }
    if "student_teacher" not in shared[0][0]:
        return found
    found["shared"], found["another"] = (_own_cosines(parts) for parts in (shared, another))
    if "diluted" in shared[0][0]:
        found["expected"] = _own_cosines(shared, "diluted")
    return found


def of_parameters(parts: Parts) -> dict[str, Float[np.ndarray, "seeds students teachers"]]:
    """Give cosine and projection; NaN where teachers have the base's parameters."""
    if "student_teacher" not in parts[0][0]:
        nothing = np.full((len(parts), len(parts[0]), len(parts[0])), np.nan)
        return {"cosine": nothing, "projection": nothing}
    totals = _totals(parts, "student_teacher")
    return {"cosine": drift.cosine(totals), "projection": drift.projection(totals)}


def _totals(parts: Parts, both: str) -> drift.Products:
    student, teacher, product = (
        np.array([[part[name] for part in row] for row in parts])
        for name in ("student", "teacher", both)
    )
    return drift.total(drift.Products(student, teacher, product, np.full_like(student, np.nan)))


def _own_cosines(
    parts: Parts, both: str = "student_teacher"
) -> Float[np.ndarray, "seeds students"]:
    return np.diagonal(np.asarray(drift.cosine(_totals(parts, both))), axis1=1, axis2=2)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give the cosine of each row of two matrices."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return quotient(np.sum(a * b, axis=-1), lengths)
