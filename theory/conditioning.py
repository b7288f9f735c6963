"""What filtering and shuffling of a teacher's data leave of its pull.

A student at the initialisation learns tokens of a teacher at ``theta_0 + eps D`` that somebody has
processed. Its expected step, less that of a control whose tokens are the initialisation's own,
processed in the same way, is ``eps`` times a linear map of ``D``. With ``v = J D``, ``p`` the
probabilities at the initialisation, ``H = diag(p) - p p'`` and means ``E`` over contexts:

- Filter, token ``y`` kept with probability ``w(x, y)``: ``E J' H_w v``, with ``H_w`` of the tokens
  that are kept. Its product with ``D``, their variance of ``v``, is never negative. Without the
  control the filter's bias has any sign: of two opposite teachers one has it negative.
- A filter that knows ``v`` is another matter: keeping tokens by ``exp(-k eps s)`` leaves a part
  ``1 - k c`` of the pull, with ``c = E <s, H v> / E <v, H v>`` the part of ``v`` in ``s``. That is
  against a control without filter. A control under the same filter takes the filter's work for
  bias, and finds all of the pull whatever ``k`` is.
- Shuffle, contexts get each other's tokens: ``E J' E[H v]``, product ``<E v, E H v>``. A shuffled
  student keeps part of the pull and is no control of zero signal. That it never points away is true
  of squared error, with ``|E v|^2`` of ``E |v|^2``, and false of tokens: the form has negative
  eigenvalues, though 300 random teachers do not find them.

Set-up: 20 tokens in 64 contexts ("D"), exact sums; ``E <v, H v> = 1``, so that 1 is all of the
pull. Sampling noise is the matter of `sampled_snr`, channels of `paraphrase`. About 20 seconds.
"""

from collections.abc import Callable, Mapping
from typing import Any

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
from setups import Tokens, moved, relative_error, token_teacher, tokens

from sublim_jax import linearize, plots, rng, trees

CLAIM = "Filtered and shuffled tokens leave a known part of the pull; a filter's sign is sure."
EPSILONS = np.logspace(-2, -4, 5)
EPS = 1e-3
DRAWS = 300
# Of filters that know v: their strength k, and the part c of v in their score.
AWARE = ((0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 0.5), (1.0, 0.0))

Process = Callable[[Float[Array, "contexts tokens"]], Float[Array, "contexts tokens"]]


def covariance(p: Array, v: Array) -> Array:
    """Multiply with ``diag(p) - p p'``, context by context."""
    return p * (v - jnp.sum(p * v, axis=-1, keepdims=True))


def kept(p: Array, weights: Array) -> Array:
    """Give the distribution of the tokens that a filter keeps."""
    return p * weights / jnp.sum(p * weights, axis=-1, keepdims=True)


def shuffled(values: Array) -> Array:
    """Give every context the mean over contexts."""
    return jnp.broadcast_to(jnp.mean(values, axis=0), values.shape)


def product(a: Array, b: Array) -> Float[Array, ""]:
    """Mean over contexts of the product: of a change of targets with ``v``, the pull."""
    return jnp.mean(jnp.sum(a * b, axis=-1))


def probabilities(given: Tokens, by: float | Array, teacher: PyTree) -> Array:
    """Give the tokens' probabilities at ``init + by * teacher``."""
    return jnp.exp(given.log_probabilities(moved(given.init, by, teacher)))


def seen_by(given: Tokens, teacher: PyTree) -> Float[Array, "contexts tokens"]:
    """Give ``v = J D``."""
    return jax.jvp(given.logits, (given.init,), (teacher,))[1]


def orders(
    given: Tokens, teacher: PyTree, processes: Mapping[str, tuple[Process, Array]]
) -> dict[str, dict[str, np.ndarray]]:
    """Measure the error of the first order, and the raw pulls of two opposite teachers.

    Args:
        given: the problem.
        teacher: ``D``.
        processes: of the targets, each with the first order of its contrast in them.

    Returns:
        For each ``error [eps]`` relative, and ``raw [eps, 2]``.
    """

    def measure(process: Process, first: Array) -> dict[str, Array]:
        expected = linearize.transposed_product(given.net.apply, given.init, first, given.contexts)

        def step(by: Array | float) -> PyTree:
            return given.step(given.init, process(probabilities(given, by, teacher)))

        def at(eps: Array) -> dict[str, Array]:
            forth, control, back = step(eps), step(0.0), step(-eps)
            contrast = jax.tree.map(lambda s, b: (s - b) / eps, forth, control)
            raw = trees.dot(forth, teacher) / eps, -trees.dot(back, teacher) / eps
            return {"error": relative_error(contrast, expected), "raw": jnp.stack(raw)}

        return jax.lax.map(at, jnp.asarray(EPSILONS))

    found = jax.jit(lambda: {name: measure(*each) for name, each in processes.items()})()
    return jax.tree.map(np.asarray, found)


def blind(given: Tokens, v: Array) -> dict[str, tuple[Process, Array]]:
    """Give a shuffle, and filters that do not know the teacher, each with its first order."""
    p = jnp.exp(given.log_probabilities(given.init))
    half = jax.random.permutation(rng.stream(given.key, "half"), p.shape[1]) % 2
    weights = {
        "filter, half of the tokens": jnp.broadcast_to(half, p.shape),
        "filter, graded": jax.random.uniform(rng.stream(given.key, "graded"), p.shape, float),
        "filter, top 5 of the init": p >= jax.lax.top_k(p, 5)[0][:, -1:],
    }
    found: dict[str, tuple[Process, Array]] = {
        name: (lambda q, w=each: kept(q, w), covariance(kept(p, each), v))
        for name, each in weights.items()
    }
    return found | {"shuffle": (shuffled, shuffled(covariance(p, v)))}


def aware(given: Tokens, teacher: PyTree) -> Float[np.ndarray, "cases 2"]:
    """Give the pull under filters that know ``v``, against controls without and with the filter."""
    p, near = (probabilities(given, by, teacher) for by in (0.0, EPS))
    v = seen_by(given, teacher)
    other = jax.random.normal(rng.stream(given.key, "other"), v.shape, v.dtype)
    other -= v * product(other, covariance(p, v))
    other /= jnp.sqrt(product(other, covariance(p, other)))

    def pulls(strength: Array, part: Array) -> Array:
        score = part * v + jnp.sqrt(1 - part**2) * other
        weights = jnp.exp(-strength * EPS * score)
        filtered = kept(near, weights)
        return jnp.stack([product(filtered - c, v) for c in (p, kept(p, weights))]) / EPS

    return np.asarray(jax.jit(jax.vmap(pulls))(*jnp.asarray(AWARE).T))


def repeated(given: Tokens) -> dict[str, np.ndarray]:
    """Measure the pulls of many teachers, filtered by random halves of the tokens and shuffled."""
    p, logits = jnp.exp(given.log_probabilities(given.init)), given.logits(given.init)

    def one(draw: Array) -> dict[str, Array]:
        key = rng.stream(given.key, "draw", draw)
        teacher = token_teacher(given, key)
        v, near = seen_by(given, teacher), given.logits(moved(given.init, EPS, teacher))
        half = jax.random.permutation(rng.stream(key, "half"), p.shape[1]) % 2
        change, q = near - logits, jax.nn.softmax(near)
        return {
            "filter": product(kept(q, half) - kept(p, half), v) / EPS,
            "shuffle": product(shuffled(q - p), v) / EPS,
            "shuffle, formula": product(shuffled(covariance(p, v)), v),
            "shuffle, squared error": product(shuffled(change), v) / product(change, v),
            "shuffle, squared error, formula": product(shuffled(v), v) / product(v, v),
        }

    return jax.tree.map(np.asarray, jax.jit(lambda: jax.lax.map(one, jnp.arange(DRAWS)))())


def adversary(given: Tokens) -> float:
    """Find the teacher that shuffling turns away most for its length, and measure its pull."""
    start, unravel = ravel_pytree(given.init)
    p = jnp.exp(given.log_probabilities(given.init))

    def means(flat: Array) -> tuple[Array, Array]:
        logits = given.logits(unravel(flat))
        return jnp.mean(logits, axis=0), jnp.mean(covariance(p, logits), axis=0)

    @jax.jit
    def pull() -> Array:
        plain, weighted = jax.jacrev(means)(start)
        form = plain.T @ weighted
        direction = unravel(jnp.linalg.eigh(form + form.T)[1][:, 0])
        v = seen_by(given, direction)
        length = jnp.sqrt(product(v, covariance(p, v)))
        near = probabilities(given, EPS / length, direction)
        return product(shuffled(near - p), v / length) / EPS

    return float(pull())


def check(seed: int) -> claims.Report:
    """Measure filters and shuffles."""
    with jax.enable_x64(True):
        given = tokens(seed)
        teacher = jax.jit(lambda: token_teacher(given, rng.stream(given.key, "teacher")))()
        found = orders(given, teacher, blind(given, seen_by(given, teacher)))
        known, many, worst = aware(given, teacher), repeated(given), adversary(given)
    findings = []
    for name, of in found.items():
        order = claims.slope(EPSILONS, of["error"])
        findings.append(claims.between(f"{name}: order of the error", order, 0.9, 1.1))
        if name != "shuffle":
            raw = of["raw"][-1].min()
            findings.append(claims.at_most(f"{name}: smaller pull without control", raw, -1e-6))
    findings.append(claims.at_least("filter: smallest pull", many["filter"].min(), 0))
    for (strength, part), (plain, same) in zip(AWARE, known, strict=True):
        name, left = f"filter with k = {strength:g}, c = {part:g}", 1 - strength * part
        findings += [
            claims.between(f"{name}: pull", plain, left - 0.02, left + 0.02),
            claims.between(f"{name}: against same filter", same, 0.98, 1.02),
        ]
    for name in ("shuffle", "shuffle, squared error"):
        error = np.abs(many[name] / many[f"{name}, formula"] - 1).max()
        findings += [
            claims.at_most(f"{name}: largest relative error of the pull", error, 0.03),
            claims.reported(f"{name}: mean pull", many[name].mean()),
        ]
    findings += [
        claims.at_least(
            "shuffle, squared error: smallest pull", many["shuffle, squared error"].min(), 0
        ),
        claims.reported("shuffle: smallest pull of random teachers", many["shuffle"].min()),
        claims.at_most("shuffle: pull of the worst teacher", worst, -1e-6),
    ]
    data = {"eps": EPSILONS, "orders": found, "aware": known, "draws": many, "worst": worst}
    return claims.Report(findings, draw(data), data)


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw errors of the first order, filters that know ``v``, and what shuffling leaves."""
    figure, (left, middle, right) = plots.panels(3, title="Filtered and shuffled tokens")
    for (name, of), color in zip(data["orders"].items(), plots.colors(4), strict=True):
        left.loglog(EPSILONS, of["error"], marker="o", ms=3, color=color, label=name)
    left.loglog(EPSILONS, EPSILONS, ls=":", color="black", label="proportional to eps")
    left.set(xlabel="eps: sqrt(2 KL), KL in nats", ylabel="relative error of the first order")
    along = np.array([strength * part for strength, part in AWARE])
    blue, _, red = plots.colors(3)
    middle.plot(along, data["aware"][:, 0], "o", color=blue, label="against no filter")
    middle.plot(along, data["aware"][:, 1], "s", color=red, label="against the same filter")
    middle.plot([0, 2], [1, -1], ls=":", color="black", label="1 - k c")
    middle.set(xlabel="k c: the filter's strength along v", ylabel="pull (1: without processing)")
    for name, color in (("shuffle", blue), ("shuffle, squared error", red)):
        label = "tokens" if name == "shuffle" else "squared error"
        right.hist(data["draws"][name], bins=25, color=color, alpha=0.5, label=label)
    right.axvline(data["worst"], color=blue, ls="--", label="tokens, worst teacher")
    right.axvline(0, color="black", lw=1)
    right.set(xlabel="pull after shuffling (1: without)", ylabel=f"of {DRAWS} random teachers")
    right.set_ylim(top=1.4 * right.get_ylim()[1])
    for axis in (left, middle, right):
        axis.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
