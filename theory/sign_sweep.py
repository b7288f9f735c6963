"""One step of imitation never points away from the teacher, and lowers the teacher's own loss.

Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1). For a teacher one step of
gradient descent away, ``theta_0 + eps d_T`` with ``d_T = -grad L_T``, and a student's step ``d_S``
on any inputs and any smooth imitation loss,

    <d_S, d_T> = eps <d_T, G d_T> + O(eps^2) > 0   and   L_T(theta_0 + alpha d_S) < L_T(theta_0)

unless the imitated outputs do not see ``d_T`` (`null_space`). Each of 100 draws has its own
initialisation (tanh 64-32-32-13), its own 200 digits and naming of the classes for the teacher, and
its own 200 inputs for the student: noise of a scale from .2 to 2 in even draws, other digits in odd
ones. The signs are counted over seven decades of ``eps``, in float64 and in float32.

Absolute error is not smooth, yet keeps the sign: its step does not shrink with the teacher's, and
``<d_S, d_T>`` tends to ``E mean|J d_T|``.

In float32 the product can be had for small steps, the fall of the loss cannot: the difference of
two losses is lost in their rounding. ``<grad L_T, d_S> = -<d_T, d_S>`` says it instead.
About 20 seconds.
"""

from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree
from matplotlib.figure import Figure
from setups import TAUGHT, digits, moved

from sublim_jax import losses, plots, rng, trees
from sublim_jax.nets import MLPConfig, mlp

CLAIM = (
    "A step of imitation has a positive product with the teacher's and lowers the teacher's loss."
)
SHAPE = MLPConfig(inputs=64, hidden=(32, 32), activation="tanh")
DRAWS, ROWS, RATE = 100, 200, 0.5
EPSILONS = 10.0 ** -np.arange(1, 8)


def absolute_error(logits: Array, teacher_logits: Array) -> Array:
    """Mean over the logits of the absolute difference."""
    return jnp.mean(jnp.abs(logits - teacher_logits), axis=-1)


SMOOTH: dict[str, tuple[losses.ImitationLoss, slice]] = {
    "squared error, auxiliary": (losses.mse, SHAPE.auxiliary_logits),
    "KL, auxiliary": (losses.kl, SHAPE.auxiliary_logits),
    "KL, all logits": (losses.kl, slice(None)),
}


class Draw(NamedTuple):
    """A teacher's task, where both start, and what the student sees."""

    init: PyTree
    images: Float[Array, "rows 64"]
    classes: Int[Array, " rows"]
    inputs: Float[Array, "rows 64"]

    def trait_loss(self, params: PyTree) -> Float[Array, ""]:
        """Mean cross-entropy of the class logits, in nats."""
        logits = mlp(SHAPE).apply(params, self.images)[..., SHAPE.class_logits]
        return jnp.mean(losses.cross_entropy(logits, self.classes))


class Signs(NamedTuple):
    """What is measured for each draw and eps, both before and after a student's step.

    Attributes:
        product: ``<d_S, d_T>``.
        cosine: of the two steps.
        change: of the teacher's loss, in nats.
    """

    product: Float[np.ndarray, "draws eps"]
    cosine: Float[np.ndarray, "draws eps"]
    change: Float[np.ndarray, "draws eps"]


def drawn(key: Key[Array, ""], index: Int[Array, ""]) -> Draw:
    """Draw one case, in float64; the index decides on the kind of inputs."""
    images, classes = (jnp.asarray(part) for part in digits().train)
    rows = jax.random.permutation(rng.stream(key, "rows"), TAUGHT)
    names = jax.random.permutation(rng.stream(key, "names"), SHAPE.classes)
    scale = 10.0 ** jax.random.uniform(rng.stream(key, "scale"), (), float, np.log10(0.2), 0.3)
    noise = scale * jax.random.uniform(rng.stream(key, "noise"), (ROWS, 64), float, -1, 1)
    init = jax.tree.map(lambda a: a.astype(float), mlp(SHAPE).init(rng.stream(key, "init")))
    taught, others = rows[:ROWS], rows[ROWS : 2 * ROWS]
    inputs = jnp.where(index % 2 == 0, noise, images[others])
    return Draw(init, images[taught], names[classes[taught]], inputs)


def narrow(tree: PyTree) -> PyTree:
    """Round what is float64 to float32."""
    return jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, tree)


def signs(
    case: Draw, teacher_step: PyTree, loss: losses.ImitationLoss, outputs: slice
) -> tuple[Array, Array, Array]:
    """Take a student's step from each teacher, in the precision of the case; arrays ``[eps]``."""

    def seen(params: PyTree) -> Array:
        return mlp(SHAPE).apply(params, case.inputs)[..., outputs]

    def at(eps: Array) -> tuple[Array, Array, Array]:
        targets = seen(moved(case.init, eps, teacher_step))
        gradient = jax.grad(lambda p: jnp.mean(loss(seen(p), targets)))(case.init)
        step = jax.tree.map(jnp.negative, gradient)
        after = case.trait_loss(moved(case.init, RATE, step))
        change = after - case.trait_loss(case.init)
        return trees.dot(step, teacher_step), trees.cosine(step, teacher_step), change

    return jax.vmap(at)(jnp.asarray(EPSILONS, case.inputs.dtype))


def sweep(seed: int) -> tuple[dict[str, dict[str, Signs]], Signs, np.ndarray]:
    """Measure every draw.

    Returns:
        Signs for each precision and smooth loss; signs for absolute error in float64; and
        ``E mean|J d_T|`` for each draw.
    """

    @jax.jit
    def one(index: Array) -> tuple[PyTree, PyTree, Array]:
        case = drawn(rng.stream(jax.random.key(seed), "draw", index), index)
        step = jax.tree.map(jnp.negative, jax.grad(case.trait_loss)(case.init))
        smooth = {
            name: {
                "float64": signs(case, step, *loss),
                "float32": signs(narrow(case), narrow(step), *loss),
            }
            for name, loss in SMOOTH.items()
        }
        outputs = SHAPE.auxiliary_logits
        visible = jax.jvp(
            lambda p: mlp(SHAPE).apply(p, case.inputs)[..., outputs], (case.init,), (step,)
        )[1]
        rough = signs(case, step, absolute_error, outputs)
        return smooth, rough, jnp.mean(jnp.abs(visible))

    smooth, rough, limit = jax.lax.map(one, jnp.arange(DRAWS))
    by_precision = {
        wide: {name: Signs(*map(np.asarray, found[wide])) for name, found in smooth.items()}
        for wide in ("float64", "float32")
    }
    return by_precision, Signs(*map(np.asarray, rough)), np.asarray(limit)


def share(right: np.ndarray) -> float:
    """Give the share of True."""
    return float(np.mean(right))


def check(seed: int) -> claims.Report:
    """Count the signs."""
    with jax.enable_x64(True):
        found, rough, limit = sweep(seed)
    findings = []
    for name, of in found["float64"].items():
        findings += [
            claims.at_least(f"{name}: share with <d_S, d_T> > 0", share(of.product > 0), 1),
            claims.at_least(f"{name}: share in which L_T falls", share(of.change < 0), 1),
            claims.reported(f"{name}: smallest cosine", float(of.cosine.min())),
            claims.reported(f"{name}: median cosine at 1e-3", float(np.median(of.cosine[:, 2]))),
        ]
    gap = np.abs(rough.product[:, 2] / limit - 1)
    findings += [
        claims.at_least("absolute error: share with <d_S, d_T> > 0", share(rough.product > 0), 1),
        claims.at_most("absolute error: distance from E|J d_T| at 1e-3", gap.max(), 1e-3),
    ]
    for name, of in found["float32"].items():
        known, fell = of.product[:, :4] > 0, of.change < 0
        findings += [
            claims.at_least(f"float32, {name}: share with > 0, eps >= 1e-4", share(known), 1),
            claims.reported(f"float32, {name}: ... at 1e-7", share(of.product[:, 6] > 0)),
            claims.reported(f"float32, {name}: share in which L_T falls, 1e-5", share(fell[:, 4])),
            claims.at_most(f"float32, {name}: ... at 1e-6", share(fell[:, 5]), 0.9),
        ]
    data = {
        "eps": EPSILONS,
        "cosines at 1e-3": {name: of.cosine[:, 2] for name, of in found["float64"].items()},
        "float32": {
            name: {"product": (of.product > 0).mean(0), "loss": (of.change < 0).mean(0)}
            for name, of in found["float32"].items()
        },
    }
    return claims.Report(findings, draw(data), data)


def draw(data: dict) -> Figure:
    """Draw the cosines in float64, and what is left of the signs in float32."""
    figure, (left, right) = plots.panels(2, title="Signs of one step of imitation, 100 draws")
    for (name, cosines), color in zip(
        data["cosines at 1e-3"].items(), plots.colors(3), strict=True
    ):
        left.plot(np.sort(cosines), np.arange(1, DRAWS + 1) / DRAWS, color=color, label=name)
        shares = data["float32"][name]
        right.semilogx(EPSILONS, shares["product"], color=color, marker="o", ms=4)
        right.semilogx(EPSILONS, shares["loss"], color=color, marker="s", ms=4, ls="--")
    left.axvline(0, color="black", lw=1)
    left.set(xlabel="cosine of the two steps, float64, eps = 1e-3", ylabel="share of draws below")
    left.legend(fontsize=8)
    right.plot([], [], color="black", marker="o", ms=4, label="<d_S, d_T> > 0")
    right.plot([], [], color="black", marker="s", ms=4, ls="--", label="difference of losses < 0")
    right.set(xlabel="eps: learning rate of the teacher's step", ylabel="share of draws, float32")
    right.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
