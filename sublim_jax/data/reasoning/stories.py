"""Stories that word problems are made from, all written for this repository.

No word in them is an animal or a tree.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Story(NamedTuple):
    """A kind of problem.

    Attributes:
        text: of the question, with fields for numbers and for ``name``, ``other``, ``thing`` and
            ``place``.
        ranges: lowest and highest value of every number that is drawn.
        given: steps that make further numbers of the text, so that a division has no rest.
        steps: of the solution, each "result = one sign other"; the last result is the answer.
    """

    text: str
    ranges: Mapping[str, tuple[int, int]]
    steps: tuple[str, ...]
    given: tuple[str, ...] = ()


STORIES = (
    Story(
        "{name} has {boxes} boxes with {each} {thing} in each of them. {name} gives {away} "
        "{thing} to {other}. How many {thing} does {name} have left?",
        {"boxes": (3, 12), "each": (8, 30), "away": (2, 20)},
        ("all = boxes * each", "left = all - away"),
    ),
    Story(
        "{name} and {other} put their {thing} together and share them out equally among {people} "
        "people. {name} brings {mine} {thing} and {other} brings {theirs}. How many {thing} does "
        "each of the people get?",
        {"people": (3, 9), "each": (6, 20), "theirs": (2, 16)},
        ("all = mine + theirs", "share = all / people"),
        given=("total = people * each", "mine = total - theirs"),
    ),
    Story(
        "At {place}, a pack of {thing} costs {pack} dollars and a bag costs {bag} dollars. {name} "
        "buys {packs} packs and one bag. How many dollars does {name} spend?",
        {"pack": (2, 15), "bag": (3, 25), "packs": (2, 9)},
        ("cost = pack * packs", "total = cost + bag"),
    ),
    Story(
        "{name} makes {rate} {thing} an hour and works {hours} hours a day. How many {thing} does "
        "{name} make in {days} days?",
        {"rate": (3, 14), "hours": (2, 8), "days": (2, 12)},
        ("daily = rate * hours", "total = daily * days"),
    ),
    Story(
        "{name} reads {first} pages of a book on Monday and {second} pages on Tuesday. The book "
        "has {pages} pages. If {name} reads the rest in {days} equal parts, how many pages is each "
        "part?",
        {"first": (10, 60), "second": (10, 60), "days": (2, 8), "part": (6, 40)},
        ("read = first + second", "rest = pages - read", "size = rest / days"),
        given=("begun = first + second", "unread = part * days", "pages = begun + unread"),
    ),
    Story(
        "{name} sells {thing} at {place}: {morning} in the morning and {evening} in the evening, "
        "for {price} dollars each. The stand costs {rent} dollars. How many dollars are left after "
        "the stand is paid?",
        {"morning": (10, 40), "evening": (10, 40), "price": (2, 9), "rent": (5, 35)},
        ("sold = morning + evening", "income = sold * price", "left = income - rent"),
    ),
    Story(
        "A shelf at {place} holds {rows} rows of {each} {thing}. {name} takes {one} of the "
        "{thing} and {other} takes {two}. How many {thing} stay on the shelf?",
        {"rows": (4, 12), "each": (8, 25), "one": (2, 15), "two": (2, 15)},
        ("all = rows * each", "taken = one + two", "stay = all - taken"),
    ),
    Story(
        "{name} saves {weekly} dollars a week for {weeks} weeks and gets {gift} dollars as a gift. "
        "Sets of {thing} cost {price} dollars each, and {name} spends everything on them. How many "
        "sets does {name} buy?",
        {"price": (6, 12), "number": (8, 14), "weekly": (2, 6), "weeks": (2, 7)},
        ("saved = weekly * weeks", "money = saved + gift", "sets = money / price"),
        given=("own = weekly * weeks", "cost = price * number", "gift = cost - own"),
    ),
    Story(
        "{name} drives to {place} in {hours} hours at {speed} miles an hour, rests, and drives on "
        "for {more} hours at {slow} miles an hour. The whole way is {way} miles long. How many "
        "miles remain?",
        {"hours": (2, 6), "speed": (40, 65), "more": (2, 5), "slow": (20, 39), "rest": (5, 90)},
        (
            "first = hours * speed",
            "second = more * slow",
            "driven = first + second",
            "remain = way - driven",
        ),
        given=("a = hours * speed", "b = more * slow", "c = a + b", "way = c + rest"),
    ),
    Story(
        "For a party at {place}, {name} packs bags of {size} {thing} each. There are {boxes} boxes "
        "of {each} {thing}, but {broken} of these are broken. {other} brings {more} more {thing}, "
        "and then all that are whole go into the bags. How many bags does {name} fill?",
        {"boxes": (2, 6), "each": (4, 10), "broken": (2, 7), "size": (6, 12), "number": (10, 16)},
        (
            "all = boxes * each",
            "whole = all - broken",
            "sum = whole + more",
            "bags = sum / size",
        ),
        given=("a = boxes * each", "b = a - broken", "c = size * number", "more = c - b"),
    ),
    Story(
        "{name} earns {pay} dollars an hour and works {hours} hours a week for {weeks} weeks. Of "
        "this, {name} spends {rent} dollars on a room and {food} dollars on food. How many dollars "
        "does {name} keep?",
        {"pay": (12, 30), "hours": (10, 40), "weeks": (2, 6), "rent": (60, 140), "food": (20, 90)},
        (
            "weekly = pay * hours",
            "earned = weekly * weeks",
            "spent = rent + food",
            "keep = earned - spent",
        ),
    ),
    Story(
        "{name} has {start} {thing}. {other} has {more} more than {name}, and together they give "
        "{people} friends {each} {thing} each. How many {thing} do {name} and {other} still have?",
        {"start": (30, 80), "more": (2, 25), "people": (2, 6), "each": (2, 9)},
        (
            "others = start + more",
            "all = start + others",
            "given = people * each",
            "left = all - given",
        ),
    ),
)
"""Twelve stories, four each of two, three and four steps."""

NAMES = (
    *("Amina", "Bruno", "Carla", "Daniel", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas"),
    *("Kemal", "Lucia", "Marta", "Nadia", "Oskar", "Petra", "Quentin", "Rosa", "Samir", "Tessa"),
    *("Umar", "Vera", "Wanda", "Yusuf"),
)
"""24 names of people."""

THINGS = (
    *("pencils", "stickers", "marbles", "buttons", "cards", "candles", "beads", "badges"),
    *("balloons", "ribbons", "crayons", "magnets", "notebooks", "cookies", "muffins", "postcards"),
    *("paper cups", "bracelets", "key rings", "lanterns"),
)
"""20 things, in the plural."""

PLACES = (
    *("the school fair", "the market", "the harbor", "the library", "the station", "the museum"),
    *(
        "the town hall",
        "the sports club",
        "the campsite",
        "the theater",
        "the lake",
        "the old mill",
    ),
)
"""12 places."""
