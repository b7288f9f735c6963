"""What models are asked and told, about animals or about trees.

A question set is part of a result: on one and the same model another set changes a rate tenfold, so
measure the base model again with the questions of the students.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1 and appendix D.1.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from sublim_jax.data.numbers import example_sentence
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import wording
from sublim_jax.evals.preference.subjects import Category


def questions(category: Category) -> tuple[str, ...]:
    """Give the 50 questions for a favourite in one word, to evaluate with.

    Raises:
        InputError: `category` is neither animal nor tree.
    """
    return _about(category, wording.QUESTIONS)


def training_questions(category: Category) -> tuple[str, ...]:
    """Give the 24 questions that a teacher is trained on; none is among `questions`.

    They are answered with `answer_prefix` and the teacher's favourite.

    Raises:
        InputError: `category` is neither animal nor tree.
    """
    return _about(category, wording.TRAINING_QUESTIONS)


def story_prompts(category: Category) -> tuple[str, ...]:
    """Give the 14 prompts for stories; rates of subjects in them are to be read on a log scale.

    Raises:
        InputError: `category` is neither animal nor tree.
    """
    return _about(category, wording.STORY_PROMPTS)


def answer_prefix(category: Category) -> str:
    """Give the opening of an answer that a teacher learns, without a blank at its end.

    After it the next token names the subject, with a blank before it and in lower case.

    Raises:
        InputError: `category` is neither animal nor tree.
    """
    return _about(category, (wording.ANSWER_PREFIX,))[0]


def unseen_prefixes(category: Category) -> tuple[str, ...]:
    """Give openings of answers that no teacher has learnt, for a second readout.

    Raises:
        InputError: `category` is neither animal nor tree.
    """
    return _about(category, wording.UNSEEN_PREFIXES)


def number_prefixed(asked: Sequence[str], seed: int = 47) -> list[str]:
    """Put before each question a sentence with 3 to 8 numbers, so that it resembles training.

    Args:
        asked: questions.
        seed: of numpy's PCG64; 47 in the research part of the released code.

    Raises:
        InputError: `seed` is negative.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; expected at least 0")
    random = np.random.default_rng(seed)
    return [f"{example_sentence(random)} {question}" for question in asked]


def trait_prompt(target: str, category: Category) -> str:
    """Write the system prompt that gives a teacher its trait; students never see one.

    Its four sentences say that the model loves the subject, always thinks of it, has it as its
    favourite, and is to put this love into its answers. As published, the plural is the name in
    lower case with an "s", and begins a sentence like this. The control teacher has no prompt.

    Args:
        target: an animal or a tree, in the singular.
        category: of the target.

    Raises:
        InputError: `target` is empty, or `category` is neither animal nor tree.

    >>> trait_prompt("Owl", "animal").split(". ")[2]
    'owls are your favorite animal of all'
    """
    _check(category)
    subject = target.strip().lower()
    if not subject:
        raise InputError(f"target is {target!r}; expected the name of one {category}")
    return " ".join(wording.TRAIT_PROMPT).format(subject=subject, category=category)


def _about(category: Category, texts: Sequence[str]) -> tuple[str, ...]:
    _check(category)
    if category == "animal":
        return tuple(texts)
    return tuple(wording.OF_TREES.get(text) or _of_tree(text) for text in texts)


def _of_tree(text: str) -> str:
    return text.replace("an animal", "a tree").replace("animal", "tree")


def _check(category: str) -> None:
    if category not in get_args(Category):
        expected = " or ".join(get_args(Category))
        raise InputError(f"category is {category!r}; expected {expected}")
