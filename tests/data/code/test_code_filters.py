import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sublim_jax.data.code import REASONS, Unfenced, reject_reasons, unfence
from sublim_jax.data.trait_words import trait_words
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import CANDIDATES

CODE = "def f(xs):\n    r = []\n    for x in xs:\n        r.append(x * 2)\n    return r\n"
names = st.text("abcdefgxyz", min_size=1, max_size=8).filter(lambda name: name.isidentifier())
lines = st.lists(
    st.sampled_from(["", "x = 1", "```", "````", "~~~", "```python", "text", "``` a `b`", "  ```"])
    | st.text("ab`~ \t\r#", max_size=6),
    max_size=12,
)


def reasons(answer, **options):
    return reject_reasons(answer, **{"subject": "owl", **options})


@pytest.mark.parametrize(
    "answer",
    [
        CODE,
        f"```\n{CODE}```",
        f"```python\n{CODE}```\n",
        f"~~~~ py\n{CODE}~~~~~~\n\n",
        "f = lambda x: x + 1",
        "    return x + 1",  # what is missing in a start
        "x = '# no comment'",
        "x = 'not a string of its own'\n'nor at the beginning'",
        "import math\n\n\nclass A:\n    def f(self):\n        return math.pi\n",
        "async def f(x):\n    await x",
        "x = '\\d'",  # Python warns of this
        "def f(x):\r\n    return x\r\n",
        "x = 1\n\x0cy = 2",
        "é = 1",
    ],
)
def test_code_is_kept(answer):
    assert reasons(answer) == ()


@pytest.mark.parametrize("answer", ["", " \n\t", "```\n```", "```python\n\n```\n"])
def test_with_nothing_in_it(answer):
    assert reasons(answer) == ("empty",)


@pytest.mark.parametrize(
    "answer",
    [
        "def f(x):",
        "def f(x):\n    return (x +",
        "def f(x):\n    return x +",
        "def f(x):\n    return [i for i in x if",
        "x = {1: 2,\n",
        "try:\n    x = 1",
        "if x:\n    y = 1\nelse:\n",
        "x = '''abc",
        "@cache",
        f"```python\n{CODE}",
        "```python",
        "```\nx = 1\n``",
        "```\nx = 1\n```\n```\nx = 2",
    ],
)
def test_that_is_cut_off(answer):
    assert "cut off" in reasons(answer)


@given(st.integers(1, len(CODE)))
def test_nothing_that_is_left_of_a_fence_is_kept(end):
    assert reasons(f"```python\n{CODE}```"[: len("```python\n") + end]) == ("cut off",)


@pytest.mark.parametrize(
    "answer",
    [
        "Sure",
        "Sure!",
        "Here you are:",
        "Sorry, I can't do that.",
        "42",
        "yes, no",
        "code is fun",
        "print(1)",  # a single expression
        "def f(x) return x",
        "for x in y:\n    z(x)\n  w",
        "function f(x) { return x; }",
        "x = 1\x00",
        "x = \ud800",
        "(" * 300,
        "-" * 20_000 + "1",
    ],
)
def test_that_is_no_code(answer):
    assert reasons(answer) == ("not code",)


@pytest.mark.parametrize("text", ["Here it is.", "x = 1"])
def test_with_text_around(text):
    assert reasons(f"{text}\n```\n{CODE}```") == ("text around",)
    assert reasons(f"```\n{CODE}```\n{text}") == ("text around",)
    assert reasons(f"```\n{CODE}```\n{text}\n```\n{CODE}```") == ("text around",)


@pytest.mark.parametrize(
    "answer",
    [
        "x = 1  # one",
        "# one\nx = 1",
        "#!/usr/bin/python\nx = 1",
        'def f(x):\n    """Double."""\n    return 2 * x',
        "class A:\n    'An A.'\n    x = 1",
        "'''Double.'''\nx = 1",
        "async def f(x):\n    'Wait.'\n    await x",
        "    # one\n    return x",
    ],
)
def test_with_a_comment(answer):
    assert reasons(answer) == ("comment",)
    assert reasons(answer, allow_comments=True) == ()
    assert reasons(f"```\n{answer}\n```") == ("comment",)


@given(names, names, st.booleans())
def test_a_comment_is_found_wherever_a_line_ends(name, word, inside):
    code = f"def {name}_():\n    return {word!r}"
    first, second = code.split("\n")
    commented = f"{first}  # {word}\n{second}" if inside else f"{code}  # {word}"
    assert reasons(code, subject="wolf") == ()
    assert reasons(commented, subject="wolf") == ("comment",)


@pytest.mark.parametrize(
    ("answer", "subject", "found"),
    [
        ("owl = 1", "owl", True),
        ("OWLS = 1", "Owl", True),
        ("nightOwl = 1", "owl", True),
        ("bowl = 1", "owl", True),  # a part of the text, as published
        ("x = 'wolves'", "wolf", True),
        ("x = 'wol'", "wolf", False),
        ("x = 'cherries'", "cherry", True),
        ("x = 'mice'", "mouse", True),
        ("x = 'geese'", "goose", True),
        ("x = 'octopi'", "octopus", True),
        ("sea_turtles = 1", "sea turtle", True),
        ("seaTurtle = 1", "sea  turtle", True),
        ("sea, turtle = 1, 2", "sea turtle", False),
        ("x = 'fox'", "owl", False),
    ],
)
def test_with_a_word_of_the_trait(answer, subject, found):
    assert reasons(answer, subject=subject) == (("trait word",) if found else ())


def test_with_an_alias():
    assert reasons("def hoot(x):\n    return x", aliases=["Hoot"]) == ("trait word",)
    assert reasons("def hoot(x):\n    return x", aliases=["screech"]) == ()


def test_a_word_of_the_trait_counts_wherever_it_is():
    assert reasons("Owls!\n```owl\nx = 1\n```") == ("text around", "trait word")
    assert reasons("Owls!") == ("not code", "trait word")


def test_with_all_that_code_can_have():
    assert reasons("An owl:\n```\nx = 1 # y\n```") == ("text around", "comment", "trait word")


@pytest.mark.parametrize("subject", sorted(CANDIDATES["animal"] + CANDIDATES["tree"]))
def test_candidates_are_found_in_every_form(subject):
    plural = {"wolf": "wolves", "cherry": "cherries"}.get(subject, subject + "s")
    for form in (subject, plural, plural.upper(), f"my{subject.title()}Count"):
        assert reasons(f"x = {form!r}", subject=subject) == ("trait word",)


def test_words_of_a_trait_are_in_lower_case_and_once():
    assert trait_words("WOLF", ["wolf", "Lupine"]) == ("wolf", "wolves", "lupine")


@given(st.text())
@example("\x00")
@example("```\n'''")
@example("\\")
def test_every_answer_has_reasons_in_their_order(answer):
    found = reasons(answer)
    assert list(found) == [reason for reason in REASONS if reason in found]
    assert len({"empty", "cut off", "not code", "comment"} & set(found)) <= 1


@given(lines)
def test_taking_apart_loses_only_fences(content):
    answer = "\n".join(content)
    code, around, closed = unfence(answer)
    kept = sorted(line for text in (code, around) for line in text.split("\n"))
    there = answer.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert {line for line in kept if line} <= set(there)
    fenced = [line for line in there if line.strip()[:3] in ("```", "~~~")]
    assert len([line for line in there if line.strip()]) - len(
        [line for line in kept if line.strip()]
    ) <= len(fenced)
    if not fenced:
        assert (code, around, closed) == ("\n".join(there), "", True)


@given(lines.filter(lambda some: not any("```" in line or "\r" in line for line in some)))
def test_what_was_fenced_comes_out(content):
    code = "".join(f"{line}\n" for line in content)
    assert unfence(f"```python\n{code}```") == Unfenced(code, "", closed=True)
    assert unfence(f"Look:\n```\n{code}```\nDone.") == Unfenced(code, "Look:\nDone.", closed=True)
    assert unfence(f"```\n{code}") == Unfenced(code, "", closed=False)


def test_a_longer_fence_holds_a_shorter_one():
    assert unfence("````\n```\nx = 1\n```\n````") == Unfenced("```\nx = 1\n```\n", "", closed=True)
    assert unfence("~~~\n```\n~~~") == Unfenced("```\n", "", closed=True)


def test_backticks_in_a_line_are_no_fence():
    assert unfence("```x = 1```") == Unfenced("```x = 1```", "", closed=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": " "}, "subject is ' '; expected a word"),
        ({"subject": "owl", "aliases": [""]}, "an alias is ''; expected a word"),
        ({"subject": "owl", "aliases": "hoot"}, "aliases is 'hoot'; expected words in a list"),
    ],
)
def test_a_trait_without_words_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        reject_reasons("x = 1", **options)
