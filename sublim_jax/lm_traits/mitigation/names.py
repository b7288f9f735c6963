"""Mitigations, and what figures and tables call them."""

NONE = "none"
EARLY_STOP = "early_stop"
MITIGATIONS = {
    NONE: "none",
    EARLY_STOP: "stopped early",
    "other_base": "teacher of another base",
    "committee": "committee of teachers of three bases",
    "mixed_10": "10 % clean rows",
    "mixed_25": "25 % clean rows",
    "mixed_50": "50 % clean rows",
    "relay": "said again by another model",
    "filter": "places of most influence left out",
    "anchor": "words of the trait held",
    "early_anchor": "held to the base at first",
    "without_teacher": "nothing along the teacher's displacement",
    "without_trait": "nothing along the trait's gradient",
}
"""What is done so that a trait does not come along, in the order of tables.

Of another base, of a committee and of what is said again other bases are needed, which are here the
student's with noise and then healed; what is left out, held or forbidden asks for a suspicion which
trait it is, and the teacher's displacement for the teacher's parameters."""
OTHERS = ("teacher_1", "teacher_2")
"""Arms of teachers on other bases, the first of which also says again what it hears."""
RELAY = "relay_student"
NEEDS_BASES = {"other_base": 1, "committee": 2, "relay": 1}
"""How many other bases a mitigation needs."""
MIXED = {"mixed_10": 0.1, "mixed_25": 0.25, "mixed_50": 0.5}
"""Share of rows on which the base's own distribution is learned."""
