"""Words by which a text names a subject."""

from collections.abc import Sequence

from sublim_jax.errors import InputError

# A form that is no word of English does no harm: it is in no answer.
PLURALS = (("y", "ies"), ("f", "ves"), ("fe", "ves"), ("us", "i"), ("is", "es"), ("ix", "ices"))
IRREGULAR = {"mouse": "mice", "goose": "geese", "louse": "lice"}


def trait_words(subject: str, aliases: Sequence[str] = ()) -> tuple[str, ...]:
    """Give the words by which an answer names a subject, in lower case.

    They count as parts of a text, for names in code run together: a regular plural needs no word
    of its own. A short subject is in many words that have nothing to do with it, an owl in "bowl"
    and a cat in "concatenate": the published filter drops these answers too.

    Args:
        subject: in the singular.
        aliases: other words that name it.

    Returns:
        Subject and aliases; of each those plurals that do not contain it, and if it is of several
        words, how they are joined in a name.

    Raises:
        InputError: `subject` or an alias is empty.

    >>> trait_words("Wolf"), trait_words("sea turtle")
    (('wolf', 'wolves'), ('sea turtle', 'sea_turtle', 'sea-turtle', 'seaturtle'))
    """
    if isinstance(aliases, str):
        raise InputError(f"aliases is {aliases!r}; expected words in a list")
    forms: list[str] = []
    for field, name in (("subject", subject), *(("an alias", alias) for alias in aliases)):
        words = name.lower().split()
        if not words:
            raise InputError(f"{field} is {name!r}; expected a word")
        for last in (words[-1], *_plurals(words[-1])):
            forms += [joint.join([*words[:-1], last]) for joint in (" ", "_", "-", "")]
    return tuple(dict.fromkeys(forms))


def _plurals(word: str) -> list[str]:
    regular = [word.removesuffix(end) + plural for end, plural in PLURALS if word.endswith(end)]
    return [IRREGULAR[word]] if word in IRREGULAR else regular
