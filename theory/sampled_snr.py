"""Tokens that a teacher samples pull with sqrt(2 N KL) standard deviations of their own noise.

A student at ``theta_0`` takes one step on ``N`` tokens sampled by a teacher at ``theta_0 + eps D``,
``d_S = mean_i grad log p(y_i | x_i)``. In expectation it is the negative gradient of ``KL(p_T ||
p)``, that is ``eps G D`` to first order, ``G`` the Fisher information, which is the Gauss-Newton
matrix of `losses.kl`. One token's product with the displacement has mean and variance ``eps^2 <D, G
D> = 2 KL`` alike, since the variance of a score is the Fisher information too. Hence

    z = sqrt(2 N KL),   N needed = z^2 / (2 KL),   along a trait's gradient u: z_u = rho_G(u, D) z
    E |noise|^2 = tr G / N,   cos(d_S, D) ~ <D, G D> / (|D| sqrt(|G D|^2 + tr G / (N eps^2)))

so that a pull can be beyond doubt while its cosine is small. Theorem 1 of Cloud, Le et al. (2025,
arXiv 2507.14805, section 6.1) speaks of the expectation alone.

More steps on the same tokens are another matter (`fixed_samples`).

Set-up: tanh 12-16-20, a softmax over 20 tokens in 64 contexts, 548 parameters, float64: ``G``, KL
and expectations are exact sums. 1,000 repeats for each ``N``. About 20 seconds.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from sampling import Geometry, geometry, sampled

from sublim_jax import linearize, losses, plots, predict, rng

CLAIM = "N sampled tokens pull with sqrt(2 N KL) standard deviations of their own noise."
REPEATS = 1_000
SAMPLES, SIGNIFICANCES = (256, 4_096, 16_384), (0.5, 1.0, 2.0, 3.0)
JUDGED = SAMPLES[1:]  # for 256 tokens and z = 3 the teacher is .19 away, hardly first order
NOISE_SAMPLES = tuple(2**k for k in range(6, 15, 2))


class Draws(NamedTuple):
    """Steps on sampled tokens for one ``N`` and ``eps``.

    Attributes:
        along: their products with ``D``.
        trait: with ``u``.
        cosine: with ``D``.
        noise: squared distance to the expected step.
    """

    along: Float[np.ndarray, " repeats"]
    trait: Float[np.ndarray, " repeats"]
    cosine: Float[np.ndarray, " repeats"]
    noise: Float[np.ndarray, " repeats"]


def sampler(at: Geometry, samples: int) -> Callable[[Key[Array, ""], float, int], Draws]:
    """Make the function of a key, ``eps`` and repeats that takes a step on ``samples`` tokens."""

    @jax.jit
    def repeat(keys: Array, eps: Array) -> tuple[Array, ...]:
        log_p = at.log_probabilities(eps)
        expected = jnp.einsum("xy,xyi->i", jnp.exp(log_p) / len(log_p), at.score)

        def one(key: Array) -> tuple[Array, ...]:
            step = jnp.einsum("xy,xyi->i", sampled(key, log_p, samples), at.score)
            lengths = jnp.linalg.norm(step) * jnp.linalg.norm(at.way)
            along = step @ at.way
            return along, step @ at.trait, along / lengths, jnp.sum((step - expected) ** 2)

        return jax.lax.map(one, keys)

    def draw(key: Array, eps: float, repeats: int) -> Draws:
        return Draws(*map(np.asarray, repeat(jax.random.split(key, repeats), jnp.asarray(eps))))

    return draw


def identities(at: Geometry, eps: float = 0.1) -> list[claims.Finding]:
    """Check that sampled labels, KL and Fisher information fit together, by exact sums."""
    given, (start, unravel) = at.given, ravel_pytree(at.given.init)
    log_p = at.log_probabilities(eps)
    expected = jnp.einsum("xy,xyi->i", jnp.exp(log_p) / len(log_p), at.score)
    descent = -jax.grad(lambda flat: jnp.mean(losses.kl(given.logits(unravel(flat)), log_p)))(start)
    product = linearize.gauss_newton_product(
        given.net.apply, given.init, unravel(at.way), given.contexts, loss=losses.kl
    )
    step_gap = float(jnp.abs(expected - descent).max())
    fisher_gap = float(jnp.abs(ravel_pytree(product)[0] - at.fisher @ at.way).max())
    near, far = (float(at.divergence(e)) / (e**2 / 2) for e in (eps / 100, eps))
    return [
        claims.at_most("expected step - descent of KL, largest", step_gap, 1e-14),
        claims.at_most("Fisher - Gauss-Newton product, largest", fisher_gap, 1e-14),
        claims.between("KL over eps^2 / 2 at eps = .001", near, 0.99, 1.01),
        claims.reported("... at eps = .1", far),
    ]


def cosine_formula(at: Geometry, z: np.ndarray | float) -> np.ndarray:
    """Give the cosine of a step on sampled tokens with ``D``, at ``sqrt(N) eps = z``."""
    trace, pulled = float(jnp.trace(at.fisher)), float(jnp.linalg.norm(at.fisher @ at.way))
    z = np.asarray(z)
    # The inverse of sqrt(|G D|^2 + tr G / z^2), written so that z may be 0.
    return z / (float(jnp.linalg.norm(at.way)) * np.sqrt((z * pulled) ** 2 + trace))


def significance(along: np.ndarray) -> float:
    """Give the mean of repeats in standard deviations of one."""
    return float(along.mean() / along.std(ddof=1))


def judged(at: Geometry, samples: int, z: float, steps: Draws) -> list[claims.Finding]:
    """Judge significance, sign and cosine of steps on so many tokens."""
    divergence = float(at.divergence(z / math.sqrt(samples)))
    expected = predict.significance(samples, divergence)
    of_trait = predict.significance(samples, divergence, alignment=at.alignment)
    name, ratio = f"N = {samples:,}, z = {z:g}", significance(steps.along) / expected
    if samples not in JUDGED or z < 2:
        findings = [claims.reported(f"{name}: z over formula", ratio)]
    else:
        cosine = float(steps.cosine.mean() / cosine_formula(at, z))
        findings = [
            claims.between(f"{name}: z over formula", ratio, 0.9, 1.1),
            claims.between(f"{name}: cosine over formula", cosine, 0.9, 1.1),
        ]
    if samples == SAMPLES[-1]:
        share, chance = float(np.mean(steps.along > 0)), (1 + math.erf(expected / math.sqrt(2))) / 2
        gap = significance(steps.trait) - of_trait
        findings += [
            claims.reported(f"{name}: mean cosine", steps.cosine.mean()),
            claims.reported(f"{name}: share with <d_S, D> > 0", share),
            claims.between(f"{name}: ... less formula", share - chance, -0.04, 0.04),
            claims.between(f"{name}: trait's z less formula", gap, -0.12, 0.12),
        ]
    return findings


def check(seed: int) -> claims.Report:
    """Sample tokens and take steps."""
    with jax.enable_x64(True):
        at = geometry(seed)
        key, found, noise = rng.stream(at.given.key, "samples"), {}, []
        for samples in SAMPLES:
            take = sampler(at, samples)
            for z in SIGNIFICANCES:
                own = rng.stream(key, samples, int(10 * z))
                found[samples, z] = take(own, z / math.sqrt(samples), REPEATS)
        for samples in NOISE_SAMPLES:
            steps = sampler(at, samples)(rng.stream(key, "noise", samples), 0.01, 200)
            noise.append(math.sqrt(steps.noise.mean()))
        findings = identities(at)
        findings.append(claims.reported("rho_G(u, D) of the trait", at.alignment))
        for (samples, z), steps in found.items():
            findings += judged(at, samples, z, steps)
        formula = np.sqrt(float(jnp.trace(at.fisher)) / np.array(NOISE_SAMPLES))
        span = np.linspace(0, 3.2, 50)
        cosines = cosine_formula(at, span)
    order = claims.slope(NOISE_SAMPLES, np.array(noise))
    ratio = farthest(np.array(noise) / formula)
    findings += [
        claims.between("noise of a step: order in N", order, -0.53, -0.47),
        claims.between("noise of a step over formula, farthest", ratio, 0.95, 1.05),
    ]
    data = {
        "sqrt(N) eps": SIGNIFICANCES,
        "z": {n: [significance(found[n, z].along) for z in SIGNIFICANCES] for n in SAMPLES},
        "cosine": {n: [found[n, z].cosine.mean() for z in SIGNIFICANCES] for n in SAMPLES},
        "cosine, formula": (span, cosines),
        "samples": NOISE_SAMPLES,
        "noise": noise,
        "noise, formula": formula,
    }
    return claims.Report(findings, draw(data), data)


def farthest(ratios: np.ndarray) -> float:
    """Give the ratio that is farthest from 1."""
    return float(ratios[np.argmax(np.abs(np.log(ratios)))])


def draw(data: dict) -> Figure:
    """Draw significance against its formula, the cosine that goes with it, and the noise."""
    figure, (left, middle, right) = plots.panels(
        3, title="One step on tokens that a teacher sampled"
    )
    colors = plots.colors(3)
    for samples, color, marker in zip(SAMPLES, colors, "os^", strict=True):
        name = f"{samples:,} tokens"
        for axis, what in ((left, "z"), (middle, "cosine")):
            axis.plot(SIGNIFICANCES, data[what][samples], marker, color=color, label=name)
    span, cosines = data["cosine, formula"]
    left.plot(span, span, ls=":", color="black", label="formula")
    middle.plot(span, cosines, ls=":", color="black", label="formula")
    left.set_ylabel(f"mean / sd of <d_S, D>, {REPEATS:,} repeats")
    middle.set_ylabel("mean cosine of d_S with D")
    for axis in (left, middle):
        axis.set_xlabel("sqrt(N) eps = sqrt(2 N KL)")
    right.loglog(NOISE_SAMPLES, data["noise"], "o", color=colors[0], label="measured")
    right.loglog(NOISE_SAMPLES, data["noise, formula"], ls=":", color="black", label="formula")
    right.set(xlabel="N: tokens", ylabel="noise of a step, root mean square")
    for axis in (left, middle, right):
        axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
