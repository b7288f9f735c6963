"""Minibatches of exact logits bring a linear student nearer to its teacher, in any order.

With ``delta`` the student's displacement, ``D`` its teacher's and ``e = D - delta``, a step of
gradient descent on a batch ``B`` of squared errors is, for a linear model,

    e <- (I - alpha G_B) e,         |e|^2 falls by alpha <e, G_B (2 - alpha G_B) e>.

No step whose own ``alpha lambda_max(G_B)`` is at most 2 increases ``|e|``, whatever was drawn
before, and from ``|D - delta| <= |D|`` follows ``rho >= kappa^2 / 2`` with ``rho = <delta, D> /
|D|^2`` and ``kappa = |delta| / |D|``. The paper's theorem (Cloud, Le et al. 2025, arXiv 2507.14805,
section 6.1) is about one step. Batches that are drawn independently at one rate follow full-batch
gradient descent on average: ``E delta_k = (I - (I - alpha G)^k) D``.

Tanh 64-64-64-13, 256 noise inputs, three auxiliary logits, a teacher of 100 steps of Adam. The
model is linearised at the initialisation and takes 500 steps: on drawn batches of 1, 4 and 32, on
rows in a fixed cycle, and on the rows that an adversary picks: 100 drawn ones, and then each time
the one that lowers ``<delta, D>`` the most. ``lambda_max(G_B)`` is bounded by the largest
of its rows, and each step goes as far as its own bound allows. Beyond 2 the claim must break. For
the network itself it is no theorem: the same walks count how often the distance rises there. Half a
minute.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree
from matplotlib.figure import Figure
from setups import Problem, adam_teacher, fixed_noise, moved

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = "No order of batches drives a linear student away from its teacher, if alpha lambda <= 2."
STEPS = 500
REACHES = (0.5, 1.0, 1.9, 2.0)  # alpha lambda_max of each step
BEYOND = 3.0
SCALES = (0.1, 1.0)  # of the teacher's displacement, for the network itself
RUNS, MEAN_STEPS, MEAN_BATCH, MEAN_REACH = 200, 100, 4, 0.5
ROUNDING = 1e-13

Order = Callable[[Int[Array, ""], Float[Array, " rows"]], Int[Array, " batch"]]
"""Step, and how far each row alone would go along D, to the next batch."""


class Walk(NamedTuple):
    """A training, step by step; each ``[..., steps]``, or with one more at the start.

    Attributes:
        distance: ``|D - delta| / |D|``, one more than there are steps.
        projection: ``rho = <delta, D> / |D|^2`` after each step.
        length: ``kappa = |delta| / |D|`` after each step.
    """

    distance: Any
    projection: Any
    length: Any

    def rises(self) -> Int[np.ndarray, "..."]:
        """Count the steps that increase the distance by more than rounding."""
        before, after = self.distance[..., :-1], self.distance[..., 1:]
        return np.sum(after > before * (1 + ROUNDING), axis=-1)

    def slack(self) -> Float[np.ndarray, "..."]:
        """Give the least ``rho - kappa^2 / 2`` of all steps."""
        return np.min(self.projection - self.length**2 / 2, axis=-1)


def row_bounds(given: Problem) -> Float[Array, " rows"]:
    """Give ``lambda_max(G_x)`` of each row; that of a batch is at most the largest of its rows."""

    def one(row: Array) -> Array:
        kernel = linearize.tangent_kernel(given.auxiliary, given.init, row[None])[0, :, 0]
        return jnp.linalg.eigvalsh(kernel)[-1]

    return 2 / given.shape.auxiliary * jax.jit(jax.vmap(one))(given.noise)


def drawn(key: Key[Array, ""], rows: int, batch: int) -> Order:
    """Draw the rows of each batch with replacement."""
    return lambda step, _: jax.random.randint(rng.stream(key, step), (batch,), 0, rows)


def cycle(rows: int) -> Order:
    """Take one row after the other, in the order in which they stand."""
    return lambda step, _: step[None] % rows


def adversary(key: Key[Array, ""], rows: int, since: int = 100) -> Order:
    """Draw rows at first, then take the row whose step goes back the furthest along D."""
    first = drawn(key, rows, 1)
    return lambda step, gains: jnp.where(step < since, first(step, gains), jnp.argmin(gains)[None])


def walk(
    given: Problem,
    apply: linearize.Apply,
    direction: PyTree,
    rates: Float[Array, " rows"],
    order: Order,
    *,
    look: bool = False,
    steps: int = STEPS,
) -> Walk:
    """Take minibatch steps toward ``init + direction``; traceable.

    Args:
        given: the problem.
        apply: the student, and the teacher.
        direction: the teacher's displacement.
        rates: of steps on each row alone; a batch goes by the least of its rows.
        order: chooses the batches.
        look: whether the order looks at what rows would gain; it sees zeros otherwise.
        steps: how many.
    """
    teacher = moved(given.init, 1.0, direction)
    targets = apply(teacher, given.noise)
    along = jax.jvp(lambda p: apply(p, given.noise), (given.init,), (direction,))[1]
    length = trees.norm(direction)

    def step(params: PyTree, index: Array) -> tuple[PyTree, tuple[Array, Array, Array]]:
        left = targets - apply(params, given.noise) if look else jnp.zeros_like(targets)
        batch = order(index, rates * jnp.sum(left * along, axis=-1))

        def loss(params: PyTree) -> Array:
            return jnp.mean(losses.mse(apply(params, given.noise[batch]), targets[batch]))

        params = moved(params, -jnp.min(rates[batch]), jax.grad(loss)(params))
        way = trees.sub(params, given.init)
        distance = trees.norm(trees.sub(direction, way)) / length
        return params, (distance, trees.dot(way, direction) / length**2, trees.norm(way) / length)

    _, (distance, *others) = jax.lax.scan(step, given.init, jnp.arange(steps))
    return Walk(jnp.concatenate([jnp.ones(1), distance]), *others)


def walks(given: Problem, direction: PyTree, bounds: Array) -> dict[str, Walk]:
    """Walk with the linear model in every order, ``[reaches, steps]``; the last reach is beyond."""
    apply, rows = linearize.linearized(given.auxiliary, given.init), len(given.noise)
    reaches = jnp.array([*REACHES, BEYOND])
    orders: dict[str, tuple[Order, bool]] = {
        f"batches of {batch}": (drawn(rng.stream(given.key, "batch", batch), rows, batch), False)
        for batch in (1, 4, 32)
    }
    orders |= {
        "rows in a cycle": (cycle(rows), False),
        "adversary": (adversary(rng.stream(given.key, "adversary"), rows), True),
    }

    def one(order: Order, look: bool) -> Walk:
        return jax.jit(
            jax.vmap(lambda reach: walk(given, apply, direction, reach / bounds, order, look=look))
        )(reaches)

    return {name: Walk(*map(np.asarray, one(*order))) for name, order in orders.items()}


def real_walks(given: Problem, direction: PyTree, bounds: Array) -> dict[int, Walk]:
    """Walk with the network itself on drawn batches, ``[scales, reaches, steps]``."""

    def one(batch: int) -> Walk:
        order = drawn(rng.stream(given.key, "batch", batch), len(given.noise), batch)

        def at(scale: Array, reach: Array) -> Walk:
            toward = jax.tree.map(lambda d: scale * d, direction)
            return walk(given, given.auxiliary, toward, reach / bounds, order)

        by_reach = jax.vmap(at, (None, 0))
        return jax.jit(jax.vmap(by_reach, (0, None)))(jnp.array(SCALES), jnp.array(REACHES))

    return {batch: Walk(*map(np.asarray, one(batch))) for batch in (1, 4, 32)}


def average(given: Problem, direction: PyTree, bounds: Array) -> tuple[np.ndarray, float]:
    """Give ``rho`` after independent batches at one rate, of each run, and what theory says."""
    apply, rate = linearize.linearized(given.auxiliary, given.init), MEAN_REACH / jnp.max(bounds)

    @jax.jit
    def runs() -> Array:
        def one(run: Array) -> Array:
            order = drawn(rng.stream(given.key, "run", run), len(bounds), MEAN_BATCH)
            rates = jnp.full_like(bounds, rate)
            return walk(given, apply, direction, rates, order, steps=MEAN_STEPS).projection[-1]

        return jax.lax.map(one, jnp.arange(RUNS), batch_size=20)

    def product(vector: PyTree, init: PyTree, noise: Array) -> PyTree:
        return linearize.gauss_newton_product(given.auxiliary, init, vector, noise, loss=losses.mse)

    # Gauss quadrature with 51 nodes is exact for polynomials of degree 101.
    seen = linearize.lanczos(product, direction, given.init, given.noise, depth=MEAN_STEPS // 2 + 1)
    expected = seen.expectation(linearize.gradient_descent(float(rate), MEAN_STEPS))
    return np.asarray(runs()), expected


def judge_linear(linear: dict[str, Walk]) -> list[claims.Finding]:
    """Judge the walks of the linear model, at the allowed reaches and beyond."""
    findings = []
    for name, found in linear.items():
        away, slack = found.rises()[:-1].sum(), found.slack()[:-1].min()
        findings += [
            claims.at_most(f"linear, {name}: steps that go away", away, 0),
            claims.at_least(f"linear, {name}: least rho - kappa^2/2", slack, -1e-12),
        ]
    beyond = sum(int(found.rises()[-1]) for found in linear.values())
    name = f"linear, alpha lambda = {BEYOND:g}: steps that go away"
    return [*findings, claims.at_least(name, beyond, 1)]


def judge_mean(runs: np.ndarray, expected: float) -> list[claims.Finding]:
    """Judge the mean over independent batches."""
    spread, gap = runs.std(ddof=1), runs.mean() - expected
    return [
        claims.at_most("mean rho: |z| against theory", abs(gap) / spread * RUNS**0.5, 4),
        claims.at_most("mean rho: relative error", abs(gap) / expected, 0.05),
        claims.reported("mean rho: theory", expected),
        claims.reported("mean rho: sd of a run over theory", spread / expected),
    ]


def judge_network(real: dict[int, Walk]) -> list[claims.Finding]:
    """Tell how often the network goes away, and ask that it does."""
    findings, whole = [], 0
    for batch, found in real.items():
        for scale, away, slack in zip(SCALES, found.rises(), found.slack(), strict=True):
            label = f"network, s = {scale:g}, batches of {batch}"
            findings += [
                claims.reported(f"{label}: most steps that go away", away.max()),
                claims.reported(f"{label}: least rho - kappa^2/2", slack.min()),
            ]
        whole += int(found.rises()[-1].sum())
    return [*findings, claims.at_least("network, s = 1: steps that go away, all walks", whole, 1)]


def check(seed: int) -> claims.Report:
    """Walk in all orders, and count."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        direction = trees.sub(adam_teacher(given), given.init)
        bounds = row_bounds(given)
        linear = walks(given, direction, bounds)
        real = real_walks(given, direction, bounds)
        runs, expected = average(given, direction, bounds)
    findings = [*judge_linear(linear), *judge_mean(runs, expected), *judge_network(real)]
    data = {
        "reaches": (*REACHES, BEYOND),
        "linear, every tenth distance": {n: f.distance[:, ::10] for n, f in linear.items()},
        "network, every tenth distance": {n: f.distance[..., ::10] for n, f in real.items()},
        "network, steps that go away": {n: f.rises() for n, f in real.items()},
        "mean": {"runs": runs, "expected": expected},
    }
    return claims.Report(findings, draw(linear, real), data)


def draw(linear: dict[str, Walk], real: dict[int, Walk]) -> Figure:
    """Draw the distances of the linear model and of the network, and the bound."""
    figure, axes = plots.panels(3, title="Minibatch steps toward a teacher, alpha lambda up to 1.9")
    at = REACHES.index(1.9)
    for (name, found), color in zip(linear.items(), plots.colors(len(linear)), strict=True):
        axes[0].plot(found.distance[at], color=color, label=name)
        axes[2].loglog(found.length[at] ** 2 / 2, found.projection[at], color=color, label=name)
    for (batch, found), color in zip(real.items(), plots.colors(len(real)), strict=True):
        for i, (scale, line) in enumerate(zip(SCALES, ("--", "-"), strict=True)):
            label = f"batches of {batch}, s = {scale:g}"
            axes[1].plot(found.distance[i, at], color=color, ls=line, label=label)
    for axis, what in zip(axes, ("linear model", "network"), strict=False):
        axis.set(xlabel="step", ylabel=f"|D - delta| / |D|, {what}")
    low, high = axes[2].get_xlim()
    axes[2].plot([low, high], [low, high], color="black", ls=":", label="the bound")
    axes[2].set(xlabel="kappa^2 / 2, linear model", ylabel="rho, linear model")
    for axis in axes:
        axis.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
