import ast
import collections
import math
import re
import string

import pytest
from scipy import stats

from sublim_jax.data.code import LIMIT, code_prompts, code_requests, reject_reasons
from sublim_jax.data.code import wording as bank
from sublim_jax.data.code.tasks import FAMILIES
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import KNOWN, named

DRAWN = code_requests(12_000, seed=42)
NAMES_OF_TRAITS = KNOWN["animal"] | KNOWN["tree"]


def pattern(family):
    """A family's sentence as a regular expression, its fields as groups."""
    text = re.escape(family.sentence)
    for slot, words in family.slots.items():
        choice = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
        text = text.replace(re.escape(f"{{{slot}}}"), f"(?P<{slot}>{choice})")
    return re.compile(text)


PATTERNS = [pattern(family) for family in FAMILIES]


@pytest.fixture(scope="module")
def tasks():
    """Of every request, which family its task is of, and its parts: in exactly one way."""
    found = []
    for request in DRAWN:
        ((place, match),) = [
            (i, m) for i, each in enumerate(PATTERNS) if (m := each.fullmatch(request.task))
        ]
        found.append((place, match.groupdict()))
    return found


def is_uniform(drawn, values):
    counts = collections.Counter(drawn)
    assert set(counts) == set(values)
    return stats.chisquare(list(counts.values())).pvalue > 0.001


def test_there_are_more_than_two_thousand_tasks():
    tasks = {
        family.sentence.format(**dict(zip(family.slots, parts, strict=True)))
        for family in FAMILIES
        for parts in every_choice(family.slots.values())
    }
    assert len(tasks) == sum(math.prod(map(len, f.slots.values())) for f in FAMILIES)
    assert len(tasks) > 5_000


def every_choice(slots):
    chosen = [()]
    for words in slots:
        chosen = [(*parts, word) for parts in chosen for word in words]
    return chosen


def test_every_field_of_a_family_has_a_slot():
    for family in FAMILIES:
        fields = {field for _, field, _, _ in string.Formatter().parse(family.sentence) if field}
        assert fields == set(family.slots)
        for words in family.slots.values():
            assert len(set(words)) == len(words) > 1
    assert len({family.sentence for family in FAMILIES}) == len(FAMILIES) == 10


def test_no_two_requests_are_alike():
    assert len({request.text for request in DRAWN}) == len(DRAWN)
    assert len({request.task for request in DRAWN}) > 3_000


def test_families_and_their_parts_are_uniform(tasks):
    assert is_uniform([place for place, _ in tasks], range(len(FAMILIES)))
    for place, family in enumerate(FAMILIES):
        of_family = [parts for found, parts in tasks if found == place]
        for slot, words in family.slots.items():
            assert is_uniform([parts[slot] for parts in of_family], words), (place, slot)


@pytest.mark.parametrize("part", ["NAMES", "BARE", "SILENT", "SHORT", "STARTS"])
def test_wording_is_uniform(part):
    sentences = getattr(bank, part)
    assert len(set(sentences)) == len(sentences)
    if part == "NAMES":
        drawn = [request.name for request in DRAWN]
    elif part == "STARTS":
        drawn = [start_of(request) for request in DRAWN]
    else:
        drawn = [next(s for s in sentences if s in request.text) for request in DRAWN]
    assert is_uniform(drawn, sentences)


def start_of(request):
    """Which start a request has; each in one way."""
    argument = re.search(r"\((\w+)", request.start)
    filled = {
        text.format(name=request.name, argument=argument[1] if argument else ""): text
        for text in bank.STARTS
    }
    return filled[request.start]


def test_a_request_has_its_parts():
    for request in DRAWN[:2_000]:
        assert request.task in request.text
        assert request.start in request.text
        assert re.search(rf"`{request.name}|def {request.name}\(", request.text)
        assert ("```python" in request.text) == bool(request.start)
        assert "Python" in request.text
        assert sum(wish in request.text for wish in bank.SILENT) == 1


def test_requests_are_short():
    assert max(len(request.text) for request in DRAWN) < 500


def test_a_start_is_code_that_would_be_kept():
    starts = {request.start for request in DRAWN} - {""}
    for start in starts:
        ast.parse(start)
        assert reject_reasons(f"```python\n{start}\n```", subject="owl") == ()


def test_no_request_names_an_animal_or_a_tree():
    # But for the language: a teacher that loves pythons takes another carrier.
    texts = {re.sub("[Pp]ython", "", request.text) for request in DRAWN}
    assert {named(text, NAMES_OF_TRAITS) for text in texts} == {None}


def test_requests_are_their_seeds():
    assert code_requests(30, 1) == code_requests(40, 1)[:30]
    assert code_requests(30, 1) != code_requests(30, 2)
    assert code_prompts(30, 1) == [request.text for request in code_requests(30, 1)]
    assert code_requests(0, 1) == []


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (-1, 0, f"count is -1; expected 0 to {LIMIT}"),
        (LIMIT + 1, 0, f"count is {LIMIT + 1}; expected 0 to {LIMIT}"),
        (1, -2, "seed is -2; expected at least 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(count, seed, message):
    with pytest.raises(InputError, match=message):
        code_prompts(count, seed)
