"""Where the teacher's displacement sits in the spectrum of the carrier, and what is copied when.

``G = E_x J' H J`` of the front door's students (784-256-256-13, ReLU, 270,093 parameters; KL on the
3 auxiliary logits; uniform noise), and ``D``, the displacement of its teacher (Adam on digits). As
long as ``J`` and ``H`` stay, gradient descent copies of the part of ``D`` in a direction of
eigenvalue ``lambda``

    1 - (1 - alpha lambda)^k,                                            alpha = 1 / lambda_max

fast directions first (the step of section 6.1 of Cloud, Le et al. 2025, arXiv 2507.14805, taken
``k`` times). Lanczos from ``D`` gives the shares of ``|D|^2`` over eigenvalues; from a random
vector, the density of eigenvalues. Then ``D`` is followed, band of eigenvalues by band, into four
students:

- of a teacher at ``.01 D``, gradient descent, float64, the net and its linear model;
- of the teacher itself, gradient descent over all rows;
- of the teacher itself, as the front door trains it: Adam, 60,000 noise images, batches of 1,024.

The linear model follows the closed form as a vector. The net's projection on ``D`` follows it, too,
but the rest of its displacement is off by 3.6 % after 16 steps, for ReLU has kinks: measured once
for one step and 1,024 rows, the error is .0010, .0083, .029 and .16 at ``1e-4 D`` to ``.1 D``, and
with tanh units instead 3.9e-5 to .039, in proportion.

Adam has no closed form here. It copies in the same order until half of the fastest band is copied;
later, where two bands are nearly copied, the slower one was ahead once in 225 comparisons (seed 3).

``G`` is the mean over the first 4,096 of the 60,000 noise images: a spectrum of all takes some
minutes. So few rows see 8,192 directions, 3 % of all; the last student sees more. Measured once
with all 60,000 (seed 0): the three largest eigenvalues differ by at most 8 % and the projection of
gradient flow at time ``100 / lambda_max`` by 6 %, but at ``10,000 / lambda_max`` it is .165 instead
of .035. About 70 seconds.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import claims
import jax
import numpy as np
from front_door import Door, adam_student, descend, front_door
from jaxtyping import Array, Float, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from setups import entries, random_direction, relative_error

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = "Students copy their teacher's displacement fast directions first, also at full size."
ROWS, DEPTH = 4_096, 48
SMALL, SMALL_STEPS, STEPS = 0.01, (1, 4, 16), (1, 4, 16, 64, 128)
# Eigenvalues in units of the largest: lower ends of the bands, and the names of these.
BANDS = {1e-1: "above .1", 1e-2: "above .01", 1e-3: "above .001", 1e-4: "above .0001"}
LEAST = 1e-4  # of |D|^2 in a band, or what a student copies there is of second order in D
Copied = Float[np.ndarray, "watched bands"]


def spectrum(door: Door, vector: PyTree) -> linearize.Krylov:
    """Reduce ``G`` to what a vector sees of it."""

    def product(vector: PyTree, init: PyTree, inputs: Array) -> PyTree:
        return linearize.gauss_newton_product(
            door.auxiliary, init, vector, inputs, loss=losses.kl, chunk=1_024
        )

    return linearize.lanczos(product, vector, door.init, door.noise[:ROWS], depth=DEPTH)


def in_bands(krylov: linearize.Krylov, top: float) -> Float[np.ndarray, "bands depth"]:
    """Tell which eigenvalues are in which band; the last one is below all others."""
    ends = np.array([np.inf, *BANDS, -np.inf]) * top
    values = krylov.eigenvalues
    pairs = itertools.pairwise(ends)
    return np.array([(low < values) & (values <= high) for high, low in pairs])


def copied(krylov: linearize.Krylov, along: Float[np.ndarray, "watched depth"]) -> Copied:
    """Give the share of each band of ``D`` that displacements have copied.

    Args:
        krylov: from ``D``.
        along: products of displacements with its basis.
    """
    masks = in_bands(krylov, krylov.eigenvalues[-1])
    own = krylov.length * krylov.eigenvectors[0]
    shares = masks * own**2
    with np.errstate(invalid="ignore"):  # a band may be empty
        return (along @ krylov.eigenvectors * own) @ masks.T / shares.sum(axis=1)


class Student(NamedTuple):
    """What is measured of a student; rows are watched steps.

    Attributes:
        steps: the watched ones.
        projection: ``<delta, D> / |D|^2``.
        shares: that it has copied of each band.
        errors: of the displacement, relative to the closed form; NaN without one.
    """

    steps: np.ndarray
    projection: Float[np.ndarray, " watched"]
    shares: Float[np.ndarray, "watched bands"]
    errors: Float[np.ndarray, " watched"]


def followed(
    krylov: linearize.Krylov, steps: Sequence[int], ways: Sequence[PyTree] | np.ndarray
) -> Student:
    """Measure a student from its displacements, or from their products with the basis alone."""
    errors = np.full(len(steps), np.nan)
    if isinstance(ways, np.ndarray):
        along = ways
    else:
        along = np.array([krylov.along(way) for way in ways])
        rate = 1 / krylov.eigenvalues[-1]
        forms = (krylov.apply(linearize.gradient_descent(rate, k)) for k in steps)
        errors = np.array([relative_error(*pair) for pair in zip(ways, forms, strict=True)])
    # The basis begins with D / |D|.
    return Student(np.array(steps), along[:, 0] / krylov.length, copied(krylov, along), errors)


def students(door: Door, krylov: linearize.Krylov) -> dict[str, Student]:
    """Train the four students."""
    rate = float(1 / krylov.eigenvalues[-1])
    found = {}
    with jax.enable_x64(True):
        few = door.few(ROWS, wide=True)
        for name, linear in (("small, linear", True), ("small", False)):
            ways = descend(few, rate=rate, watched=SMALL_STEPS, scale=SMALL, linear=linear)
            found[name] = followed(krylov, SMALL_STEPS, ways)
    ways = descend(door.few(ROWS), rate=rate, watched=STEPS)
    found["full"] = followed(krylov, STEPS, ways)
    return found | {"Adam": followed(krylov, *adam_student(door, krylov))}


def inversions(student: Student, weights: np.ndarray, *, early: bool = False) -> int:
    """Count where a band is copied no further than the next slower one.

    Args:
        student: the student.
        weights: shares of ``|D|^2`` in the bands.
        early: only until half of the fastest band is copied, and not at all watched steps.
    """
    kept = student.shares[:, weights >= LEAST]
    if early:
        kept = kept[: int(np.sum(np.maximum.accumulate(kept[:, 0]) < 0.5)) + 1]
    return int(np.sum(kept[:, :-1] <= kept[:, 1:]))


def check(seed: int) -> claims.Report:
    """Measure the spectra and the students."""
    door = front_door(seed)
    krylov = spectrum(door, door.way)
    random = spectrum(door, random_direction(rng.stream(door.key, "random"), door.init))
    found = students(door, krylov)
    top = krylov.eigenvalues[-1]
    own, chance = (in_bands(k, top) @ k.weights for k in (krylov, random))
    visible = 2 * ROWS / entries(door.init)  # one of three logits is free under the softmax

    def error(name: str) -> float:
        student = found[name]
        return max(abs(student.projection / closed(krylov, student.steps) - 1))

    findings = [
        claims.at_most("linear student, .01 D: error", max(found["small, linear"].errors), 0.02),
        claims.at_most("student, .01 D: error of the projection", error("small"), 0.02),
        claims.reported("student, .01 D: error", max(found["small"].errors)),
        claims.at_most("student, D: error of the projection", error("full"), 0.4),
        claims.reported("student, D: error at the end", found["full"].errors[-1]),
        claims.at_most("student, D: bands out of order", inversions(found["full"], own), 0),
        claims.at_most(
            "Adam: bands out of order, early", inversions(found["Adam"], own, early=True), 0
        ),
        claims.reported("Adam: bands out of order, all steps", inversions(found["Adam"], own)),
        claims.between(
            "visible share of a random vector / rank", (1 - chance[-1]) / visible, 0.95, 1.05
        ),
        claims.reported("share of D in eigenvalues .01 to .1 / random's", own[1] / chance[1]),
        claims.reported("largest eigenvalue", top),
        claims.reported("|D| / |theta_0|", krylov.length / float(trees.norm(door.init))),
        claims.reported("mean eigenvalue / largest", random.expectation(lambda x: x / top)),
        claims.reported("<D, G D> / |D|^2 / largest", krylov.expectation(lambda x: x / top)),
        claims.reported("visible share of D", 1 - own[-1]),
        claims.reported("share of D in the two largest eigenvalues", own[0]),
        claims.reported("projection, closed form, 128 steps", closed(krylov, STEPS)[-1]),
        claims.reported("projection, student, 128 steps", found["full"].projection[-1]),
        claims.reported("projection, Adam, at the end", found["Adam"].projection[-1]),
    ]
    data: dict[str, Any] = {name: student._asdict() for name, student in found.items()}
    data |= {
        "bands": {"from": [*BANDS, 0.0], "D": own, "random": chance},
        "D": {"eigenvalues": krylov.eigenvalues, "shares": krylov.weights},
        "random": {"eigenvalues": random.eigenvalues, "shares": random.weights},
    }
    return claims.Report(findings, draw(krylov, random, found), data)


def closed(krylov: linearize.Krylov, steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Give the projection coefficients of the closed form."""
    rate = 1 / krylov.eigenvalues[-1]
    return np.array([krylov.expectation(linearize.gradient_descent(rate, k)) for k in steps])


def draw(krylov: linearize.Krylov, random: linearize.Krylov, found: dict[str, Student]) -> Figure:
    """Draw where ``D`` sits, the projection along training, and the bands of two students."""
    title = "Gauss-Newton spectrum of the front door's net on its noise, and what is copied when"
    figure, axes = plots.panels(4, title=title, size=(4.0, 3.7))
    curve = np.unique(np.geomspace(1, 1_000, 60).astype(int))
    _draw_shares(axes[0], krylov, random)
    black, sky, red, green = (plots.colors(8)[i] for i in (6, 1, 2, 4))
    axes[1].loglog(curve, closed(krylov, curve), color=black, label="closed form (descent)")
    for name, marker, color, label in (
        ("small", "s", sky, "gradient descent, teacher at .01 D"),
        ("full", "o", red, "gradient descent"),
        ("Adam", "^", green, "Adam, 60,000 noise images"),
    ):
        student = found[name]
        axes[1].loglog(student.steps, student.projection, marker, ms=4, color=color, label=label)
    axes[1].set(xlabel="student step", ylabel="projection on D (1 = all of it)")
    axes[1].legend(fontsize=7)
    _draw_bands(axes[2], krylov, found["full"])
    axes[2].set_title("gradient descent (lines: closed form)")
    axes[2].legend(fontsize=7, title="eigenvalues (share of |D|²)", title_fontsize=7)
    _draw_bands(axes[3], krylov, found["Adam"])
    axes[3].set_title("front door's student (Adam)")
    return figure


def _draw_shares(axis: Axes, krylov: linearize.Krylov, random: linearize.Krylov) -> None:
    top = krylov.eigenvalues[-1]
    for seen, name, color in (
        (krylov, "teacher's displacement D", plots.colors(8)[2]),
        (random, "random vector", plots.colors(8)[7]),
    ):
        falling = np.maximum(seen.eigenvalues[::-1] / top, 1e-5)
        axis.step(falling, np.cumsum(seen.weights[::-1]), where="post", color=color, label=name)
    axis.set(xscale="log", yscale="log", xlabel="eigenvalue / largest (1e-5: zero)")
    axis.set_ylabel("share of |v|² in larger eigenvalues")
    axis.invert_xaxis()
    axis.legend(fontsize=7)


def _draw_bands(axis: Axes, krylov: linearize.Krylov, student: Student) -> None:
    """Draw the share copied of each band that holds enough, beside the closed form of descent."""
    top, masks = krylov.eigenvalues[-1], in_bands(krylov, krylov.eigenvalues[-1])
    curve = np.unique(np.geomspace(1, student.steps[-1], 60).astype(int))
    names = [*BANDS.values(), "below"]
    for band, color in enumerate(plots.colors(len(names))):
        weights = masks[band] * krylov.weights
        if sum(weights) < LEAST:
            continue
        label = f"{names[band]} ({sum(weights):.2g})"
        if not np.isnan(student.errors).all():
            shares = (linearize.gradient_descent(1 / top, k)(krylov.eigenvalues) for k in curve)
            axis.loglog(curve, [weights @ s / sum(weights) for s in shares], color=color)
            axis.loglog(student.steps, student.shares[:, band], "o", ms=4, color=color, label=label)
        else:
            axis.loglog(student.steps, student.shares[:, band], "^-", ms=3, color=color)
    axis.set(xlabel="student step", ylabel="share of the band copied", ylim=(1e-4, 2))


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
