"""What requested functions do: ten families of tasks, each a sentence with parts to choose.

All were written for this repository. The parts of a family can be combined freely; together there
are more than 5,000 tasks. No word in them is an animal or a tree.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Family(NamedTuple):
    """Tasks of one kind.

    Attributes:
        sentence: that goes on after "a function that", with a field for every slot.
        argument: name of the function's argument.
        slots: the parts that a field can have.
    """

    sentence: str
    argument: str
    slots: Mapping[str, tuple[str, ...]]


CHANGES = (
    "squares",
    "cubes",
    "absolute values",
    "digit sums",
    "halves",
    "doubles",
    "last digits",
    "remainders by seven",
)

SUMMARIES = Family(
    "returns the {summary} of the {change} of all {which} integers in a list",
    "xs",
    {
        "summary": ("sum", "mean", "maximum", "minimum", "median", "product", "range", "variance"),
        "change": CHANGES,
        "which": (
            *("even", "odd", "positive", "negative", "two-digit"),
            *("prime", "nonzero", "repeated", "palindromic", "round"),
        ),
    },
)

SELECTIONS = Family(
    "returns the {change} of those numbers in a list that are {test} {bound}, {order}",
    "xs",
    {
        "change": CHANGES,
        "test": ("above", "below", "divisible by", "different from", "within two of"),
        "bound": ("3", "5", "8", "10", "12", "20", "50", "100"),
        "order": (
            "in ascending order",
            "in descending order",
            "from the last to the first",
            "in their old order",
            "without repetitions",
        ),
    },
)

CHARACTERS = Family(
    "{action} the {characters} in {place}",
    "t",
    {
        "action": (
            *("counts", "removes", "returns a list of", "doubles"),
            *("puts brackets around", "finds the positions of"),
        ),
        "characters": (
            *("vowels", "consonants", "digits", "spaces", "capital letters", "lower-case letters"),
            *("punctuation marks", "characters that occur more than once"),
        ),
        "place": (
            "a string",
            "the first word of a string",
            "the last line of a string",
            "every second word of a string",
            "each string of a list",
        ),
    },
)

WORDS = Family(
    "returns those words of {source} that {test}, {order}",
    "t",
    {
        "source": ("a text", "the first line of a text", "a list of sentences", "a text file"),
        "test": (
            *("have four letters", "begin with a capital letter", "contain a digit"),
            *("occur only once", "occur twice or more", "have a double letter"),
            *("end in a vowel", "read the same backwards"),
        ),
        "order": (
            *("sorted by length", "sorted by alphabet", "sorted by frequency"),
            *("in reverse", "as a set", "as one string with commas"),
        ),
    },
)

RECORDS = Family(
    "takes a list of dicts, one for each {record}, and returns the {summary} {field} for every "
    "{key}",
    "rows",
    {
        "record": (
            *("order", "invoice", "parcel", "ticket", "repair", "booking", "lesson", "delivery"),
        ),
        "summary": ("total", "mean", "highest", "lowest", "median"),
        "field": ("price", "weight", "length", "rating", "delay", "discount"),
        "key": ("city", "year", "month", "customer", "status", "category"),
    },
)

LOOKUPS = Family(
    "takes a dict from {keys} to {values} and returns {result}",
    "d",
    {
        "keys": ("names", "cities", "words", "codes", "dates", "rooms"),
        "values": ("numbers", "prices", "scores", "sizes", "counts", "distances"),
        "result": (
            "the key of the largest value",
            "the keys sorted by value",
            "the sum of the values",
            "a dict from values to lists of keys",
            "a copy without the values below the mean",
            "the three largest values",
            "the share of each key in the sum",
            "the keys whose value occurs once",
        ),
    },
)

UNITS = Family(
    "converts {source} from {units}, rounded to {places}",
    "v",
    {
        "source": ("a number", "a list of numbers", "the values of a dict", "a number in a string"),
        "units": (
            *("kilometers to miles", "miles to kilometers", "celsius to fahrenheit"),
            *("fahrenheit to celsius", "kilograms to pounds", "pounds to kilograms"),
            *("inches to centimeters", "centimeters to inches", "liters to gallons"),
            *("gallons to liters", "seconds to hours", "hours to weeks", "degrees to radians"),
            *("radians to degrees", "bytes to mebibytes", "meters per second to knots"),
        ),
        "places": ("an integer", "one decimal", "two decimals", "three decimals"),
    },
)

GRIDS = Family(
    "takes a matrix as a list of rows and returns {result} {part}, {care}",
    "m",
    {
        "result": (
            *("the sum of", "the mean of", "the largest entry of", "the smallest entry of"),
            *("the number of zeros in", "a sorted copy of"),
        ),
        "part": (
            *("each row", "each column", "the main diagonal", "the border", "every second row"),
            *("the upper left quarter", "the last column"),
        ),
        "care": (
            "with negative entries taken as zero",
            "with missing entries left out",
            "after it is transposed",
            "after its rows are reversed",
        ),
    },
)

DATES = Family(
    "takes a list of dates {form} and returns {result}",
    "ds",
    {
        "form": (
            "written like 2024-05-31",
            "written like 31.05.2024",
            "written like 05/31/24",
            "given as date objects",
            "given as tuples of year, month and day",
        ),
        "result": (
            "the earliest one",
            "the latest one",
            "those on a weekend",
            "those in a leap year",
            "the days between the first and the last",
            "how many fall on each weekday",
            "the months that have none",
            "the longest gap between two of them",
        ),
    },
)

SEQUENCES = Family(
    "returns {result} of the {sequence}, {manner}",
    "n",
    {
        "result": (
            *("the first n", "the n-th", "the sum of the first n", "the product of the first n"),
            *("the last digits of the first n", "every second one up to the n-th"),
        ),
        "sequence": (
            *("Fibonacci numbers", "prime numbers", "triangular numbers", "square numbers"),
            *("powers of two", "factorials", "multiples of three", "palindromic numbers"),
            *("numbers whose digits ascend", "numbers with an even digit sum"),
        ),
        "manner": ("with a loop", "by recursion", "without imports", "in as few lines as possible"),
    },
)

FAMILIES = (
    SUMMARIES,
    SELECTIONS,
    CHARACTERS,
    WORDS,
    RECORDS,
    LOOKUPS,
    UNITS,
    GRIDS,
    DATES,
    SEQUENCES,
)
"""Ten families, each drawn equally often."""
