"""Long training on the same sampled tokens moves further along the teacher's way and points worse.

The teacher at ``theta_0 + eps D`` has sampled ``N`` tokens once (`sampled_snr`). After ``k`` full
steps of gradient descent of rate ``a``, in the eigendirections of the Fisher information ``G`` and
while the softmax stays near its initialisation, a student has moved by

    (1 - (1 - a lambda)^k) (eps D_lambda + noise),     E noise^2 = 1 / (lambda N).

Directions with ``lambda N eps^2 D_lambda^2 < 1`` bring more noise than signal, and the slow ones
are among these: the product with ``D`` grows from step to step, while the cosine rises, turns and
falls. With the teacher's exact probabilities in place of tokens it rises to the end. Fewer steps
point better, and the projection alone does not tell. The formula fails late: the noise takes the
softmax away from its initialisation, and the way is longer than it says.

Set-up: tanh 12-16-20, a softmax over 20 tokens in 64 contexts, 548 parameters, float64; 20,000
tokens, ``eps = .1``, 1,000 steps at the inverse of the largest curvature, means over 30 trainings.
About 15 seconds.
"""

from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure
from sampling import Geometry, geometry, sampled
from setups import moved

from sublim_jax import plots, rng

CLAIM = "Long training on the same tokens moves further along the teacher's way and points worse."
TRAININGS, SAMPLES, EPS = 30, 20_000, 0.1
STEPS = np.unique(np.round(np.logspace(0, 3, 13)).astype(int))


class Course(NamedTuple):
    """A displacement after each of `STEPS`; means over trainings, or what the formula says.

    Attributes:
        along: product with ``D / |D|``.
        length: its squared length.
        cosine: with ``D``.
    """

    along: Float[np.ndarray, " steps"]
    length: Float[np.ndarray, " steps"]
    cosine: Float[np.ndarray, " steps"]


def rate_for(at: Geometry) -> float:
    """Give the inverse of the largest curvature."""
    return 1 / float(jnp.linalg.eigvalsh(at.fisher)[-1])


def train(at: Geometry, key: Key[Array, ""], samples: int | None) -> Course:
    """Train for long on as many tokens, drawn once, or on the teacher's exact probabilities."""
    start = ravel_pytree(at.given.init)[0]
    direction, rate = at.way / jnp.linalg.norm(at.way), rate_for(at)
    log_p = at.log_probabilities(EPS)

    def one(key: Array) -> tuple[Array, Array]:
        shares = jnp.exp(log_p)
        if samples is not None:
            shares = len(log_p) * sampled(key, log_p, samples)

        def step(_: int, params: PyTree) -> PyTree:
            return moved(params, rate, at.given.step(params, shares))

        def until(params: PyTree, steps: Array) -> tuple[PyTree, tuple[Array, Array]]:
            params = jax.lax.fori_loop(0, steps, step, params)
            way = ravel_pytree(params)[0] - start
            return params, (way @ direction, way @ way)

        return jax.lax.scan(until, at.given.init, jnp.asarray(np.diff(STEPS, prepend=0)))[1]

    keys = jax.random.split(key, TRAININGS if samples is not None else 1)
    along, length = map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
    cosine = np.mean(along / np.sqrt(length), axis=0)
    return Course(along.mean(axis=0), length.mean(axis=0), cosine)


def formula(at: Geometry) -> Course:
    """Give what the linear formula says of the same training."""
    values, vectors = np.linalg.eigh(np.asarray(at.fisher))
    seen = values > 1e-12 * values[-1]
    values, way = values[seen], np.asarray(at.way) @ vectors[:, seen]
    copied = 1 - (1 - rate_for(at) * values) ** STEPS[:, None]
    along = EPS * copied @ way**2 / float(jnp.linalg.norm(at.way))
    length = copied**2 @ ((EPS * way) ** 2 + 1 / (SAMPLES * values))
    return Course(along, length, along / np.sqrt(length))


def check(seed: int) -> claims.Report:
    """Train on sampled tokens, and compare with the formula."""
    with jax.enable_x64(True):
        at = geometry(seed)
        found = train(at, rng.stream(at.given.key, "training"), SAMPLES)
        exact = train(at, at.given.key, None)
        expected = formula(at)
    ten, last = int(np.searchsorted(STEPS, 10)), len(STEPS) - 1
    ratio, left = found.along / expected.along, found.cosine[-1] / found.cosine.max()
    findings = [
        claims.between("10 steps: move along D over formula", ratio[ten], 0.9, 1.1),
        claims.between(
            "10 steps: cosine over formula", found.cosine[ten] / expected.cosine[ten], 0.9, 1.1
        ),
        claims.at_least("least growth of the move along D", np.diff(found.along).min(), 0),
        claims.at_most("cosine after 1,000 steps over its maximum", left, 0.8),
        claims.at_least(
            "exact outputs: least growth of the cosine", np.diff(exact.cosine).min(), 0
        ),
        claims.reported("steps at the maximum of the cosine", STEPS[np.argmax(found.cosine)]),
        claims.reported("... by formula", STEPS[np.argmax(expected.cosine)]),
    ]
    for name, place in (("10 steps", ten), ("1,000 steps", last)):
        longer = found.length[place] / expected.length[place]
        findings += [
            claims.reported(f"{name}: move along D", found.along[place]),
            claims.reported(f"{name}: cosine", found.cosine[place]),
            claims.reported(f"{name}: ... by formula", expected.cosine[place]),
            claims.reported(f"{name}: ... with exact outputs", exact.cosine[place]),
            claims.reported(f"{name}: squared length over formula", longer),
        ]
    courses = {"sampled tokens": found, "exact outputs": exact, "formula, sampled tokens": expected}
    data = {name: course._asdict() for name, course in courses.items()}
    return claims.Report(findings, draw(courses), {"steps": STEPS, **data})


def draw(courses: dict[str, Course]) -> Figure:
    """Draw the move along ``D`` and the cosine against the steps."""
    figure, axes = plots.panels(2, title=f"Training on {SAMPLES:,} tokens, sampled once")
    colors = (*plots.colors(2), "black")
    for (name, course), color, style in zip(
        courses.items(), colors, ("-o", "-s", ":"), strict=True
    ):
        axes[0].semilogx(STEPS, course.along, style, ms=4, color=color, label=name)
        axes[1].semilogx(STEPS, course.cosine, style, ms=4, color=color, label=name)
    axes[0].set_ylabel("move along D / |D|, Euclidean length")
    axes[1].set_ylabel("cosine of the displacement with D")
    for axis in axes:
        axis.set_xlabel("steps of gradient descent")
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
