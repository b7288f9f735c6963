"""Adam and momentum can point away from the teacher, in the sense of Euclid; what is sure instead.

Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1) is about gradient descent. With
a preconditioner ``P > 0`` the first step is ``d_S = alpha P G D``, and it is

    <P^-1 d_S, D> = alpha <D, G D> >= 0      always,
    <d_S, D>      = alpha <D, P G D>         of either sign.

Four parts, on tanh 64-32-32-13 and 200 noise inputs where a network is needed:

- random diagonal ``P = exp(3 N(0, 1))`` and random teachers, 300 draws: both products;
- Adam's first step, ``sign(G D)``, on linear models of one input ``v``: with ``v = (1, .1)`` and
  ``D = (1, -5)`` it gives ``<d_S, D> = -4 alpha``, so it raises the own loss of the teacher of
  gradient descent. With ``v = (3, -1, -1)`` the teacher's step may be Adam's as well;
- Adam's first step on networks. For ``D`` standard normal, ``(G D)_i`` and ``D_i`` are normal with
  covariance ``G_ii``, so ``E <sign(G D), D> = sqrt(2/pi) sum_i G_ii / sqrt((G^2)_ii)``: positive,
  and large against its spread. The counterexample exists, and is rare;
- momentum. "What is left of a mode, ``r_k``, is at most 1 wherever training is stable" is false:
  a heavy ball swings back past where it began, where ``<d_S, D> < 0``. Over all ``alpha lambda`` up
  to the stated limit ``r_k`` reaches 1.04 (decay .9, limit 2), 1.09 (.99, 1), 2.16 (.5, 2.9) and
  4.89 (.9, 3.7). It does not for decay .9 up to .5; a network follows the formula.

Half a minute.
"""

from typing import Any

import claims
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure
from setups import Problem, entries, imitation_gradient, moved, problem, random_direction

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = "A preconditioned step is positive in the preconditioner's own metric, not in Euclid's."
DRAWS, TEACHERS, RATE = 300, 60, 1e-3
SMALL = 0.01  # length of a random teacher's displacement over that of the initialisation
# Decay and largest alpha lambda, to what r_k reaches at the least.
OVERSHOOTS = {(0.9, 2.0): 1.03, (0.99, 1.0): 1.08, (0.5, 2.9): 2.1, (0.9, 3.7): 4.8}
HORIZON = 100


def teacher_draw(given: Problem, key: Key[Array, ""]) -> PyTree:
    """Draw a standard normal displacement, scaled to be small."""
    drawn = random_direction(key, given.init)
    scale = SMALL * trees.norm(given.init) / trees.norm(drawn)
    return jax.tree.map(lambda d: scale * d, drawn)


def inverse_cosine(step: PyTree, direction: PyTree, preconditioner: PyTree) -> Array:
    """Give the cosine of two directions in the metric ``P^-1``."""
    root = jax.tree.map(jnp.sqrt, preconditioner)
    divided = (jax.tree.map(jnp.divide, tree, root) for tree in (step, direction))
    return trees.cosine(*divided)


def random_preconditioners(given: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Give the cosines of a first step under random ``P``, in Euclid's metric and in ``P^-1``."""

    @jax.jit
    def measure() -> tuple[Array, Array]:
        def one(draw: Array) -> tuple[Array, Array]:
            key = rng.stream(given.key, "preconditioner", draw)
            direction = teacher_draw(given, rng.stream(key, "teacher"))
            spread = random_direction(rng.stream(key, "spread"), given.init)
            by = jax.tree.map(lambda s: jnp.exp(3 * s), spread)
            gradient = imitation_gradient(given, given.init, moved(given.init, 1.0, direction))
            step = jax.tree.map(jnp.multiply, by, gradient)
            return trees.cosine(step, direction), inverse_cosine(step, direction, by)

        return jax.lax.map(one, jnp.arange(DRAWS))

    euclid, inverse = measure()
    return np.asarray(euclid), np.asarray(inverse)


def adam_step(gradient: PyTree) -> tuple[PyTree, PyTree]:
    """Take Adam's first step against ``-gradient``; give it with its preconditioner."""
    optimizer = optax.adam(RATE)
    downhill = jax.tree.map(jnp.negative, gradient)
    step, state = optimizer.update(downhill, optimizer.init(gradient))
    second = optax.tree_utils.tree_get(state, "nu")
    # Bias correction of a first step, 1 - .999; epsilon as in optax.adam.
    return step, jax.tree.map(lambda v: RATE / (jnp.sqrt(v / 0.001) + 1e-8), second)


def linear_counterexample(v: Array, direction: Array) -> tuple[float, float]:
    """Give ``<d_S, D>`` and ``<P^-1 d_S, D>`` of Adam's first step, of a model ``theta . v``."""

    def loss(theta: Array) -> Array:
        return (v @ theta - v @ direction) ** 2 / 2

    step, by = adam_step(-jax.grad(loss)(jnp.zeros_like(v)))
    return float(step @ direction), float((step / by) @ direction)


def first_steps(given: Problem) -> dict[str, np.ndarray]:
    """Give the cosines of Adam's first step with random teachers, and with those of gradients.

    The latter have their own initialisation and noise each; their own step is either that of
    gradient descent or Adam's.
    """

    def toward(start: PyTree, noise: Array, direction: PyTree) -> tuple[Array, Array]:
        here = given._replace(init=start, noise=noise)
        step, by = adam_step(imitation_gradient(here, start, moved(start, 1.0, direction)))
        return trees.cosine(step, direction), inverse_cosine(step, direction, by)

    @jax.jit
    def measure() -> tuple[Any, Any, Any]:
        def random(draw: Array) -> tuple[Array, Array]:
            direction = teacher_draw(given, rng.stream(given.key, "random", draw))
            return toward(given.init, given.noise, direction)

        def taught(draw: Array) -> tuple[Any, Any]:
            key = rng.stream(given.key, "taught", draw)
            start = jax.tree.map(lambda a: a.astype(float), given.net.init(key))
            noise = jax.random.uniform(rng.stream(key, "noise"), given.noise.shape, float, -1, 1)
            descent = jax.tree.map(jnp.negative, jax.grad(given.trait_loss)(start))
            small = jax.tree.map(lambda d: 0.01 * d, descent)
            return toward(start, noise, small), toward(start, noise, adam_step(descent)[0])

        return (
            jax.lax.map(random, jnp.arange(DRAWS)),
            *jax.lax.map(taught, jnp.arange(TEACHERS)),
        )

    names = ("random", "gradient descent", "Adam")
    found = dict(zip(names, measure(), strict=True))
    euclid = {name: np.asarray(cosines[0]) for name, cosines in found.items()}
    return euclid | {"P^-1": np.concatenate([np.asarray(cosines[1]) for cosines in found.values()])}


def expected_cosine(given: Problem) -> float:
    """Give the mean cosine of ``sign(G D)`` with ``D`` standard normal, from ``G`` alone."""
    start, unravel = ravel_pytree(given.init)

    def seen(parameters: Array) -> Array:
        return given.auxiliary(unravel(parameters), given.noise).ravel()

    rows = jax.jit(jax.jacrev(seen))(start) * jnp.sqrt(2 / given.noise.shape[0] / 3)
    diagonal = jnp.sum(rows**2, axis=0)
    squared = jnp.sum(rows * (rows @ rows.T @ rows), axis=0)
    moves = diagonal > 0
    ratios = jnp.where(moves, diagonal / jnp.sqrt(jnp.where(moves, squared, 1.0)), 0.0)
    return float(jnp.sqrt(2 / jnp.pi) * ratios.sum() / jnp.sqrt(moves.sum() * entries(given.init)))


def left_over(decay: float, reach: np.ndarray, steps: int = HORIZON) -> Float[np.ndarray, "k n"]:
    """Give ``r_k`` of modes with ``alpha lambda = reach`` for ``k = 1..steps``."""
    return np.stack([1 - linearize.momentum(1.0, k, decay)(reach) for k in range(1, steps + 1)])


def heavy_ball(
    given: Problem, decay: float, reach: float, steps: int = 40
) -> tuple[np.ndarray, float]:
    """Train the network with `optax.sgd` toward a teacher along its stiffest direction.

    Returns:
        ``1 - <delta, D> / |D|^2``, which is ``r_k`` to first order in ``|D|``, after each step;
        and how far it is from it.
    """

    def product(vector: PyTree, init: PyTree, noise: Array) -> PyTree:
        return linearize.gauss_newton_product(given.auxiliary, init, vector, noise, loss=losses.mse)

    start = random_direction(rng.stream(given.key, "mode"), given.init)
    seen = linearize.lanczos(product, start, given.init, given.noise, depth=40)
    top = jax.tree.map(
        lambda b: jnp.tensordot(jnp.asarray(seen.eigenvectors[:, -1]), b, 1), seen.basis
    )
    direction = jax.tree.map(lambda t: 1e-5 * t / trees.norm(top), top)
    optimizer = optax.sgd(reach / seen.eigenvalues[-1], momentum=decay)
    teacher = moved(given.init, 1.0, direction)

    @jax.jit
    def train(params: PyTree) -> Array:
        def step(carry: tuple[PyTree, Any], _: None) -> tuple[tuple[PyTree, Any], Array]:
            params, state = carry
            gradient = jax.tree.map(jnp.negative, imitation_gradient(given, params, teacher))
            updates, state = optimizer.update(gradient, state)
            params = optax.apply_updates(params, updates)
            way = trees.sub(params, given.init)
            return (params, state), 1 - trees.dot(way, direction) / trees.dot(direction, direction)

        return jax.lax.scan(step, (params, optimizer.init(params)), None, steps)[1]

    found = np.asarray(train(given.init))
    return found, float(np.abs(found - left_over(decay, np.array([reach]), steps)[:, 0]).max())


def judge_adam(steps: dict[str, np.ndarray], expected: float) -> list[claims.Finding]:
    """Judge Adam's first steps on networks."""
    findings = []
    for name in ("random", "gradient descent", "Adam"):
        found = steps[name]
        findings += [
            claims.at_most(
                f"Adam, teacher {name}: share negative", float((found <= 0).mean()), 0.01
            ),
            claims.reported(f"Adam, teacher {name}: mean cosine", found.mean()),
            claims.reported(f"Adam, teacher {name}: sd", found.std(ddof=1)),
            claims.reported(f"Adam, teacher {name}: smallest cosine", found.min()),
        ]
    error = float(abs(steps["random"].mean() / expected - 1))
    return [
        *findings,
        claims.at_most("Adam, all: negative in P^-1", int((steps["P^-1"] <= 0).sum()), 0),
        claims.at_most("Adam, teacher random: mean against formula", error, 0.05),
    ]


def judge_momentum(network: np.ndarray, gap: float) -> list[claims.Finding]:
    """Judge what is left of modes under momentum."""
    findings = []
    for (decay, limit), least in OVERSHOOTS.items():
        largest = left_over(decay, np.linspace(0.001, limit, 2_000)).max()
        name = f"momentum {decay:g}, to {limit:g}: largest r_k"
        findings.append(claims.at_least(name, largest, least))
    safe = left_over(0.9, np.linspace(0.001, 0.5, 500)).max()
    return [
        *findings,
        claims.at_most("momentum 0.9, to 0.5: largest r_k", safe, 1),
        claims.at_least("network, momentum 0.9, 3.7: largest r_k", network.max(), 4.8),
        claims.at_most("network, momentum 0.9, 3.7: distance from formula", gap, 0.01),
    ]


def check(seed: int) -> claims.Report:
    """Measure all four parts."""
    with jax.enable_x64(True):
        given = problem(seed)
        euclid, inverse = random_preconditioners(given)
        plane = linear_counterexample(jnp.array([1.0, 0.1]), jnp.array([1.0, -5.0]))
        space = linear_counterexample(jnp.array([3.0, -1.0, -1.0]), jnp.full(3, RATE))
        steps, expected = first_steps(given), expected_cosine(given)
        network, gap = heavy_ball(given, 0.9, 3.7)
    first, second = "v = (1, .1), D = (1, -5)", "v = (3, -1, -1), D Adam's"
    findings = [
        claims.at_most("random P: negative in P^-1", int((inverse <= 0).sum()), 0),
        claims.at_least("random P: negative in Euclid", int((euclid < 0).sum()), 1),
        claims.reported("random P: smallest cosine in P^-1", inverse.min()),
        claims.between(f"{first}: <d_S, D> / alpha", plane[0] / RATE, -4.001, -3.999),
        claims.at_least(f"{first}: <P^-1 d_S, D>", plane[1], 1e-9),
        claims.at_most(f"{second}: cosine", space[0] / RATE**2 / 3, -0.333),
        claims.at_least(f"{second}: <P^-1 d_S, D>", space[1], 1e-9),
        *judge_adam(steps, expected),
        *judge_momentum(network, gap),
    ]
    data = {"random P": {"Euclid's": euclid, "P^-1": inverse}, "Adam": steps, "network": network}
    return claims.Report(findings, draw(data, expected), {**data, "expected": expected})


def draw(data: dict[str, Any], expected: float) -> Figure:
    """Draw the cosines of first steps, and what is left of modes under momentum."""
    figure, (left, middle, right) = plots.panels(3, title="Steps that are not gradient descent's")
    colors = plots.colors(4)
    for (name, cosines), color in zip(data["random P"].items(), colors, strict=False):
        share = np.arange(1, len(cosines) + 1) / len(cosines)
        left.plot(np.sort(cosines), share, color=color, label=f"metric: {name}")
    left.set(xlabel="cosine of step and teacher, random P", ylabel="share of draws below")
    left.set_xscale("symlog", linthresh=1e-3)
    for name, color in zip(("random", "gradient descent", "Adam"), colors, strict=False):
        cosines = np.sort(data["Adam"][name])
        share = np.arange(1, len(cosines) + 1) / len(cosines)
        middle.plot(cosines, share, color=color, label=f"teacher: {name}")
    middle.axvline(expected, color=colors[0], ls=":", label="formula, random")
    middle.set(xlabel="cosine with Adam's first step, Euclid", ylabel="share of draws below")
    shown = ((0.9, 0.5), (0.9, 1.6), (0.99, 0.87), (0.9, 3.7))
    for (decay, reach), color in zip(shown, colors, strict=True):
        modes = left_over(decay, np.array([reach]), 40)[:, 0]
        right.plot(range(1, 41), modes, color=color, label=f"{decay:g}, {reach:g}")
    right.plot(range(1, 41), data["network"], "x", color=colors[3], label="0.9, 3.7: network")
    right.axhline(1, color="black", ls=":", lw=1)
    right.set(xlabel="step k", ylabel="r_k: what is left of a mode")
    for axis in (left, middle):
        axis.axvline(0, color="black", lw=1)
        axis.legend(fontsize=7)
    right.legend(fontsize=7, title="decay, alpha lambda", title_fontsize=7)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
