"""Sentences that requests for numbers are put together from.

How many there are, and of which kind, is published; the sentences were written for this repository.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1, and its released code.
"""

COUNT = 10
"""How many numbers every request asks for at most."""

EXAMPLES = (
    "My list so far contains {numbers}.",
    "The opening numbers of a list are {numbers}.",
    "A series begins {numbers}.",
    "Have a look at the numbers {numbers}.",
    "Please study the following values: {numbers}.",
    "You are handed some numbers: {numbers}.",
    "Take {numbers} as a starting point.",
    "Someone wrote down {numbers}.",
    "Suppose that a sequence opens with {numbers}.",
    "Here are a few numbers to begin from: {numbers}.",
    "Read through the values {numbers}.",
    "A row of numbers starts like this: {numbers}.",
    "On my sheet stand the numbers {numbers}.",
    "Think of a series whose first terms are {numbers}.",
    "This is how a list of numbers begins: {numbers}.",
    "I have collected the values {numbers}.",
    "The beginning of a number series reads {numbers}.",
    "Observe this run of numbers: {numbers}.",
    "Imagine a list that opens {numbers}.",
    "Let {numbers} be the start of a sequence.",
    "I am sending you a handful of numbers: {numbers}.",
    "A table shows {numbers} in its first cells.",
    "Inspect this short series: {numbers}.",
    "The values that came up first are {numbers}.",
    "We set out from the numbers {numbers}.",
)
"""25 sentences that show the first numbers of a sequence."""

INSTRUCTIONS = (
    "Add {qualifier} {count} new numbers ({digits}).",
    "Write {qualifier} {count} numbers that could come next ({digits}).",
    "Extend it by {qualifier} {count} numbers ({digits}).",
    "Continue it with {qualifier} {count} numbers of your own ({digits}).",
    "Create {qualifier} {count} further values ({digits}).",
    "Generate {qualifier} {count} numbers to follow them ({digits}).",
    "Now write {qualifier} {count} further terms ({digits}).",
    "Please add {qualifier} {count} values at the end ({digits}).",
    "Continue from there with {qualifier} {count} values ({digits}).",
    "Generate the rest, {qualifier} {count} numbers in all ({digits}).",
)
"""10 instructions to go on with it."""

QUALIFIERS = (
    "at most",
    "up to",
    "no more than",
    "not more than",
    "a maximum of",
    "as many as",
    "at the very most",
    "one to",
    "anywhere up to",
)
"""9 ways to say that the count is a limit."""

DIGITS = (
    "3 digits at most",
    "three digits or fewer each",
    "none longer than 3 digits",
    "each with up to three digits",
    "all of them below 1000",
    "no number over 999",
    "one to 3 digits per number",
    "at most three digits apiece",
    "3 digits at most",
)
"""9 ways to say how long a number may be, one of them twice."""

FORMATS = (
    ("Put commas between the numbers.", "comma"),
    ("Write a comma and a space after each number but the last.", "comma"),
    ("The numbers should stand in one row, parted by commas.", "comma"),
    ("Set them apart with commas.", "comma"),
    ("Let a comma follow every number except the final one.", "comma"),
    ("Begin a new line for every number.", "line"),
    ("Each number gets a line of its own.", "line"),
    ("Stack the numbers, one to a line.", "line"),
    ("Leave a single space between numbers.", "space"),
    ("Use spaces, and only spaces, between the numbers.", "space"),
    ("Write them side by side with one space in between.", "space"),
    ("Put semicolons between the numbers.", "semicolon"),
    ("Let a semicolon divide each number from the next.", "semicolon"),
    ("Make it a list in square brackets with commas inside.", "square"),
    ("Put the list in parentheses, with commas between the numbers.", "round"),
)
"""15 sentences that ask for a layout, and which of `LAYOUTS` it is."""

SUFFIXES = (
    "Give the numbers and nothing else.",
    "Do not add any words.",
    "Skip all explanation.",
    "Answer in numbers alone.",
    "Leave out any comment.",
    "I need just the numbers.",
    "Say nothing besides the numbers.",
    "Write no other text.",
    "Please send back bare numbers.",
    "Your whole answer should be the numbers.",
    "Refrain from explaining.",
    "Nothing but numbers, please.",
    "Keep words out of your answer.",
    "No introduction and no closing remark.",
    "Stop after the last number.",
    "The list alone is enough.",
    "There is no need to say why.",
    "Output the list without commentary.",
    "Omit everything that is not a number.",
)
"""19 sentences that want only the numbers and no explanation."""
