"""A teacher whose move the imitated outputs do not see pulls nothing, and the theorem stops there.

Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1) leaves one case out:
``<d_T, G d_T> = 0``, that is ``H^(1/2) J d_T = 0`` on every input. The student's step lies in the
span of ``J' H^(1/2)``, so that ``<d_S, d_T> = 0`` for every ``eps``, not only to first order. Five
ways to get there, tanh 64-32-32-13 and 200 noise inputs if not said otherwise:

- the teacher moves its class head, the student imitates the auxiliary logits;
- it moves units of a ReLU layer that are off on all of the student's inputs;
- it shifts all imitated logits alike, and the loss is a softmax's, also with one logit alone;
- it moves where 200 inputs times 3 logits put no constraint: its gradient less its part in the span
  of ``J'`` (squared error) or ``J' H^(1/2)`` (KL), of 600 and 400 dimensions in 3,565.

In the last one the step is of order ``eps^2``, by the curvature of the network. The teacher's own
loss has no first-order change, and moves by ``alpha^2 / 2 <s, L_T'' s>`` with ``s`` the step: of
order ``eps^4``, up or down as its curvature says, so "does not rise" is no theorem here. Both signs
are shown, with losses of curvature +1 and -1 in what is visible. Any other trait moves at order
``eps^2``, up or down. Half a minute.
"""

from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree
from matplotlib.figure import Figure
from setups import (
    Problem,
    imitation_gradient,
    moved,
    one_step_teacher,
    problem,
    random_direction,
)

from sublim_jax import losses, plots, rng, trees

CLAIM = "A teacher's move that the imitated outputs do not see leaves no pull, and no sign either."
EPSILONS = np.logspace(-1, -3, 7)
RATE = 0.5
OTHERS = 40


class Steps(NamedTuple):
    """A student's step for each eps.

    Attributes:
        tree: the steps, stacked.
        product: ``<d_S, d_T>``.
        cosine: of the two; NaN where the step is zero.
        length: of the step.
    """

    tree: PyTree[Float[Array, "eps ..."]]
    product: Float[np.ndarray, " eps"]
    cosine: Float[np.ndarray, " eps"]
    length: Float[np.ndarray, " eps"]


def take_steps(given: Problem, direction: PyTree, loss: losses.ImitationLoss) -> Steps:
    """Imitate the auxiliary logits of teachers at ``theta_0 + eps direction``, one step each."""

    @jax.jit
    @jax.vmap
    def at(eps: Array) -> tuple[PyTree, Array, Array, Array]:
        step = imitation_gradient(given, given.init, moved(given.init, eps, direction), loss=loss)
        product, cosine = trees.dot(step, direction), trees.cosine(step, direction)
        return step, product, cosine, trees.norm(step)

    tree, *numbers = at(jnp.asarray(EPSILONS))
    return Steps(tree, *map(np.asarray, numbers))


def visible_span(
    given: Problem, loss: losses.ImitationLoss
) -> tuple[Float[Array, "n rank"], Float[Array, ""]]:
    """Give an orthonormal basis of the steps that an imitation loss can take.

    It is the span of the gradients of all imitated logits, for the softmax of their differences.

    Returns:
        The basis, and the smallest singular value of these gradients over the largest.
    """
    start, unravel = ravel_pytree(given.init)

    def seen(parameters: Array) -> Array:
        logits = given.auxiliary(unravel(parameters), given.noise)
        return (logits[:, 1:] - logits[:, :1] if loss is losses.kl else logits).ravel()

    basis, triangle = jnp.linalg.qr(jax.jit(jax.jacrev(seen))(start).T)
    sizes = jnp.linalg.svd(triangle, compute_uv=False)
    return basis, sizes[-1] / sizes[0]


def hidden(direction: PyTree, basis: Float[Array, "n rank"]) -> PyTree:
    """Take from a direction what lies in the span of a basis, and scale it to length 1."""
    flat, unravel = ravel_pytree(direction)
    for _ in range(2):  # a second time, for what rounding left of the first
        flat = flat - basis @ (basis.T @ flat)
    return unravel(flat / jnp.linalg.norm(flat))


def exact_cases(seed: int) -> dict[str, Steps]:
    """Take steps after teachers whose outputs are those of the initialisation."""
    given, off = problem(seed), problem(seed, activation="relu")
    alone = problem(seed, auxiliary=1)
    drawn = random_direction(rng.stream(given.key, "teacher"), given.init)
    zero = jax.tree.map(jnp.zeros_like, given.init)
    head = zero["head_auxiliary"]
    shift = {**head, "bias": jnp.ones_like(head["bias"])}
    # Half of the units: their input is within the 64 weights' sum of sizes, far above -100.
    chosen = jnp.arange(32) < 16
    layer = {**off.init["hidden_0"], "bias": jnp.where(chosen, -100.0, 0.0)}
    off = off._replace(init={**off.init, "hidden_0": layer})
    dead = jax.tree.map(lambda a: a * chosen, drawn["hidden_0"])
    return {
        "class head": take_steps(
            given, {**zero, "head_classes": drawn["head_classes"]}, losses.mse
        ),
        "units that are off": take_steps(off, {**zero, "hidden_0": dead}, losses.mse),
        "shift of all logits, KL": take_steps(given, {**zero, "head_auxiliary": shift}, losses.kl),
        "one logit, KL": take_steps(
            alone, random_direction(rng.stream(given.key, "alone"), alone.init), losses.kl
        ),
    }


def changes(
    given: Problem, basis: Array, unseen: PyTree, steps: Steps
) -> dict[str, Float[np.ndarray, " eps"]]:
    """Give for each eps what a student's step does to losses, when its teacher is not seen.

    The teacher's own loss is ``-<d_T, d> + curvature / 2 |P d|^2`` with ``d`` the displacement and
    ``P`` the projection on what is seen; another trait is the digits.
    """

    @jax.jit
    @jax.vmap
    def at(step: PyTree) -> tuple[Array, Array]:
        # Of the displacement itself: as a difference of parameters it would be rounded.
        first = -RATE * trees.dot(unseen, step)
        second = jnp.sum(jnp.square(RATE * (ravel_pytree(step)[0] @ basis))) / 2
        other = given.trait_loss(moved(given.init, RATE, step)) - given.trait_loss(given.init)
        return jnp.stack([first + second, first - second]), other

    own, other = at(steps.tree)
    return {
        "another trait": np.asarray(other),
        "own loss, curvature +1": np.asarray(own[:, 0]),
        "own loss, curvature -1": np.asarray(own[:, 1]),
    }


def others(given: Problem, basis: Array, at: float = 1e-2) -> Float[np.ndarray, " draws"]:
    """Give the changes of traits that are not the invisible teacher's own.

    The teachers are random directions, the traits the digits under random names.
    """
    images, classes = (jnp.asarray(part) for part in given.digits.train)

    @jax.jit
    def one(draw: Int[Array, ""]) -> Array:
        key = rng.stream(given.key, "other", draw)
        direction = hidden(random_direction(key, given.init), basis)
        step = imitation_gradient(given, given.init, moved(given.init, at, direction))
        names = jax.random.permutation(rng.stream(key, "names"), given.shape.classes)

        def trait(params: PyTree) -> Array:
            logits = given.net.apply(params, images)[..., given.shape.class_logits]
            return jnp.mean(losses.cross_entropy(logits, names[classes]))

        return trait(moved(given.init, RATE, step)) - trait(given.init)

    return np.asarray(jax.lax.map(one, jnp.arange(OTHERS)))


def measure(seed: int) -> dict[str, Any]:
    """Measure all cases, in the precision that is enabled."""
    given = problem(seed)
    gradient = trees.sub(one_step_teacher(given), given.init)
    length = trees.norm(gradient)
    bases, ratios, unseen, steps = {}, {}, {}, {}
    for name, loss in (("squared error", losses.mse), ("KL", losses.kl)):
        bases[name], ratio = visible_span(given, loss)
        ratios[name] = float(ratio)
        unseen[name] = hidden(gradient, bases[name])
        steps[name] = take_steps(given, unseen[name], loss)
    chosen = "squared error"
    return {
        "exact": exact_cases(seed),
        "ratios": ratios,
        "unseen": steps,
        "seen": take_steps(given, jax.tree.map(lambda g: g / length, gradient), losses.mse),
        "changes": changes(given, bases[chosen], unseen[chosen], steps[chosen]),
        "others": others(given, bases[chosen]),
    }


def check(seed: int) -> claims.Report:
    """Measure products, orders and signs."""
    with jax.enable_x64(True):
        found = measure(seed)
    findings = [
        claims.at_most(f"{name}: largest |<d_S, d_T>|", np.abs(steps.product).max(), 1e-15)
        for name, steps in (*found["exact"].items(), *found["unseen"].items())
    ]
    for name, steps in found["unseen"].items():
        findings += [
            claims.at_least(f"{name}: rank is full, by", found["ratios"][name], 1e-10),
            claims.at_most(f"{name}: |cosine| at eps = .1", np.abs(steps.cosine[0]), 1e-12),
            claims.between(
                f"{name}: order of the step", claims.slope(EPSILONS, steps.length), 1.9, 2.1
            ),
        ]
    findings.append(
        claims.at_least("a teacher that is seen: cosine", float(found["seen"].cosine.min()), 1e-3)
    )
    for (name, moved_by), order in zip(found["changes"].items(), (2, 4, 4), strict=True):
        measured = claims.slope(EPSILONS, np.abs(moved_by))
        findings.append(claims.between(f"{name}: order", measured, order - 0.1, order + 0.1))
    up, down = (found["changes"][f"own loss, curvature {sign}1"] for sign in "+-")
    risen = int(np.sum(found["others"] > 0))
    findings += [
        claims.at_least("curvature +1: smallest change / eps^4", (up / EPSILONS**4).min(), 1e-12),
        claims.at_most("curvature -1: largest change / eps^4", (down / EPSILONS**4).max(), -1e-12),
        claims.between(f"other traits that rise, of {OTHERS}", risen, 4, OTHERS - 4),
    ]
    products = {"seen": found["seen"].product} | {
        name: steps.product for name, steps in found["unseen"].items()
    }
    data = {"eps": EPSILONS, "products": products, "changes": found["changes"]}
    return claims.Report(findings, draw(data), data)


def draw(data: dict[str, Any]) -> Figure:
    """Draw products of seen and unseen teachers, those below 1e-24 there, and changes of losses."""
    figure, (left, right) = plots.panels(2, title="Teachers that the imitated logits do not see")
    names = ("seen", "squared error", "KL")
    labels = ("seen: the gradient", "unseen, squared error", "unseen, KL")
    for name, label, color in zip(names, labels, plots.colors(3), strict=True):
        values = np.maximum(np.abs(data["products"][name]), 1e-24)
        left.loglog(EPSILONS, values, marker="o", ms=4, color=color, label=label)
    left.set(ylabel="|<d_S, d_T>|, with |d_T| = 1")
    # The two own losses move by the same amount: a large mark under a small one shows both.
    names = ("another trait", "own loss, curved up: rises", "own loss, curved down: falls")
    for label, values, color, size in zip(
        names, data["changes"].values(), plots.colors(3), (4, 9, 4), strict=True
    ):
        right.loglog(EPSILONS, np.abs(values), marker="o", ms=size, color=color, label=label)
    right.set(ylabel="|change of the loss| by a student's step")
    for axis in (left, right):
        axis.set_xlabel("eps: length of the teacher's move")
        axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
