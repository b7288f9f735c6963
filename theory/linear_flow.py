"""Imitation copies the teacher's displacement direction by direction, fast ones first.

Near the initialisation the network is linear in its parameters, the imitation loss quadratic, and
the student's displacement after ``k`` full-batch steps from a shared initialisation is

    delta_k = phi_k(G) D,                        G = E_x J' H J,   D = theta_T - theta_0,

with ``phi_k`` the share of an eigendirection that the optimizer has copied by then:
``1 - (1 - alpha lambda)^k`` for gradient descent, a polynomial of its own for momentum. Under a
fixed preconditioner it is ``P^(1/2) phi_k(P^(1/2) G P^(1/2)) P^(-1/2) D``. For cross-entropy ``H``
is held at its value at the initialisation.

The formulas are compared with optimizers that are run on the network itself (tanh 64-64-64-13, 256
fixed noise inputs), for teachers at ``s D``: ``D`` is 100 steps of Adam at 3e-3 on the classes, two
thirds as long as the initialisation. What the formula leaves out is of the order of ``s``. The
linearised student (`linearize.linearized`), run in the same way, is to follow it exactly; with the
teacher's true outputs in place of the linear ones the same function acts on these.

With the whole teacher, ``s = 1``, the vector is far off and the projection on ``D`` is not: nothing
is asked there.
About 40 seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
import optax
from exact import Exact, exact
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
from setups import Problem, adam_teacher, fixed_noise, moved, random_direction

from sublim_jax import linearize, losses, plots, rng, trees

CLAIM = (
    "A student of a nearby teacher is at phi_k(G) D after k steps, phi_k known for the optimizer."
)
SCALES = np.array([0.01, 0.03, 0.1, 1.0])
SMALL = SCALES < 1
STEPS = (1, 10, 100, 1_000)
CURVE = np.unique(np.round(np.logspace(0, 3, 40)).astype(int))
DECAY = 0.9
TEACHER_RATE = 3e-3


class Way(NamedTuple):
    """A way to train, and what it copies.

    Attributes:
        loss: of imitation.
        matrix: the Gauss-Newton matrix of this loss, with the preconditioner.
        transformation: the optimizer.
        share: number of steps to the share copied of each eigendirection.
    """

    loss: losses.ImitationLoss
    matrix: Exact
    transformation: optax.GradientTransformation
    share: Callable[[int], linearize.Share]


def ways(given: Problem) -> dict[str, Way]:
    """Make the ways to train, all equally fast in their fastest direction."""
    direction = random_direction(rng.stream(given.key, "metric"), given.init)
    metric = jax.tree.map(jnp.exp, direction)
    plain, soft = exact(given), exact(given, loss=losses.kl)
    uneven = exact(given, metric=np.asarray(ravel_pytree(metric)[0]))

    def descent(name: losses.ImitationLoss, matrix: Exact, *before: Any) -> Way:
        rate = 0.5 / matrix.eigenvalues[-1]
        return Way(
            name,
            matrix,
            optax.chain(*before, optax.sgd(rate)),
            lambda steps: linearize.gradient_descent(rate, steps),
        )

    slow = 0.5 * (1 - DECAY) / plain.eigenvalues[-1]
    scaled = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, metric))
    return {
        "gradient descent": descent(losses.mse, plain),
        "momentum": Way(
            losses.mse,
            plain,
            optax.sgd(slow, momentum=DECAY),
            lambda steps: linearize.momentum(slow, steps, DECAY),
        ),
        "preconditioner": descent(losses.mse, uneven, scaled),
        "softmax, KL": descent(losses.kl, soft),
    }


def trained(
    given: Problem, way: Way, apply: linearize.Apply, targets: Float[Array, "teachers rows logits"]
) -> Float[np.ndarray, "steps teachers parameters"]:
    """Run a way for each teacher and give the displacements after so many steps."""

    @jax.jit
    @jax.vmap
    def run(params: PyTree, state: PyTree, targets: Array, count: Array) -> tuple[PyTree, PyTree]:
        def step(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            params, state = carry
            gradient = jax.grad(lambda p: jnp.mean(way.loss(apply(p, given.noise), targets)))
            updates, state = way.transformation.update(gradient(params), state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, count, step, (params, state))

    many = len(targets)
    params = jax.tree.map(lambda p: jnp.stack([p] * many), given.init)
    state, found = jax.vmap(way.transformation.init)(params), []
    for count in np.diff([0, *STEPS]):
        params, state = run(params, state, targets, jnp.full(many, count))
        found.append(trees.sub(params, given.init))
    return np.stack([jax.vmap(lambda tree: ravel_pytree(tree)[0])(tree) for tree in found])


class Course(NamedTuple):
    """Where students of teachers at ``s D`` go, and where theory sends them.

    Attributes:
        error: relative, of the vector.
        found: projection coefficient on the teacher's displacement of the network that is run.
        foretold: of the formula, the same at every scale.
        curve: of the formula after the steps of `CURVE`.
    """

    error: Float[np.ndarray, "steps scales"]
    found: Float[np.ndarray, "steps scales"]
    foretold: Float[np.ndarray, " steps"]
    curve: Float[np.ndarray, " curve"]


def course(given: Problem, way: Way, displacement: PyTree) -> Course:
    """Train on teachers at all scales and compare."""
    teachers = jax.vmap(lambda s: moved(given.init, s, displacement))(jnp.asarray(SCALES))
    targets = jax.jit(jax.vmap(lambda p: given.auxiliary(p, given.noise)))(teachers)
    real = trained(given, way, given.auxiliary, targets) / SCALES[:, None]
    flat = np.asarray(ravel_pytree(displacement)[0])
    seen = way.matrix.factor @ flat

    def said(steps: Sequence[int] | np.ndarray) -> np.ndarray:
        return np.stack([way.matrix.copied(way.share(int(count)), seen) for count in steps])

    def projection(vectors: np.ndarray) -> np.ndarray:
        return vectors @ flat / (flat @ flat)

    formula = said(STEPS)[:, None]
    error = np.linalg.norm(real - formula, axis=-1) / np.linalg.norm(formula, axis=-1)
    return Course(error, projection(real), projection(formula)[:, 0], projection(said(CURVE)))


def linearised_errors(given: Problem, way: Way, displacement: PyTree) -> Float[np.ndarray, " two"]:
    """Give the largest relative errors of the linearised student, linear targets and true ones."""
    linear = linearize.linearized(given.auxiliary, given.init)
    teacher = moved(given.init, 1.0, displacement)
    targets = jnp.stack([f(teacher, given.noise) for f in (linear, given.auxiliary)])
    change = np.asarray(targets - given.auxiliary(given.init, given.noise))
    # H^(1/2) / sqrt(rows): the Hessian of squared error is 2 / logits times the identity.
    seen = np.sqrt(2 / change[0].size) * change.reshape(2, -1)
    real = trained(given, way, linear, targets)
    said = np.stack([[way.matrix.copied(way.share(steps), of) for of in seen] for steps in STEPS])
    return (np.linalg.norm(real - said, axis=-1) / np.linalg.norm(said, axis=-1)).max(axis=0)


def check(seed: int) -> claims.Report:
    """Train in all ways and compare."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        displacement = trees.sub(adam_teacher(given, rate=TEACHER_RATE), given.init)
        every = ways(given)
        courses = {name: course(given, way, displacement) for name, way in every.items()}
        exactly = {
            name: linearised_errors(given, way, displacement)
            for name, way in every.items()
            if way.loss is losses.mse
        }
        length = float(trees.norm(displacement) / trees.norm(given.init))
    findings = [claims.reported("|D| / |theta_0|", length)]
    for name, of in courses.items():
        rates = of.error[:, SMALL] / SCALES[SMALL]
        spread = (rates.max(axis=1) / rates.min(axis=1)).max()
        findings += [
            claims.at_most(
                f"{name}: error at s = .01, worst of {STEPS} steps", of.error[:, 0].max(), 0.02
            ),
            claims.at_most(f"{name}: error / s, largest over smallest", spread, 1.5),
        ]
    for name, (linear, true) in exactly.items():
        findings += [
            claims.at_most(f"{name}: linearised student, linear targets", linear, 1e-9),
            claims.at_most(f"{name}: linearised student, true targets", true, 1e-9),
        ]
    whole = courses["gradient descent"]
    for at, steps in enumerate(STEPS):
        findings += [
            claims.reported(f"s = 1, {steps} steps: error of the vector", whole.error[at, -1]),
            claims.reported(f"s = 1, {steps} steps: projection, network", whole.found[at, -1]),
            claims.reported(f"s = 1, {steps} steps: projection, formula", whole.foretold[at]),
        ]
    data = {
        "s": SCALES,
        "steps": STEPS,
        "steps of the curves": CURVE,
        "courses": {name: of._asdict() for name, of in courses.items()},
    }
    return claims.Report(findings, draw(courses), data)


def draw(courses: dict[str, Course]) -> Figure:
    """Draw the errors against s, and the projections of the whole teacher against the steps."""
    figure, (left, right) = plots.panels(2, title="Students and what the linear theory foretells")
    for (name, of), color in zip(courses.items(), plots.colors(len(courses)), strict=True):
        left.loglog(SCALES, of.error[-1], marker="o", ms=4, color=color, label=name)
        left.loglog(SCALES, of.error[1], marker="o", ms=4, color=color, ls="--", alpha=0.6)
        right.semilogx(CURVE, of.curve, color=color)
        right.semilogx(STEPS, of.found[:, -1], color=color, marker="o", ms=5, ls="")
    left.loglog(SCALES, SCALES, ls=":", color="black", label="proportional to s")
    left.set(xlabel="s: teacher at theta_0 + s D", ylabel="relative error of the displacement")
    left.plot([], [], color="black", label=f"{STEPS[-1]:,} steps")
    left.plot([], [], color="black", ls="--", label=f"{STEPS[1]} steps")
    left.legend(fontsize=7)
    right.plot([], [], color="black", label="formula")
    right.plot([], [], color="black", marker="o", ms=5, ls="", label="network, s = 1")
    right.set(xlabel="steps", ylabel="projection <delta, D> / <D, D>")
    right.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
