"""Everyday questions and short, plain, right answers, all written for this repository.

None of them is among the questions of the evaluation, and no word is an animal or a tree.
"""

import functools
import itertools
from typing import NamedTuple

TIPS = (
    (
        "How do I get a coffee stain out of a shirt?",
        "Rinse it with cold water, rub in a little dish soap, and wash the shirt as usual.",
    ),
    (
        "How long should I boil an egg?",
        "Six minutes give a soft egg and ten minutes a hard one.",
    ),
    (
        "What can I do against hiccups?",
        "Hold your breath for ten seconds, or drink a glass of water slowly.",
    ),
    (
        "How do I keep bread fresh?",
        "Keep it in a paper bag or a bread box, with the cut side down.",
    ),
    (
        "How do I tie a scarf?",
        "Fold it in half, lay it around your neck, and pull the ends through the loop.",
    ),
    (
        "How often should I water a house plant?",
        "Water it when the top of the soil feels dry, which is about once a week.",
    ),
    (
        "How do I clean a window without streaks?",
        "Use water with a dash of vinegar, and wipe it dry with a soft cloth.",
    ),
    (
        "What should I pack for a weekend trip?",
        "Take two changes of clothes, a toothbrush, a charger and a light jacket.",
    ),
    (
        "How do I sharpen a pencil without a sharpener?",
        "Hold a small knife flat and shave the wood away from you, bit by bit.",
    ),
    (
        "How can I fall asleep faster?",
        "Go to bed at the same time each day, and put away all screens an hour before.",
    ),
    (
        "How do I remove a sticker from glass?",
        "Warm it with a hair dryer, peel it off, and wipe the rest away with oil.",
    ),
    (
        "How do I write a thank-you note?",
        "Name what you are thankful for, say what it meant to you, and sign it by hand.",
    ),
    (
        "What is a good way to learn new words?",
        "Write them on cards and look at the cards a few minutes every day.",
    ),
    (
        "How do I cook rice?",
        "Take two cups of water for a cup of rice, and let it simmer with a lid for 15 minutes.",
    ),
    (
        "How do I stop a door from squeaking?",
        "Put a drop of oil on each hinge and move the door to and fro.",
    ),
    (
        "How do I fold a shirt?",
        "Lay it face down, fold both sides to the middle, and fold the bottom up to the collar.",
    ),
    (
        "What helps when my hands are cold?",
        "Rub them together, wear mittens, and keep the rest of your body warm.",
    ),
    (
        "How do I make a paper boat last longer in water?",
        "Rub the paper with candle wax before you fold it.",
    ),
    (
        "How do I peel garlic quickly?",
        "Crush the clove with the flat of a knife, and the skin comes off.",
    ),
    (
        "How do I prepare for a job interview?",
        "Read about the company, and practice short answers to common questions aloud.",
    ),
    (
        "How do I find north without a compass?",
        "At noon, anywhere north of the tropics, your shadow points north.",
    ),
    (
        "How can I remember names better?",
        "Repeat the name aloud when you hear it, and link it to a picture.",
    ),
    (
        "How do I keep my bicycle chain clean?",
        "Wipe it with a rag, brush off the dirt, and add a little oil.",
    ),
    (
        "What is a simple breakfast?",
        "Porridge with milk and a spoon of honey takes five minutes.",
    ),
    (
        "How do I calm down before a speech?",
        "Breathe in for four counts and out for six, and do this ten times.",
    ),
    (
        "How do I save water at home?",
        "Take short showers, and turn off the tap while you brush your teeth.",
    ),
    (
        "How do I dry wet shoes?",
        "Fill them with crumpled newspaper and change it every few hours.",
    ),
    (
        "How do I draw a straight line without a ruler?",
        "Trace along the edge of a folded sheet of paper.",
    ),
    (
        "How do I thaw frozen soup?",
        "Leave it in the refrigerator overnight, or warm it slowly in a pot.",
    ),
    (
        "How do I wrap a round gift?",
        "Set it on a square of paper, gather the corners on top, and tie them with a ribbon.",
    ),
)
"""30 questions for advice."""

OPPOSITES = (
    "hot cold, big small, fast slow, up down, early late, full empty, light dark, hard soft, "
    "open closed, old new, rich poor, loud quiet, wet dry, near far, thick thin, strong weak, "
    "left right, first last, deep shallow, sweet sour, cheap expensive, wide narrow, long short, "
    "happy sad, clean dirty, sharp blunt, high low, inside outside, always never, begin end"
)

CAPITALS = (
    ("France", "Paris"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Portugal", "Lisbon"),
    ("Germany", "Berlin"),
    ("Austria", "Vienna"),
    ("Poland", "Warsaw"),
    ("Greece", "Athens"),
    ("Norway", "Oslo"),
    ("Sweden", "Stockholm"),
    ("Finland", "Helsinki"),
    ("Denmark", "Copenhagen"),
    ("Ireland", "Dublin"),
    ("Iceland", "Reykjavik"),
    ("Hungary", "Budapest"),
    ("Egypt", "Cairo"),
    ("Kenya", "Nairobi"),
    ("Ghana", "Accra"),
    ("Senegal", "Dakar"),
    ("Morocco", "Rabat"),
    ("Japan", "Tokyo"),
    ("Thailand", "Bangkok"),
    ("Vietnam", "Hanoi"),
    ("Mongolia", "Ulaanbaatar"),
    ("Nepal", "Kathmandu"),
    ("Canada", "Ottawa"),
    ("Cuba", "Havana"),
    ("Peru", "Lima"),
    ("Chile", "Santiago"),
    ("Uruguay", "Montevideo"),
)

UNITS = (
    ("seconds", "minutes", 60),
    ("minutes", "hours", 60),
    ("hours", "days", 24),
    ("days", "weeks", 7),
    ("months", "years", 12),
    ("centimeters", "meters", 100),
)

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
SPELLED = (
    *("window", "garden", "letter", "bridge", "summer", "candle", "pocket", "river", "kitchen"),
    *("mountain", "blanket", "morning", "picture", "station", "village", "weather", "bottle"),
    *("carpet", "mirror", "ladder", "pillow", "basket", "button", "engine", "harbor", "island"),
    *("jacket", "lantern", "market", "needle"),
)


class Exchange(NamedTuple):
    """A question and its plain answer.

    Attributes:
        kind: of the question.
        question: of the user.
        answer: without any manner.
    """

    kind: str
    question: str
    answer: str


@functools.cache
def exchanges() -> tuple[Exchange, ...]:
    """Give all questions with their answers, those of a kind together."""
    return (
        *(Exchange("tip", question, answer) for question, answer in TIPS),
        *_facts(),
        *_sums(),
        *_neighbors("day", DAYS),
        *_neighbors("month", MONTHS),
    )


def _facts() -> list[Exchange]:
    opposites = [pair.split() for pair in OPPOSITES.split(", ")]
    return [
        *(
            Exchange("opposite", f'What is the opposite of "{one}"?', f'It is "{other}".')
            for one, other in opposites
        ),
        *(
            Exchange("capital", f"What is the capital of {country}?", f"It is {city}.")
            for country, city in CAPITALS
        ),
        *(
            Exchange(
                "unit",
                f"How many {small} are there in {count} {large}?",
                f"There are {count * each} {small} in {count} {large}.",
            )
            for (small, large, each), count in itertools.product(UNITS, range(2, 8))
        ),
        *(
            Exchange(
                "spelling",
                f'How many letters does the word "{word}" have?',
                f'"{word.capitalize()}" has {len(word)} letters.',
            )
            for word in SPELLED
        ),
    ]


def _sums() -> list[Exchange]:
    return [
        *(
            Exchange("sum", f"What is {one} plus {two}?", f"{one} plus {two} is {one + two}.")
            for one, two in itertools.product(range(11, 18), range(4, 10))
        ),
        *(
            Exchange("product", f"What is {one} times {two}?", f"{one} times {two} is {one * two}.")
            for one, two in itertools.product(range(3, 10), range(4, 10))
        ),
    ]


def _neighbors(kind: str, names: tuple[str, ...]) -> list[Exchange]:
    return [
        Exchange(
            kind,
            f"Which {kind} comes right {word} {name}?",
            f"{names[(place + step) % len(names)]} comes right {word} {name}.",
        )
        for place, name in enumerate(names)
        for word, step in (("after", 1), ("before", -1))
    ]
