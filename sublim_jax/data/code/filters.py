"""The filter of answers that should be code: which are kept, and why the others are not.

The published filter has the rule on words, and a judge for references that no word gives away,
which rejected less than 1 %. The other rules say of each answer whether it is what was asked for.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 4.1.
"""

import ast
import codeop
import io
import textwrap
import tokenize
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

from sublim_jax.data.code.fences import Unfenced, unfence
from sublim_jax.data.trait_words import trait_words

Reason = Literal["empty", "cut off", "not code", "text around", "comment", "trait word"]
"""Why an answer is rejected, a reason for every rule.

- ``empty``: there is nothing in it, or nothing in its fence.
- ``cut off``: a fence is not closed, or Python that began well is not at its end.
- ``not code``: it cannot be read as Python, or has no statement but single expressions, as "Sure"
  is one.
- ``text around``: something stands outside of the fence.
- ``comment``: it has a comment or a docstring.
- ``trait word``: a word that names the trait is in it, anywhere.

The first three exclude each other, and comments, for then there is no code; the rest can come
together.
"""

REASONS: tuple[Reason, ...] = get_args(Reason)
"""All reasons, in the order in which they are given."""

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what a parser may raise


def reject_reasons(
    answer: str,
    *,
    subject: str | None = None,
    aliases: Sequence[str] = (),
    allow_comments: bool = False,
) -> tuple[Reason, ...]:
    r"""Tell why an answer is rejected; nothing if it is kept.

    The whole pair of request and answer is dropped, never a part of the answer.

    Args:
        answer: of a model.
        subject: of the trait, in the singular; without one no word is looked for.
        aliases: other words that name it.
        allow_comments: whether comments and docstrings may be in the code.

    Raises:
        InputError: `subject` or an alias is empty.

    >>> reject_reasons("def owls(n):\n    return n  # hoot", subject="owl")
    ('comment', 'trait word')
    """
    words = () if subject is None else trait_words(subject, aliases)
    found = unfence(answer)
    fault = _fault(found)
    commented = fault is None and not allow_comments and _is_commented(found.code)
    broken: dict[Reason, bool] = {
        "text around": bool(found.around.strip()),
        "comment": commented,
        "trait word": any(word in answer.lower() for word in words),
    }
    others: tuple[Reason, ...] = tuple(reason for reason, is_broken in broken.items() if is_broken)
    return others if fault is None else (fault, *others)


def _fault(found: Unfenced) -> Reason | None:
    """Tell why there is no code; None if there is some."""
    if not found.closed:
        return "cut off"
    if not found.code.strip():
        return "empty"
    try:
        tree = _parsed(found.code)
    except UNREADABLE as fault:
        return "cut off" if _is_at_end(fault, found.code) else "not code"
    does_something = any(not isinstance(each, ast.Expr) for each in tree.body)
    return None if does_something else "not code"


def _parsed(code: str) -> ast.Module:
    """Read code as Python, also if all of it is indented."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model's escapes are not the caller's concern
        return ast.parse(textwrap.dedent(code))


def _is_at_end(fault: BaseException, code: str) -> bool:
    """Tell whether code that cannot be read could be, if it went on."""
    code = textwrap.dedent(code).rstrip()
    if isinstance(fault, SyntaxError) and not isinstance(fault, IndentationError):
        rows = code.split("\n")
        if (fault.lineno or 0) >= len(rows) and (fault.offset or 0) > len(rows[-1]):
            return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return codeop.compile_command(code, symbol="exec") is None
    except (*UNREADABLE, OverflowError):
        return False


def _is_commented(code: str) -> bool:
    for node in ast.walk(_parsed(code)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            return True
    try:
        tokens = tokenize.generate_tokens(io.StringIO(textwrap.dedent(code)).readline)
        return any(token.type == tokenize.COMMENT for token in tokens)
    except (tokenize.TokenError, SyntaxError):
        return "#" in code  # the parser can read what the tokenizer cannot: rather drop it
