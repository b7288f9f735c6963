"""A few products with ``G`` give every function of it on the teacher's displacement.

What a linearised student copies is ``phi(G) D`` (`linear_flow`), and the matrix ``G`` of a large
network cannot be written down. ``k`` steps of Lanczos from ``D`` give a basis ``Q`` and a
tridiagonal ``T`` with

    delta(t) ~ |D| Q' phi(T) e_1,    rho(t) = <delta, D> / <D, D> ~ e_1' phi(T) e_1,

and the first-order change of a trait, ``<u, delta(t)>``, from the products ``Q u``. Errors fall
once ``k`` is beyond ``sqrt(t lambda_max)`` (Hochbruck and Lubich 1997, theorem 2). Of the
projection ``rho``, a Gauss quadrature, they are about the squares of those of the vector; of a
trait they are in between.

The network is small enough here (tanh 64-64-64-13, 256 fixed noise inputs, squared error on three
auxiliary logits) that the 768 eigenvalues of ``G`` that are not zero are known exactly. Its teacher
is 100 steps of Adam on the classes, the trait is the teacher's own loss. Times are in units of
``1 / lambda_max``. A teacher whose displacement the imitated logits do not see ends the reduction
after one product.
About 15 seconds.
"""

from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from exact import Exact, exact
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
from setups import Problem, adam_teacher, fixed_noise

from sublim_jax import linearize, losses, plots, trees

CLAIM = "A Krylov space gives what is copied by time t, at a depth of order sqrt(t lambda_max)."
DEPTHS = (20, 40, 80, 130)
TIMES = np.logspace(1, 4, 13)
RULE = 2.0
TEACHER_RATE = 3e-3


class Curves(NamedTuple):
    """What is copied by the times of `TIMES`.

    Attributes:
        projection: coefficient on the teacher's displacement.
        trait: first-order change of the trait.
        vector: the displacement.
    """

    projection: Float[np.ndarray, " times"]
    trait: Float[np.ndarray, " times"]
    vector: Float[np.ndarray, "times parameters"]

    def errors(self, known: "Curves") -> "Curves":
        """Give relative errors, of the vector that of its length."""
        gap = np.linalg.norm(self.vector - known.vector, axis=-1)
        return Curves(
            np.abs(self.projection / known.projection - 1),
            np.abs(self.trait / known.trait - 1),
            gap / np.linalg.norm(known.vector, axis=-1),
        )


class Asked(NamedTuple):
    """A problem, the way of its teacher and the gradient of a trait."""

    given: Problem
    displacement: PyTree
    trait: PyTree


def flat(tree: PyTree) -> Float[np.ndarray, " parameters"]:
    """Give a tree as a vector, in float64."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def exactly(asked: Asked, matrix: Exact) -> Curves:
    """Give the curves from all eigenvalues."""
    way, slope = flat(asked.displacement), flat(asked.trait)
    shares = [linearize.gradient_flow(time / matrix.eigenvalues[-1]) for time in TIMES]
    vectors = np.stack([matrix.copied(share, matrix.factor @ way) for share in shares])
    return Curves(vectors @ way / (way @ way), vectors @ slope, vectors)


def reduced(asked: Asked, depth: int) -> linearize.Krylov:
    """Reduce the Gauss-Newton matrix of a problem to a Krylov space."""
    given = asked.given

    def product(vector: PyTree, init: PyTree, noise: Array) -> PyTree:
        return linearize.gauss_newton_product(given.auxiliary, init, vector, noise, loss=losses.mse)

    return linearize.lanczos(product, asked.displacement, given.init, given.noise, depth=depth)


def rounded(asked: Asked) -> Asked:
    """Round a problem to float32."""
    arrays = asked.given.init, asked.given.noise, asked.displacement, asked.trait
    init, noise, *rest = jax.tree.map(lambda x: x.astype(np.float32), arrays)
    return Asked(asked.given._replace(init=init, noise=noise), *rest)


def cut(space: linearize.Krylov, depth: int) -> linearize.Krylov:
    """Give the reduction of a smaller depth: the first steps of a deeper one."""
    small = (space.eigenvectors * space.eigenvalues) @ space.eigenvectors.T
    values, vectors = np.linalg.eigh(small[:depth, :depth])
    return linearize.Krylov(trees.take(space.basis, slice(depth)), values, vectors, space.length)


def curves(space: linearize.Krylov, asked: Asked, largest: float) -> Curves:
    """Give the curves from a Krylov space, with the largest eigenvalue as the unit of time."""
    shares = [linearize.gradient_flow(time / largest) for time in TIMES]
    along = space.along(asked.trait)
    return Curves(
        np.array([space.expectation(share) for share in shares]),
        np.array([along @ space.coordinates(share) for share in shares]),
        np.stack([flat(space.apply(share)) for share in shares]),
    )


def ruled(
    space: linearize.Krylov, known: Curves, largest: float
) -> tuple[Float[np.ndarray, " times"], Float[np.ndarray, " times"]]:
    """Give relative errors of projection and vector at each time, with the depth of the rule."""
    found = []
    for at, time in enumerate(TIMES):
        then = linearize.gradient_flow(time / largest)
        shallow = cut(space, int(np.ceil(RULE * np.sqrt(time))))
        gap = np.linalg.norm(flat(shallow.apply(then)) - known.vector[at])
        found.append(
            (
                abs(shallow.expectation(then) / known.projection[at] - 1),
                gap / np.linalg.norm(known.vector[at]),
            )
        )
    return tuple(np.transpose(found))


def within_bound(depth: int, errors: Float[np.ndarray, " times"]) -> float:
    """Give the largest ratio of errors to the bound of Hochbruck and Lubich, where it applies.

    Args:
        depth: of the Krylov space.
        errors: of the vector, in units of the length of the displacement it starts from.
    """
    quarter = TIMES / 4
    slow = 10 * np.exp(-(depth**2) / (5 * quarter))
    fast = 10 / quarter * np.exp(-quarter + depth * np.log(np.e * quarter / depth))
    bound = np.where(depth >= 2 * quarter, fast, slow)
    # Below this both are rounding.
    known = (depth >= np.sqrt(TIMES)) & (bound > 1e-12)
    return float((errors[known] / bound[known]).max())


def check(seed: int) -> claims.Report:
    """Compare Krylov spaces of several depths with the exact matrix."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        way = trees.sub(adam_teacher(given, rate=TEACHER_RATE), given.init)
        asked = Asked(given, way, jax.jit(jax.grad(given.trait_loss))(given.init))
        matrix = exact(given)
        known, largest = exactly(asked, matrix), float(matrix.eigenvalues[-1])
        deepest = reduced(asked, int(RULE * np.sqrt(TIMES[-1])))
        spaces = {depth: curves(cut(deepest, depth), asked, largest) for depth in DEPTHS}
        errors = {depth: of.errors(known) for depth, of in spaces.items()}
        by_rule = ruled(deepest, known, largest)
        along, seen = flat(way), matrix.factor @ flat(way)
        visible = along @ matrix.copied(np.ones_like, seen) / (along @ along)
        lengths = np.linalg.norm(known.vector, axis=-1) / np.linalg.norm(along)
        bound = max(within_bound(depth, of.vector * lengths) for depth, of in errors.items())
        unseen = jax.tree.map(jnp.zeros_like, way) | {"head_classes": way["head_classes"]}
        nothing = reduced(asked._replace(displacement=unseen), DEPTHS[0])
        narrow = rounded(asked)
    single = curves(reduced(narrow, 40), narrow, largest).errors(spaces[40])
    findings = [
        *findings_of(errors, single),
        claims.at_most(f"projection: error with k = {RULE:g} sqrt(t)", by_rule[0].max(), 1e-5),
        claims.at_most(f"vector: error with k = {RULE:g} sqrt(t)", by_rule[1].max(), 1e-2),
        claims.at_most("vector: error over the bound of theorem 2", bound, 1),
        claims.between("unseen teacher: products taken", len(nothing.eigenvalues), 1, 1),
        claims.at_most(
            "unseen teacher: projection at t = 1e9",
            abs(nothing.expectation(linearize.gradient_flow(1e9))),
            0,
        ),
    ]
    data = {
        "times": TIMES,
        "projection": known.projection,
        "visible share": visible,
        "errors of projection": {depth: of.projection for depth, of in errors.items()},
        "errors of trait": {depth: of.trait for depth, of in errors.items()},
        "errors of vector": {depth: of.vector for depth, of in errors.items()},
    }
    return claims.Report(findings, draw(data), data)


def findings_of(errors: dict[int, Curves], single: Curves) -> list[claims.Finding]:
    """Say what is asked of the errors."""
    at = {time: 1.001 * time >= TIMES for time in (100, 1_000)}
    found = []
    for what in ("projection", "trait"):
        small, of_32 = getattr(errors[40], what), getattr(single, what)
        found += [
            claims.at_most(f"{what}: error, k = 40, to t = 100", small[at[100]].max(), 1e-6),
            claims.reported(f"{what}: error, k = 40, at t = 1,000", small[at[1_000]][-1]),
            claims.reported(f"{what}: error, k = 40, at t = 10,000", small[-1]),
            claims.at_most(
                f"{what}: float32 against float64, k = 40, to t = 1,000",
                of_32[at[1_000]].max(),
                1e-4,
            ),
        ]
    last = {depth: errors[depth] for depth in (80, 130)}
    return [
        *found,
        claims.at_most("projection: error, k = 80, at t = 10,000", last[80].projection[-1], 1e-3),
        claims.reported("trait: error, k = 80, at t = 10,000", last[80].trait[-1]),
        claims.at_most("trait: error, k = 130, at t = 10,000", last[130].trait[-1], 1e-3),
        claims.reported("vector: error, k = 80, at t = 10,000", last[80].vector[-1]),
        claims.reported("vector: error, k = 130, at t = 10,000", last[130].vector[-1]),
    ]


def draw(data: dict) -> Figure:
    """Draw the projection and the errors against time."""
    figure, (left, right) = plots.panels(2, title="What a Krylov space knows of gradient flow")
    left.semilogx(
        TIMES, data["projection"], color="black", marker="o", ms=4, label="all eigenvalues"
    )
    left.axhline(data["visible share"], color="black", ls=":", label="visible share of |D|²")
    left.set(xlabel="time in units of 1 / lambda_max", ylabel="projection <delta, D> / <D, D>")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    for depth, color in zip(DEPTHS, plots.colors(len(DEPTHS)), strict=True):
        right.loglog(TIMES, data["errors of projection"][depth], color=color, label=f"k = {depth}")
        right.loglog(TIMES, data["errors of trait"][depth], color=color, ls="--")
    right.plot([], [], color="black", label="projection")
    right.plot([], [], color="black", ls="--", label="trait")
    right.set(xlabel="time in units of 1 / lambda_max", ylabel="relative error")
    right.set_ylim(1e-17, 10)
    right.legend(fontsize=7, ncols=2)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
