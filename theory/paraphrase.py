"""A paraphrase of the teacher's data may keep all information on the teacher and turn its pull.

Another model that rewrites each token is a channel ``K(y, y')``: it makes ``y'`` of ``y``. Students
of the paraphrase of a teacher at ``theta_0 + eps D``, less a control on the paraphrase of the
initialisation, are pulled by

    <d_S - b, D> = eps E <v, K' H v> + O(eps^2),      v = J D,  H = diag(p) - p p'

which has any sign: only without a channel it is a variance. The information that the tokens carry
on the teacher, their divergence from the control's, obeys other laws.

- A channel cannot raise it (data processing), nor can giving contexts each other's tokens (joint
  convexity of the divergence).
- A relabelling leaves it as it is, and takes the pull's sign: who reads the tokens can tell teacher
  from control as soon as before, yet the student is pulled anywhere. So ``sqrt(2 N KL)`` says how
  soon a teacher shows in ``N`` tokens, and bounds nothing from below for a student.
- A filter is no channel: ``P(kept) KL(kept) <= KL`` for each token that the teacher draws, but for
  each token that is kept the divergence may rise.

Set-up: 20 tokens in 64 contexts ("D"), exact sums; pulls at ``eps = 1e-3`` in units of that without
a channel, divergences at ``eps = .3``, where they are .044 nats. 300 draws of teacher and channel.
About 15 seconds.
"""

from collections.abc import Mapping
from typing import Any

import claims
import jax
import jax.numpy as jnp
import numpy as np
from conditioning import (
    EPS,
    EPSILONS,
    covariance,
    kept,
    orders,
    probabilities,
    product,
    seen_by,
)
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from setups import Tokens, token_teacher, tokens

from sublim_jax import plots, rng

CLAIM = "A paraphrase never adds information on the teacher, and may turn its pull around."
FAR = 0.3
DRAWS = 300
CHANNELS = ("30 % random", "random", "relabelling", "constant")


def channel(key: Key[Array, ""], kind: str, count: int = 20) -> Float[Array, "tokens tokens"]:
    """Draw what a paraphrase makes of each token: rows that add up to 1.

    A random row is the softmax of normal logits of scale 3, which puts most on two or three tokens.
    """
    random = jax.nn.softmax(3 * jax.random.normal(key, (count, count), float))
    if kind == "relabelling":
        return jnp.eye(count)[jax.random.permutation(key, count)]
    if kind == "constant":
        return jnp.broadcast_to(random[0], random.shape)
    return 0.7 * jnp.eye(count) + 0.3 * random if kind == "30 % random" else random


def divergence(q: Array, p: Array) -> Float[Array, "..."]:
    """Kullback-Leibler divergence of ``p`` from ``q`` in nats; both may be zero in one place."""
    ratio = jnp.where(q > 0, q, 1) / jnp.where(q > 0, p, 1)
    # With p - q, which adds up to zero, no term is negative, and less is lost to rounding.
    return jnp.sum(q * jnp.log(ratio) + p - q, axis=-1)


def first_orders(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Measure the error of the first order of the contrast."""
    given = tokens(seed)
    teacher = jax.jit(lambda: token_teacher(given, rng.stream(given.key, "teacher")))()
    p, v = jnp.exp(given.log_probabilities(given.init)), seen_by(given, teacher)
    drawn = {kind: channel(rng.stream(given.key, kind), kind) for kind in CHANNELS[:3]}
    return orders(
        given,
        teacher,
        {kind: (lambda q, k=k: q @ k, covariance(p, v) @ k) for kind, k in drawn.items()},
    )


def repeated(given: Tokens) -> dict[str, np.ndarray]:
    """Measure pulls at `EPS` and divergences at `FAR`, for many teachers."""
    p = jnp.exp(given.log_probabilities(given.init))

    def one(draw: Array) -> dict[str, Array]:
        key = rng.stream(given.key, "draw", draw)
        teacher = token_teacher(given, key)
        v = seen_by(given, teacher)
        near, far = (probabilities(given, by, teacher) for by in (EPS, FAR))
        before = divergence(far, p)
        half = jax.random.permutation(rng.stream(key, "half"), p.shape[1]) % 2
        selected = divergence(kept(far, half), kept(p, half))
        share = far @ half
        pooled = divergence(jnp.mean(far, axis=0), jnp.mean(p, axis=0))
        found = {
            "before": jnp.mean(before),
            "filter, excess": jnp.max(share * selected - before),
            "filter, drawn": jnp.mean(share * selected) / jnp.mean(before),
            "filter, kept": jnp.mean(share * selected) / jnp.mean(share) / jnp.mean(before),
            "shuffle, excess": pooled - jnp.mean(before),
            "shuffle": pooled / jnp.mean(before),
        }
        for kind in CHANNELS:
            matrix = channel(rng.stream(key, kind), kind)
            after = divergence(far @ matrix, p @ matrix)
            found[f"{kind}, pull"] = product((near - p) @ matrix, v) / EPS
            found[f"{kind}, excess"] = jnp.max(after - before)
            found[kind] = jnp.mean(after) / jnp.mean(before)
        return found

    return jax.tree.map(np.asarray, jax.jit(lambda: jax.lax.map(one, jnp.arange(DRAWS)))())


def check(seed: int) -> claims.Report:
    """Measure what channels, shuffles and filters do to pull and information."""
    with jax.enable_x64(True):
        found, many = first_orders(seed), repeated(tokens(seed))
    findings = [
        claims.between(f"{kind}: order of the error", claims.slope(EPSILONS, of["error"]), 0.9, 1.1)
        for kind, of in found.items()
    ]
    findings.append(claims.reported("mean KL of the tokens, nats", many["before"].mean()))
    for name in (*CHANNELS, "shuffle", "filter"):
        what = "P(kept) KL" if name == "filter" else "KL"
        excess = many[f"{name}, excess"].max()
        findings.append(claims.at_most(f"{name}: largest excess of {what}, nats", excess, 1e-15))
    negative = {kind: float(np.mean(many[f"{kind}, pull"] < 0)) for kind in CHANNELS}
    findings += [
        claims.reported(f"{name}: mean KL after / before", many[name].mean())
        for name in (*CHANNELS[:3], "shuffle")
    ]
    relabelled = np.abs(many["relabelling"] - 1).max()
    nothing = np.abs(many["constant, pull"]).max()
    richer = float(np.mean(many["filter, kept"] > 1))
    findings += [
        claims.at_most("30 % random: share of pulls < 0", negative["30 % random"], 0),
        claims.at_least("random: share of pulls < 0", negative["random"], 0.1),
        claims.at_least("relabelling: share of pulls < 0", negative["relabelling"], 0.1),
        claims.at_most("relabelling: |KL after / before - 1|", relabelled, 1e-10),
        claims.at_most("constant: |pull|", nothing, 1e-10),
        claims.at_least("filter: share with more KL a token", richer, 0.01),
    ]
    return claims.Report(findings, draw(many), {"orders": found, "draws": many})


def draw(many: Mapping[str, Any]) -> Figure:
    """Draw pull against information for channels, and information for filters and shuffles."""
    figure, (left, right) = plots.panels(2, title="Processed tokens: pull and information")
    for kind, color in zip(CHANNELS, plots.colors(4), strict=True):
        pull = many[f"{kind}, pull"]
        left.plot(many[kind], pull, ".", ms=4, alpha=0.6, color=color, label=kind)
    left.axhline(0, color="black", lw=1)
    left.set(xlabel="KL after / KL before", ylabel="pull (1: without a channel)")
    left.legend(fontsize=8, title=f"{DRAWS} channels of a kind")
    rows = np.arange(1, DRAWS + 1) / DRAWS
    names = ("filter, kept", "filter, drawn", "shuffle")
    labels = ("filter, a token kept", "filter, a token drawn", "shuffle, a token")
    for name, label, color in zip(names, labels, plots.colors(3), strict=True):
        right.plot(np.sort(many[name]), rows, color=color, label=label)
    right.axvline(1, color="black", lw=1)
    right.set(xlabel="KL after / KL before", ylabel=f"share of {DRAWS} teachers below")
    right.set_ylim(-0.02, 1.35)
    right.legend(fontsize=8, loc="upper left")
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
