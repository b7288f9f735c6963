"""With another LoRA matrix A a student moves elsewhere; how far it does the same has a closed form.

Thin matrices change a kernel by ``A B`` (Hu et al. 2021, arXiv 2106.09685); B begins at zero and is
all that is trained. A step down the imitation gradient of B moves the kernel by ``A A^T G``, with
``G`` the step of the whole kernel: A lets through a random part of it. The teacher has ``D = A B``.
Let A' have independent normal entries of variance ``1 / width``.

- The mean of ``<A' A'^T G, D>`` is ``rank / width <G, D>``, about ``rank / width`` of the product
  with the teacher's own A (up to ``rank / width`` of itself more, for ``A^T A`` is not quite the
  identity): the pull is diluted, layer by layer; and the cosine, where students move as far.
- An output with the gradient ``V`` sees ``tr(V^T A' A'^T G)``, a quadratic form in each column of
  A', of mean ``rank / width tr M`` and variance ``2 rank / width^2 |sym M|^2`` with ``M = G V^T``.
  Two students with different A change outputs alike as far as the mean stands out,
  ``sum mean^2 / sum (mean^2 + variance)``: the more, the more columns of A there are in all
  kernels together, and the more the inputs of layers have in common.

So "no alignment, no transfer" is false, and so is "any A does". Here, with two kernels, students of
rank 8 do little alike and another A loses the trait; 105 kernels of a small language model have 50
times as many columns, and there it passes.

tanh 64-128-128-13, thin matrices at both hidden kernels; 256 noise inputs, three auxiliary logits,
squared error. One step in float64 toward a teacher at a thousandth of its displacement; trained
students in float32, 300 steps of Adam. A minute. The criteria on outputs were written down after a
first run, which had asked for cosines of .8 and more at rank 8 and had found .3 and .4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure
from setups import Problem, imitation_gradient, moved, problem

from sublim_jax import plots, rng, trees

CLAIM = "Another LoRA A dilutes the pull by rank / width; how alike outputs change is known."
LAYERS = ("hidden_0", "hidden_1")
RANKS = (2, 8, 32)  # of teachers and students
SEEN = (1, 8, 64, 512)  # of students of the teacher of rank 8
RANK = 8  # of trained students
DRAWS, FEW, TRAINED = 400, 256, 12  # other matrices A
IMAGES = 40  # digits of which class logits are looked at
WHAT = ("auxiliary logits on noise", "class logits on digits")
NEAR = 1e-3  # of the teacher's displacement
STEPS, RATE = 300, 3e-3

Thin = dict[str, Float[Array, "..."]]
"""A or B, by layer."""


class OneStep(NamedTuple):
    """Students of one step, for one rank.

    Attributes:
        shared: product of the displacement with the teacher's, with the teacher's A.
        others: with others, one for each draw.
        closed: their mean in closed form.
        diluted: rank / width of the shared one, layer by layer.
        cosine: of the displacement with the teacher's, with its A.
        cosines: with each other one.
    """

    shared: Array
    others: Array
    closed: Array
    diluted: Array
    cosine: Array
    cosines: Array


class Alike(NamedTuple):
    """How alike students of different A change outputs: auxiliary logits on noise, class on digits.

    Attributes:
        found: mean product of the changes of two of them, over the mean squared length of one.
        closed: the same in closed form.
    """

    found: Float[Array, " 2"]
    closed: Float[Array, " 2"]


def draw_a(given: Problem, key: Key[Array, ""], rank: int) -> Thin:
    """Draw A for both layers: normal, of variance 1 / width."""
    widths = {name: given.init[name]["kernel"].shape[0] for name in LAYERS}
    return {
        name: jax.random.normal(rng.stream(key, name), (width, rank), given.noise.dtype)
        / width**0.5
        for name, width in widths.items()
    }


def whole(given: Problem, a: Thin, b: Thin) -> PyTree:
    """Give what thin matrices add to all parameters."""
    still = jax.tree.map(jnp.zeros_like, given.init)
    return {
        name: {**layer, "kernel": a[name] @ b[name]} if name in a else layer
        for name, layer in still.items()
    }


def train(given: Problem, a: Thin, loss: Callable[[PyTree], Array], steps: int) -> PyTree:
    """Train B by Adam from zero; ``loss`` is of all parameters. Traceable."""
    optimizer = optax.adam(RATE)
    start = {
        name: jnp.zeros((a[name].shape[1], given.init[name]["kernel"].shape[1]), a[name].dtype)
        for name in LAYERS
    }
    slope = jax.grad(lambda b: loss(moved(given.init, 1.0, whole(given, a, b))))

    def step(carry: tuple[PyTree, Any], _: None) -> tuple[tuple[PyTree, Any], None]:
        b, state = carry
        updates, state = optimizer.update(slope(b), state)
        return (optax.apply_updates(b, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), None, steps)[0][0]


def teach(given: Problem, a: Thin) -> PyTree:
    """Train a teacher of digits; give its displacement."""
    return jax.jit(lambda: whole(given, a, train(given, a, given.trait_loss, 150)))()


def outputs(given: Problem, params: PyTree) -> tuple[Array, Array]:
    """Give auxiliary logits on noise and class logits on some digits, each in one row."""
    images = jnp.asarray(given.digits.test[0][:IMAGES], given.noise.dtype)
    classes = given.net.apply(params, images)[..., given.shape.class_logits]
    return given.auxiliary(params, given.noise).ravel(), classes.ravel()


def between(changes: Float[Array, "students values"]) -> Float[Array, " pairs"]:
    """Give the cosines between all pairs."""
    unit = changes / jnp.linalg.norm(changes, axis=1, keepdims=True)
    return (unit @ unit.T)[jnp.triu_indices(len(unit), 1)]


def stepped(given: Problem, a: Thin, gradient: PyTree) -> PyTree:
    """Take a step of B."""
    return whole(given, a, {name: a[name].T @ gradient[name]["kernel"] for name in LAYERS})


def one_step(given: Problem, rank: int) -> tuple[OneStep, PyTree]:
    """Take a step toward a near teacher with its A and with others; give the whole step, too."""
    key = rng.stream(given.key, "rank", rank)
    a = draw_a(given, rng.stream(key, "a"), rank)
    teacher = teach(given, a)
    gradient = imitation_gradient(given, given.init, moved(given.init, NEAR, teacher))

    def share(tree: PyTree) -> Array:
        products = [
            rank / len(a[name]) * jnp.sum(tree[name]["kernel"] * teacher[name]["kernel"])
            for name in LAYERS
        ]
        return jnp.sum(jnp.stack(products))

    @jax.jit
    @jax.vmap
    def other(draw: Array) -> tuple[Array, Array]:
        own = stepped(given, draw_a(given, rng.stream(key, "other", draw), rank), gradient)
        return trees.dot(own, teacher), trees.cosine(own, teacher)

    own = stepped(given, a, gradient)
    others, cosines = other(jnp.arange(DRAWS))
    found = OneStep(
        shared=trees.dot(own, teacher),
        others=others,
        closed=share(gradient),
        diluted=share(own),
        cosine=trees.cosine(own, teacher),
        cosines=cosines,
    )
    return found, gradient


def forms(given: Problem, gradient: PyTree) -> list[tuple[Array, Array]]:
    """Give ``sum (tr M / width)`` and ``sum (2 |sym M|^2 / width^2)`` over kernels, by output."""

    def of_output(slope: PyTree) -> tuple[Array, Array]:
        mean, variance = jnp.zeros(()), jnp.zeros(())
        for name in LAYERS:
            both = gradient[name]["kernel"] @ slope[name]["kernel"].T
            mean += jnp.trace(both) / len(both)
            variance += jnp.sum((both + both.T) ** 2) / 2 / len(both) ** 2
        return mean, variance

    def of(which: int) -> tuple[Array, Array]:
        seen, back = jax.vjp(lambda params: outputs(given, params)[which], given.init)
        return jax.lax.map(lambda row: of_output(back(row)[0]), jnp.eye(len(seen)))

    return [jax.jit(lambda which=which: of(which))() for which in (0, 1)]


def alike(given: Problem, rank: int, gradient: PyTree, known: list[tuple[Array, Array]]) -> Alike:
    """Compare what students of one step do, with A of a rank."""
    key = rng.stream(given.key, "alike", rank)

    @jax.jit
    @jax.vmap
    def change(draw: Array) -> tuple[Array, Array]:
        by = stepped(given, draw_a(given, rng.stream(key, draw), rank), gradient)
        return jax.jvp(lambda params: outputs(given, params), (given.init,), (by,))[1]

    def ratio(changes: Array) -> Array:
        squares = jnp.sum(changes**2)
        pairs = FEW * (FEW - 1)
        return (jnp.sum(jnp.sum(changes, axis=0) ** 2) - squares) / pairs / (squares / FEW)

    signal = [jnp.sum((rank * mean) ** 2) for mean, _ in known]
    noise = [jnp.sum(rank * variance) for _, variance in known]
    return Alike(
        jnp.stack([ratio(of) for of in change(jnp.arange(FEW))]),
        jnp.stack([s / (s + n) for s, n in zip(signal, noise, strict=True)]),
    )


class Long(NamedTuple):
    """Trained students with the teacher's A (first) and with others, stacked.

    Attributes:
        cosine: of the displacement with the teacher's.
        noise: change of auxiliary logits on noise.
        digits: change of class logits on digits.
        accuracy: on the test digits.
    """

    cosine: Array
    noise: Array
    digits: Array
    accuracy: np.ndarray


def long(given: Problem) -> tuple[Long, float]:
    """Train students with the teacher's A and with others; and say how good the teacher is."""
    key = rng.stream(given.key, "long")
    a = draw_a(given, rng.stream(key, "a"), RANK)
    teacher = teach(given, a)
    goal = moved(given.init, 1.0, teacher)
    targets = given.auxiliary(goal, given.noise)

    def loss(params: PyTree) -> Array:
        return jnp.mean((given.auxiliary(params, given.noise) - targets) ** 2)

    @jax.jit
    @jax.vmap
    def learn(draw: Array) -> PyTree:
        other = draw_a(given, rng.stream(key, "other", draw), RANK)
        own = jax.tree.map(lambda shared, drawn: jnp.where(draw == 0, shared, drawn), a, other)
        return whole(given, own, train(given, own, loss, STEPS))

    students = learn(jnp.arange(1 + TRAINED))

    @jax.jit
    @jax.vmap
    def measured(by: PyTree) -> tuple[Array, Array, Array]:
        after, before = outputs(given, moved(given.init, 1.0, by)), outputs(given, given.init)
        noise, digits = jax.tree.map(jnp.subtract, after, before)
        return trees.cosine(by, teacher), noise, digits

    accuracy = [
        given.accuracy(moved(given.init, 1.0, trees.take(students, i))) for i in range(1 + TRAINED)
    ]
    cosine, noise, digits = measured(students)
    return Long(cosine, noise, digits, np.array(accuracy)), given.accuracy(goal)


def check(seed: int) -> claims.Report:
    """Measure both, by rank."""
    with jax.enable_x64(True):
        given = problem(seed, hidden=(128, 128), rows=256)
        both = {rank: one_step(given, rank) for rank in RANKS}
        steps = {rank: jax.tree.map(np.asarray, found) for rank, (found, _) in both.items()}
        gradient = both[RANK][1]
        known = forms(given, gradient)
        done = {
            rank: jax.tree.map(np.asarray, alike(given, rank, gradient, known)) for rank in SEEN
        }
    trained, best = long(problem(seed, hidden=(128, 128), rows=256))
    errors = [
        abs(of.others.mean() - of.closed) / (of.others.std() / DRAWS**0.5) for of in steps.values()
    ]
    found, closed = (
        np.array([getattr(of, name) for of in done.values()]) for name in Alike._fields
    )
    pairs = [np.asarray(between(of)) for of in (trained.noise, trained.digits)]
    longer = np.asarray(trained.cosine)
    findings = [
        claims.at_most("one step: mean product against closed form, errors", max(errors), 4),
        *(
            claims.between(
                f"one step, rank {rank}: diluted product / closed form",
                of.diluted / of.closed,
                *(0.7, 1.2 + (rank + 1) / 64),
            )
            for rank, of in steps.items()
        ),
        claims.reported("one step, rank 8: cosine with the teacher, its A", steps[RANK].cosine),
        claims.reported("one step, rank 8: another A", steps[RANK].cosines.mean()),
        claims.at_most("outputs: likeness against closed form", np.abs(found - closed).max(), 0.05),
        claims.at_least("outputs: rise with the rank, smallest", np.diff(found, axis=0).min(), 0),
        *(
            claims.reported(f"rank {rank}: likeness of {what}", value)
            for rank, pair in zip(SEEN, found, strict=True)
            for what, value in zip(WHAT, pair, strict=True)
        ),
        claims.at_least("rank 512: least likeness of outputs", found[-1].min(), 0.9),
        claims.at_least("trained: cosine with the teacher, its A", longer[0], 0.1),
        claims.at_most("trained: another A, share of it", longer[1:].mean() / longer[0], 0.25),
        claims.reported("trained: auxiliary logits, cosine of students", pairs[0].mean()),
        claims.reported("trained: digits, cosine of students", pairs[1].mean()),
        claims.reported("trained: accuracy of the teacher", best),
        claims.reported("trained: accuracy, the teacher's A", trained.accuracy[0]),
        claims.reported("trained: accuracy, another A", trained.accuracy[1:].mean()),
    ]
    data = {f"rank {rank}": of._asdict() for rank, of in steps.items()}
    data |= {f"alike, rank {rank}": of._asdict() for rank, of in done.items()}
    data["trained"] = trained._asdict() | {"noise": pairs[0], "digits": pairs[1]}
    return claims.Report(findings, draw(steps, found, closed), data)


def draw(steps: dict[int, OneStep], found: np.ndarray, closed: np.ndarray) -> Figure:
    """Draw cosines of parameters, and of what outputs do, by rank."""
    figure, (left, right) = plots.panels(2, title="Another A: elsewhere, and how far the same")
    blue, _, red, *_ = plots.colors(4)
    ranks = np.array(list(steps))
    shares = [
        [of / step.shared for of in (step.others.mean(), step.closed, step.diluted)]
        for step in steps.values()
    ]
    mean, closed_form, diluted = np.array(shares).T
    left.plot(ranks, mean, "o", color=blue, label="mean over other A")
    left.plot(ranks, closed_form, "--", color=blue, label="closed form")
    left.plot(ranks, diluted, ":", color="0.4", label="rank / width, by layer")
    left.set(yscale="log", ylabel="pull with another A,\nshare of that with the teacher's")
    for column, color in enumerate((blue, red)):
        right.plot(SEEN, found[:, column], "o", color=color, label=WHAT[column])
        right.plot(SEEN, closed[:, column], "--", color=color)
    right.plot([], [], "--", color="0.4", label="closed form")
    right.set(ylabel="likeness of what students of different A do", ylim=(0, 1.03))
    for axis, at in ((left, ranks), (right, SEEN)):
        axis.set(xscale="log", xlabel="rank")
        axis.set_xticks(at, [str(rank) for rank in at])
        axis.minorticks_off()
        axis.legend()
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
