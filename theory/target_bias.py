"""Processed targets add a bias to a student's step; a control with the same processing removes it.

Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1) needs targets that are the
student's own outputs when teacher and student agree. Targets at another temperature, or cut to the
most likely tokens, are not: the step is ``d_S = b + eps K d_T + O(eps^2)`` with a bias ``b`` that
does not shrink with the teacher's move ``eps d_T``. So its product with ``d_T`` has any sign, that
of ``<b, d_T>`` for small ``eps``: of two opposite teachers one has it negative. The control is a
student of the initialisation itself, with the same processing. Its step is ``b``, and the contrast

    temperature tau:  d_S - b = eps / tau E J' H_tau J d_T + O(eps^2),   H_tau of softmax(f_0 / tau)
    top k:            d_S - b = eps E J' H_A J d_T + O(eps^2),           H_A of p_0 given the top k

has a positive product again, as both ``H`` are covariances. The second needs that the teacher's
top ``k`` are those of the initialisation. The first ``eps`` at which they differ follows from
``J d_T``, and so does the one at which a most likely token changes: below it hard labels carry
nothing, the contrast is exactly zero.

A student whose own softmax has the teacher's temperature has no bias.

Set-ups: a softmax over all 13 logits of tanh 64-32-32-13 on 64 noise inputs, with the digits as the
trait ("A"), and 20 tokens in 64 contexts with a random teacher ("D"). Half a minute.
"""

from collections.abc import Callable
from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
from setups import (
    Tokens,
    moved,
    one_step_teacher,
    problem,
    relative_error,
    token_teacher,
    tokens,
)

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = "Processed targets bias a student's step; less that of a control, theorem 1 holds again."
EPSILONS = np.logspace(-2, -5, 7)
KEPT = 5
CASES = ("temperature 2", "temperature 1/2", f"top {KEPT}")
TEMPERATURES = dict(zip(CASES, (2.0, 0.5), strict=False))


class Setting(NamedTuple):
    """A softmax, a teacher's direction ``d_T``, and what the logits see of it, ``J d_T``."""

    given: Tokens
    direction: PyTree
    seen: Float[Array, "contexts tokens"]


class Curves(NamedTuple):
    """A case, for each eps and the teachers ``+d_T`` and ``-d_T``.

    Attributes:
        eps: of the teachers.
        error: relative error of the first order of the contrast.
        raw: ``<d_S, d_T> / eps``.
        raw_cosine: of the step with the teacher's.
        contrast: ``<d_S - b, d_T> / eps``.
        contrast_cosine: of the contrast with the teacher's step.
        bias_cosine: of ``b`` with ``+d_T``, one number.
    """

    eps: Float[np.ndarray, " eps"]
    error: Float[np.ndarray, "eps 2"]
    raw: Float[np.ndarray, "eps 2"]
    raw_cosine: Float[np.ndarray, "eps 2"]
    contrast: Float[np.ndarray, "eps 2"]
    contrast_cosine: Float[np.ndarray, "eps 2"]
    bias_cosine: float


def settings(seed: int) -> dict[str, Setting]:
    """Make the two problems with their teachers."""
    small, digits = tokens(seed), problem(seed, rows=64)
    images = Tokens(digits.net, digits.init, digits.noise, digits.key)
    gradient = trees.sub(one_step_teacher(digits), digits.init)
    random = token_teacher(small, rng.stream(small.key, "teacher"))
    return {
        name: Setting(
            given,
            teacher,
            jax.jit(jax.jvp, static_argnums=0)(given.logits, (given.init,), (teacher,))[1],
        )
        for name, given, teacher in (("digits", images, gradient), ("tokens", small, random))
    }


def kept(logits: Float[Array, "contexts tokens"], count: int) -> Array:
    """Tell which tokens are among the most likely ones of their context."""
    return logits >= jax.lax.top_k(logits, count)[0][..., -1:]


def processed(case: str) -> Callable[[Array], Array]:
    """Give what turns a teacher's logits into targets."""
    if case in TEMPERATURES:
        return lambda logits: jax.nn.softmax(logits / TEMPERATURES[case])
    count = 1 if case == "argmax" else KEPT
    return lambda logits: jax.nn.softmax(jnp.where(kept(logits, count), logits, -jnp.inf))


def first_order(setting: Setting, case: str) -> PyTree:
    """Give ``K d_T``, the derivative of the contrast in eps."""
    p = processed(case)(setting.given.logits(setting.given.init))
    scale = TEMPERATURES.get(case, 1.0)
    centred = setting.seen - jnp.sum(p * setting.seen, axis=-1, keepdims=True)
    return linearize.transposed_product(
        setting.given.net.apply, setting.given.init, p * centred / scale, setting.given.contexts
    )


def first_change(setting: Setting, count: int) -> float:
    """Predict the first eps at which a token enters the most likely ones, to first order."""
    logits = setting.given.logits(setting.given.init)
    inside = kept(logits, count)
    gap = logits[:, :, None] - logits[:, None, :]
    closing = setting.seen[:, None, :] - setting.seen[:, :, None]
    pairs = inside[:, :, None] & ~inside[:, None, :] & (closing > 0)
    return float(jnp.min(jnp.where(pairs, gap / jnp.where(pairs, closing, 1), jnp.inf)))


def measure(setting: Setting, case: str, epsilons: np.ndarray) -> Curves:
    """Compare the steps of students of both teachers with that of their control."""
    given, target = setting.given, processed(case)

    @jax.jit
    def at_all(epsilons: Array) -> tuple[tuple[Array, ...], Array]:
        expected = first_order(setting, case)
        bias = given.step(given.init, target(given.logits(given.init)))

        def one(eps: Array, sign: Array) -> tuple[Array, ...]:
            direction = jax.tree.map(lambda d: sign * d, setting.direction)
            step = given.step(given.init, target(given.logits(moved(given.init, eps, direction))))
            contrast = jax.tree.map(lambda s, b: sign * (s - b) / eps, step, bias)
            return (
                relative_error(contrast, expected),
                trees.dot(step, direction) / eps,
                trees.cosine(step, direction),
                trees.dot(contrast, setting.direction),
                trees.cosine(contrast, setting.direction),
            )

        both = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
        return both(epsilons, jnp.array([1.0, -1.0])), trees.cosine(bias, setting.direction)

    curves, bias_cosine = at_all(jnp.asarray(epsilons))
    return Curves(epsilons, *map(np.asarray, curves), bias_cosine=float(bias_cosine))


def labels_change(setting: Setting, epsilons: tuple[float, float]) -> list[float]:
    """Give the length of the contrast of hard labels, of teachers and of the initialisation."""
    given, direction, target = setting.given, setting.direction, processed("argmax")

    def step(eps: Array) -> PyTree:
        return given.step(given.init, target(given.logits(moved(given.init, eps, direction))))

    # One program for the control and the teachers: from equal labels it gives equal bits.
    steps = jax.jit(lambda all_eps: jax.lax.map(step, all_eps))(jnp.asarray([0.0, *epsilons]))
    control = trees.take(steps, 0)
    return [float(trees.norm(trees.sub(trees.take(steps, i + 1), control))) for i in range(2)]


def own_temperature(setting: Setting, temperature: float = 2.0) -> float:
    """Give the length of the bias if the student's softmax has the teacher's temperature."""
    given = setting.given
    targets = given.logits(given.init) / temperature
    gradient = jax.grad(lambda p: jnp.mean(losses.kl(given.logits(p) / temperature, targets)))
    return float(trees.norm(jax.jit(gradient)(given.init)))


def judged(name: str, curves: Curves) -> list[claims.Finding]:
    """Ask of a case what the claim says."""
    bias = curves.bias_cosine * np.array([1, -1])
    order = claims.slope(curves.eps, curves.error.max(axis=1))
    return [
        claims.between(f"{name}: order of the contrast's error", order, 0.9, 1.1),
        claims.at_most(
            f"{name}: change of the raw cosine from the bias's",
            np.abs(curves.raw_cosine[-1] - bias).max(),
            1e-3,
        ),
        claims.at_most(f"{name}: smaller raw product / eps", curves.raw[-1].min(), -1e-6),
        claims.at_least(f"{name}: smallest contrast product / eps", curves.contrast.min(), 1e-6),
        claims.reported(f"{name}: cosine, raw", curves.raw_cosine[-1, 0]),
        claims.reported(f"{name}: cosine, contrast", curves.contrast_cosine[-1, 0]),
    ]


def check(seed: int) -> claims.Report:
    """Measure bias and contrast for all kinds of targets."""
    findings, found = [], {}
    with jax.enable_x64(True):
        for where, setting in settings(seed).items():
            flip, opposite = first_change(setting, 1), setting._replace(seen=-setting.seen)
            change = min(first_change(setting, KEPT), first_change(opposite, KEPT))
            for case in CASES:
                # Both teachers' top tokens are those of the initialisation up to the first change.
                below = 0.9 * change * np.logspace(0, -1, 7)
                epsilons = EPSILONS if case in TEMPERATURES else below
                found[f"{where}, {case}"] = measure(setting, case, epsilons)
            lengths = labels_change(setting, (0.9 * flip, 1.1 * flip))
            findings += [
                claims.reported(f"{where}: first change of a hard label, eps", flip),
                claims.between(f"{where}: hard labels, contrast at .9 of it", lengths[0], 0, 0),
                claims.at_least(f"{where}: hard labels, contrast at 1.1 of it", lengths[1], 1e-6),
                claims.at_most(
                    f"{where}: both at temperature 2, |b|", own_temperature(setting), 1e-15
                ),
            ]
    for name, curves in found.items():
        findings += judged(name, curves)
    data = {name: curves._asdict() for name, curves in found.items()}
    return claims.Report(findings, draw(found), data)


def draw(found: dict[str, Curves]) -> Figure:
    """Draw the error of the first order, and the cosines of two opposite teachers."""
    figure, (left, right) = plots.panels(2, title="Processed targets: step and contrast to control")
    for (name, curves), color in zip(found.items(), plots.colors(len(found)), strict=True):
        left.loglog(curves.eps, curves.error[:, 0], marker="o", ms=3, color=color, label=name)
    left.loglog(EPSILONS, EPSILONS, ls=":", color="black", label="proportional to eps")
    left.set(ylabel="relative error of the contrast's first order")
    shown = found["digits, temperature 2"]
    blue, _, red = plots.colors(3)
    for values, what, color in (
        (shown.raw_cosine, "step", red),
        (shown.contrast_cosine, "contrast", blue),
    ):
        for side, dashes, size in ((0, "-", 4), (1, "--", 9)):
            look = {"color": color, "ls": dashes, "ms": size, "marker": "o", "mfc": "none"}
            label = f"{what}, teacher {'+-'[side]}d_T"
            right.semilogx(shown.eps, values[:, side], label=label, **look)
    right.axhline(0, color="black", lw=1)
    right.set(ylabel="cosine with d_T; digits, temperature 2", ylim=(-0.35, 0.95))
    for axis in (left, right):
        axis.set_xlabel("eps: size of the teacher's move")
    left.legend(fontsize=7)
    right.legend(fontsize=7, ncols=2, loc="upper center")
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
