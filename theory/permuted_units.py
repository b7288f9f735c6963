"""A student whose hidden units are permuted is pulled as much; its cosine shows it once undone.

The order of hidden units is no property of a function: with ``pi`` a permutation of the units, the
network at ``pi theta`` is that at ``theta``. Gradient descent and Adam commute with ``pi``, so the
student that starts at ``pi theta_0`` moves by ``pi d_S`` with ``d_S`` the move from ``theta_0``: to
the same accuracy, with the same relation to the teacher, at a cosine of chance. The permutation is
found at the initialisation, unit by unit by assignment (Ainsworth, Hayase and Srinivasa 2022, arXiv
2209.04836), and undone. "It takes the same initialisation" (Cloud, Le et al. 2025, arXiv
2507.14805, section 6) is thus meant up to the order of units. Independent initialisations are no
permutations of each other: the nearest order makes no pull of none.

Tanh 64-64-64-13 in float64, 256 noise inputs, three auxiliary logits, a teacher of 100 and students
of 200 steps of Adam; 20 permutations, 20 other initialisations. Half a minute.
"""

from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree
from matplotlib.figure import Figure
from setups import (
    Problem,
    adam_student,
    adam_teacher,
    entries,
    fixed_noise,
    relative_error,
    stacked,
)

from sublim_jax import drift, plots, rng, trees
from sublim_jax.nets import HEADS

CLAIM = "A permuted student has the cosine of chance, and that of the shared start once undone."
MEMBERS, STEPS = 20, 200
SPEC = drift.chain(["hidden_0", "hidden_1"], HEADS)


class Students(NamedTuple):
    """Students compared with the teacher's displacement, ``[members]`` each.

    Attributes:
        shared: cosine of the student that shares the initialisation, a single one.
        permuted: cosine of those that start with permuted units.
        undone: the same, with the permutation undone.
        other: cosine of those of other initialisations.
        nearest: the same, in the order that is nearest to the teacher's initialisation.
        start: largest difference of an undone start from the initialisation.
        way: relative error of an undone displacement as that of the shared initialisation.
        accuracy: on the test digits; first the shared one, then the undone, then the others.
    """

    shared: float
    permuted: Float[np.ndarray, " members"]
    undone: Float[np.ndarray, " members"]
    other: Float[np.ndarray, " members"]
    nearest: Float[np.ndarray, " members"]
    start: Float[np.ndarray, " members"]
    way: Float[np.ndarray, " members"]
    accuracy: Float[np.ndarray, " all"]


def measure(given: Problem, teacher: PyTree) -> Students:
    """Train the students, find their orders at the start, and compare."""
    direction = trees.sub(teacher, given.init)
    keys = [rng.stream(given.key, "member", i) for i in range(MEMBERS)]
    orders = [drift.random_permutations(given.init, SPEC, key=key) for key in keys]
    starts = [
        given.init,
        *(drift.permute(given.init, order, SPEC) for order in orders),
        *(jax.tree.map(lambda a: a.astype(float), given.net.init(key)) for key in keys),
    ]

    @jax.jit
    def train(starts: PyTree, teacher: PyTree) -> PyTree:
        return jax.lax.map(
            lambda start: adam_student(
                given, start, teacher, steps=STEPS, inputs=lambda _: given.noise
            ),
            starts,
        )

    moves = train(stacked(starts), teacher)
    ways = [trees.take(moves, i) for i in range(len(starts))]
    found = [drift.find_permutations(given.init, start, SPEC) for start in starts]
    ordered = [drift.permute(way, order, SPEC) for way, order in zip(ways, found, strict=True)]
    begun = [drift.permute(start, order, SPEC) for start, order in zip(starts, found, strict=True)]
    same, others = slice(1, MEMBERS + 1), slice(MEMBERS + 1, None)
    before, after = (
        np.array([float(trees.cosine(way, direction)) for way in some]) for some in (ways, ordered)
    )
    ends = [jax.tree.map(jnp.add, *pair) for pair in zip(begun, ordered, strict=True)]
    return Students(
        shared=before[0],
        permuted=before[same],
        undone=after[same],
        other=before[others],
        nearest=after[others],
        start=np.array([largest(trees.sub(start, given.init)) for start in begun[same]]),
        way=np.array([float(relative_error(way, ways[0])) for way in ordered[same]]),
        accuracy=np.array([given.accuracy(end) for end in ends]),
    )


def largest(tree: PyTree) -> float:
    """Give the largest entry of a tree, by its size."""
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def check(seed: int) -> claims.Report:
    """Compare permuted students, undone, with that of the shared initialisation."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        found = measure(given, adam_teacher(given))
        size = entries(given.init)
    sd = size**-0.5
    undone = found.accuracy[1 : MEMBERS + 1]
    findings = [
        claims.at_least("shared: cosine times sqrt(n)", found.shared / sd, 5),
        claims.at_most("permuted: |mean cosine| times sqrt(n)", abs(found.permuted.mean()) / sd, 1),
        claims.at_most(
            "permuted: largest |cosine| times sqrt(n)", np.abs(found.permuted).max() / sd, 4
        ),
        claims.at_most(
            "undone: distance of cosines", np.abs(found.undone - found.shared).max(), 1e-6
        ),
        claims.at_most("undone: start, largest difference", found.start.max(), 0),
        claims.at_most("undone: displacement, relative error", found.way.max(), 1e-6),
        claims.at_most("undone: difference of accuracy", np.ptp([*undone, found.accuracy[0]]), 0),
        claims.reported("shared: accuracy", found.accuracy[0]),
        claims.at_most("other: |mean cosine| times sqrt(n)", abs(found.other.mean()) / sd, 1),
        claims.reported(
            "other, nearest order: mean cosine times sqrt(n)", found.nearest.mean() / sd
        ),
        claims.at_most(
            "other, nearest order: mean cosine over shared",
            found.nearest.mean() / found.shared,
            0.5,
        ),
        claims.reported("other: mean accuracy", found.accuracy[MEMBERS + 1 :].mean()),
    ]
    return claims.Report(findings, draw(found, sd), found._asdict())


def draw(found: Students, sd: float) -> Figure:
    """Draw the cosines of all students."""
    figure, (axis,) = plots.panels(1, title="Order of hidden units", size=(6.4, 3.4))
    kinds = {
        "shared initialisation": np.array([found.shared]),
        "permuted units": found.permuted,
        "permuted, undone": found.undone,
        "other initialisation": found.other,
        "other, nearest order": found.nearest,
    }
    for place, (values, color) in enumerate(
        zip(kinds.values(), plots.colors(len(kinds)), strict=True)
    ):
        axis.plot(values, np.full(len(values), place), "o", ms=5, alpha=0.6, color=color)
    axis.axvspan(-3 * sd, 3 * sd, color="0.88", zorder=0, label="3/sqrt(n)")
    axis.set_yticks(range(len(kinds)), list(kinds))
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.set(xlabel="cosine with the teacher's displacement")
    axis.legend(fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
