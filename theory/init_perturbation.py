"""From a perturbed initialisation the pull is toward the teacher, not along its displacement.

The theorem of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1) needs a shared initialisation.
Let the student start at ``theta_0 + sigma xi`` with ``xi`` standard normal. In the linear regime
its step is ``d_S = G (D - sigma xi)``, so that

    E cos(d_S, D) ~ <D, G D> / (|D| sqrt(|G D|^2 + sigma^2 tr G^2)),
    P(<d_S, D> > 0) = Phi(<D, G D> / (sigma |G D|)).

At ``sigma_c = |G D| / sqrt(tr G^2)`` the cosine has fallen to ``1/sqrt(2)`` of its height, and the
sign is lost from ``<D, G D> / |G D|`` on. Measured against ``theta_T - theta_0'``, the way to the
teacher from where the student really is, the cosine stays positive in every draw.

From an independent initialisation the step is driven by the distance of the two initial functions,
not by ``D``: it hardly depends on the teacher, and its sign along ``D`` is that of a coin.

Tanh 64-64-64-13 with weights of rms .125, 256 noise inputs, three auxiliary logits, a tenth of the
displacement of 100 steps of Adam, one step of the network itself and one of its linear model. The
formulas are those of the linear model for every sigma. For the network they are true while the
perturbation is small against its weights, and checked as false at sigma .1: its cosine is then half
of what they say, for ``tr G^2`` has grown and ``f(theta_0 + D)`` is no longer linear as seen from
the student. ``tr G^2`` is exact, by the tangent kernel, beside its estimate from 200 products
(Hutchinson). Half a minute.
"""

from statistics import NormalDist
from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
from setups import (
    Problem,
    adam_teacher,
    entries,
    fixed_noise,
    imitation_gradient,
    moved,
    random_direction,
)

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = (
    "Noise on the initialisation dilutes the pull as tr G^2 says; another one has no pull at all."
)
SIGMAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
LINEAR = 0.03  # the weights themselves are .125
SCALE, DRAWS, OTHERS, PROBES = 0.1, 200, 200, 200


class Theory(NamedTuple):
    """What the formulas need.

    Attributes:
        length: ``|D|``.
        drive: ``<D, G D>``.
        step: ``|G D|``.
        trace: ``tr G^2``.
        estimate: of ``tr G^2``, from products with normal vectors.
    """

    length: float
    drive: float
    step: float
    trace: float
    estimate: float

    @property
    def half_power(self) -> float:
        """Give ``sigma_c``."""
        return self.step / self.trace**0.5

    @property
    def sign_lost(self) -> float:
        """Give the sigma at which the spread of ``<d_S, D>`` is its mean."""
        return self.drive / self.step

    def cosine(self, sigma: Any) -> Any:
        """Give the mean cosine at a size of the perturbation."""
        return self.drive / self.length / np.sqrt(self.step**2 + np.square(sigma) * self.trace)

    def positive(self, sigma: float) -> float:
        """Give the probability of a positive product."""
        return NormalDist().cdf(self.sign_lost / sigma) if sigma else 1.0


class Cosines(NamedTuple):
    """Cosines of first steps, ``[sigmas, draws]``.

    Attributes:
        along: with the teacher's displacement.
        toward: with the way from the student's own start to the teacher.
    """

    along: Float[np.ndarray, "sigmas draws"]
    toward: Float[np.ndarray, "sigmas draws"]


def theory(given: Problem, direction: PyTree) -> Theory:
    """Compute what the formulas need, at the initialisation."""

    @jax.jit
    def measure(direction: PyTree) -> tuple[Array, Array, Array, Array, Array]:
        def product(vector: PyTree) -> PyTree:
            return linearize.gauss_newton_product(
                given.auxiliary, given.init, vector, given.noise, loss=losses.mse
            )

        def probe(draw: Array) -> Array:
            vector = random_direction(rng.stream(given.key, "probe", draw), given.init)
            return trees.norm(product(vector)) ** 2

        kernel = linearize.tangent_kernel(given.auxiliary, given.init, given.noise)
        step = product(direction)
        # H is 2 / 3 for the mean over three logits, and G the mean over the rows.
        trace = jnp.sum(jnp.square(kernel * 2 / given.shape.auxiliary / len(given.noise)))
        probes = jax.lax.map(probe, jnp.arange(PROBES))
        numbers = trees.norm(direction), trees.dot(direction, step), trees.norm(step)
        return *numbers, trace, jnp.mean(probes)

    return Theory(*map(float, measure(direction)))


def perturbed(
    given: Problem, apply: linearize.Apply, direction: PyTree, sigmas: np.ndarray
) -> Cosines:
    """Take first steps from perturbed initialisations; the draws are the same for all sigmas."""
    teacher = moved(given.init, 1.0, direction)

    @jax.jit
    def measure(sigmas: Array) -> tuple[Array, Array]:
        def one(draw: Array) -> tuple[Array, Array]:
            noise = random_direction(rng.stream(given.key, "perturbation", draw), given.init)

            def at(sigma: Array) -> tuple[Array, Array]:
                start = moved(given.init, sigma, noise)
                step = imitation_gradient(given, start, teacher, apply=apply)
                return trees.cosine(step, direction), trees.cosine(step, trees.sub(teacher, start))

            return jax.lax.map(at, sigmas)

        return jax.lax.map(one, jnp.arange(DRAWS))

    return Cosines(*(np.asarray(found).T for found in measure(jnp.asarray(sigmas))))


def others(given: Problem, direction: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """Take first steps from independent initialisations.

    Returns:
        Cosines with the teacher's displacement; and with the steps that are taken when the teacher
        has not moved at all.
    """

    @jax.jit
    def measure() -> tuple[Array, Array]:
        def one(draw: Array) -> tuple[Array, Array]:
            key = rng.stream(given.key, "other", draw)
            start = jax.tree.map(lambda a: a.astype(float), given.net.init(key))
            step = imitation_gradient(given, start, moved(given.init, 1.0, direction))
            without = imitation_gradient(given, start, given.init)
            return trees.cosine(step, direction), trees.cosine(step, without)

        return jax.lax.map(one, jnp.arange(OTHERS))

    along, without = measure()
    return np.asarray(along), np.asarray(without)


def judge_network(found: Cosines, terms: Theory) -> list[claims.Finding]:
    """Judge the network by the formulas: true for small perturbations, false for large ones."""
    means, expected, findings = found.along.mean(1), terms.cosine(np.array(SIGMAS)), []
    for sigma, mean, formula, draws in zip(SIGMAS, means, expected, found.along, strict=False):
        label, positive = f"sigma {sigma:g}", float((draws > 0).mean())
        findings.append(claims.reported(f"{label}: mean cosine with D", mean))
        if sigma <= LINEAR:
            gap, off = abs(mean - formula), abs(positive - terms.positive(sigma))
            findings += [
                claims.at_most(f"{label}: distance from formula", gap, 0.01),
                claims.at_most(f"{label}: share positive, distance from Phi", off, 0.05),
            ]
        else:
            findings += [
                claims.at_most(f"{label}: cosine over formula", mean / formula, 0.75),
                claims.reported(f"{label}: share positive", positive),
                claims.reported(f"{label}: share positive, Phi", terms.positive(sigma)),
            ]
    kept = np.array(SIGMAS) <= 0.01  # where it keeps half of its height
    error = np.abs(means[: len(SIGMAS)] / expected - 1)[kept].max()
    toward = float((found.toward > 0).mean())
    return [
        *findings,
        claims.at_most("sigma to 0.01: largest relative distance from formula", error, 0.1),
        claims.between("at sigma_c: cosine over its height", means[-1] / means[0], 0.65, 0.76),
        claims.at_least("all sigmas: share positive toward the teacher", toward, 1),
        claims.reported("smallest cosine toward the teacher", found.toward.min()),
    ]


def judge_linear(linear: Cosines, terms: Theory, sigmas: np.ndarray) -> list[claims.Finding]:
    """Judge the linear model by the formulas, at every sigma."""
    cosines = np.abs(linear.along.mean(1) - terms.cosine(sigmas))
    chances = np.array([terms.positive(sigma) for sigma in sigmas])
    shares = np.abs((linear.along > 0).mean(1) - chances)
    return [
        claims.at_most("linear model: largest distance from formula", cosines.max(), 0.004),
        claims.at_most("linear model: largest distance from Phi", shares.max(), 0.12),
    ]


def judge_others(along: np.ndarray, without: np.ndarray, count: int) -> list[claims.Finding]:
    """Judge independent initialisations."""
    spread, share = along.std(ddof=1) * count**0.5, float((along > 0).mean())
    return [
        claims.at_most("other initialisations: |mean cosine with D|", abs(along.mean()), 0.005),
        claims.between("other initialisations: sd times sqrt(n)", spread, 0.5, 2),
        claims.between("other initialisations: share positive", share, 0.35, 0.65),
        claims.at_least("... least cosine with a step that knows no D", without.min(), 0.95),
    ]


def check(seed: int) -> claims.Report:
    """Compare cosines and signs with the formulas."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        whole = trees.sub(adam_teacher(given), given.init)
        direction = jax.tree.map(lambda d: SCALE * d, whole)
        terms = theory(given, direction)
        sigmas = np.array([*SIGMAS, terms.half_power])
        model = linearize.linearized(given.auxiliary, given.init)
        linear = perturbed(given, model, direction, sigmas)
        found = perturbed(given, given.auxiliary, direction, sigmas)
        along, without = others(given, direction)
        count = entries(given.init)
    findings = [
        claims.reported("sigma_c", terms.half_power),
        claims.reported("sigma at which the sign is lost", terms.sign_lost),
        claims.reported("tr G^2, estimate over exact", terms.estimate / terms.trace),
        *judge_network(found, terms),
        *judge_linear(linear, terms, sigmas),
        *judge_others(along, without, count),
    ]
    data = {
        "sigmas": sigmas,
        "network": found._asdict(),
        "linear model": linear._asdict(),
        "theory": terms._asdict(),
        "others": along,
    }
    return claims.Report(findings, draw(found, linear, terms, along, count), data)


def draw(found: Cosines, linear: Cosines, terms: Theory, along: np.ndarray, count: int) -> Figure:
    """Draw cosines and signs against sigma, and those of independent initialisations."""
    figure, (left, middle, right) = plots.panels(3, title="First step from another initialisation")
    sigmas, fine = np.array(SIGMAS[1:]), np.geomspace(5e-4, 0.4, 100)
    colors = plots.colors(3)
    within = slice(1, len(SIGMAS))
    shown = (
        (found.along, "network, with D", "o", colors[0]),
        (linear.along, "linear model, with D", "x", colors[1]),
        (found.toward, "network, with theta_T - theta_0'", "s", colors[2]),
    )
    for cosines, name, marker, color in shown:
        mean, sd = cosines[within].mean(1), cosines[within].std(1)
        left.errorbar(sigmas, mean, sd, fmt=marker, ms=4, color=color, label=name)
        share = (cosines[within] > 0).mean(1)
        middle.plot(sigmas, share, marker, ms=5, color=color, label=name)
    left.plot(fine, terms.cosine(fine), color="black", ls=":", label="formula, with D")
    left.axvline(terms.half_power, color="black", lw=1, ls="--", label="sigma_c")
    left.set(ylabel="cosine of the first step, mean and sd")
    chances = [terms.positive(sigma) for sigma in fine]
    middle.plot(fine, chances, color="black", ls=":", label="formula, with D")
    middle.axvline(terms.sign_lost, color="black", lw=1, ls="--", label="<D, G D> / |G D|")
    middle.set(ylabel="share of draws with positive cosine", ylim=(0.4, 1.03))
    for axis in (left, middle):
        axis.set_xscale("log")
        axis.set_xlabel("sigma: perturbation of each parameter")
        axis.legend(fontsize=7, framealpha=1)
    values = np.linspace(-4, 4, 200) / count**0.5
    null = NormalDist(0, count**-0.5)
    right.hist(along, bins=25, density=True, color=colors[1], label=f"{len(along)} draws")
    right.plot(values, [null.pdf(v) for v in values], color="black", ls=":", label="sd 1/sqrt(n)")
    right.set(xlabel="cosine with D, independent initialisation", ylabel="density")
    right.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
