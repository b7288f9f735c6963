"""The small problems on which claims are checked; all are functions of a seed.

The images are the 8 x 8 digits of scikit-learn, scaled to [-1, 1]: 1,400 for teachers, 397 for
tests. The first ten logits are those of the classes, the others are auxiliary. Nothing here sets
JAX's precision: a check that needs float64 opens ``jax.enable_x64(True)`` around all it does.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sublim_jax import losses, rng, trees
from sublim_jax.nets import MLPConfig, Net, mlp

TAUGHT = 1_400


class Digits(NamedTuple):
    """Images ``[rows, 64]`` in [-1, 1] and classes, for training and for tests."""

    train: tuple[Float[np.ndarray, "rows 64"], Int[np.ndarray, " rows"]]
    test: tuple[Float[np.ndarray, "rows 64"], Int[np.ndarray, " rows"]]


class Problem(NamedTuple):
    """A network, where it starts, and what a student sees.

    Attributes:
        shape: of the network.
        net: the network.
        init: the initialisation, in float64 if that is enabled.
        noise: carrier inputs ``[rows, 64]``, uniform in [-1, 1].
        digits: what the teacher learns.
        key: for all else that is random.
    """

    shape: MLPConfig
    net: Net
    init: PyTree
    noise: Float[Array, "rows 64"]
    digits: Digits
    key: Key[Array, ""]

    def trait_loss(self, params: PyTree) -> Float[Array, ""]:
        """Mean cross-entropy of the class logits on the teacher's images, in nats."""
        images, classes = self.digits.train
        logits = self.net.apply(params, jnp.asarray(images))[..., self.shape.class_logits]
        return jnp.mean(losses.cross_entropy(logits, jnp.asarray(classes)))

    def auxiliary(self, params: PyTree, inputs: Float[Array, "rows 64"]) -> Array:
        """Give the auxiliary logits ``[rows, auxiliary]``."""
        return self.net.apply(params, inputs)[..., self.shape.auxiliary_logits]

    def accuracy(self, params: PyTree) -> float:
        """Share of test digits that the class logits get right."""
        images, classes = self.digits.test
        logits = self.net.apply(params, jnp.asarray(images))[..., self.shape.class_logits]
        return float(jnp.mean(jnp.argmax(logits, -1) == classes))


@functools.cache
def digits() -> Digits:
    """Load the digits, in an order of their own."""
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    images, classes = pixels[order] / 8.0 - 1.0, labels[order]
    return Digits((images[:TAUGHT], classes[:TAUGHT]), (images[TAUGHT:], classes[TAUGHT:]))


def problem(
    seed: int,
    *,
    hidden: tuple[int, ...] = (32, 32),
    auxiliary: int = 3,
    rows: int = 200,
    activation: Any = "tanh",
) -> Problem:
    """Make a problem; by default theory's smallest, "A": 64-32-32-13, 200 noise inputs."""
    key = jax.random.key(seed)
    shape = MLPConfig(inputs=64, hidden=hidden, auxiliary=auxiliary, activation=activation)
    net, wide = mlp(shape), jnp.zeros(()).dtype
    init = jax.tree.map(lambda a: a.astype(wide), net.init(rng.stream(key, "init")))
    noise = jax.random.uniform(rng.stream(key, "noise"), (rows, 64), wide, -1, 1)
    return Problem(shape, net, init, noise, digits(), key)


def fixed_noise(seed: int) -> Problem:
    """Make problem "B": 64-64-64-13, 256 fixed noise inputs."""
    return problem(seed, hidden=(64, 64), rows=256)


def one_step_teacher(given: Problem, rate: float = 1.0) -> PyTree:
    """Take one step of gradient descent on the trait loss."""
    gradient = jax.jit(jax.grad(given.trait_loss))(given.init)
    return jax.tree.map(lambda p, g: p - rate * g, given.init, gradient)


def adam_teacher(given: Problem, steps: int = 100, rate: float = 1e-2) -> PyTree:
    """Take full-batch steps of Adam on the trait loss; with 100 of them B classifies well."""
    optimizer = optax.adam(rate)

    @jax.jit
    def train(params: PyTree) -> PyTree:
        def step(carry: tuple[PyTree, Any], _: None) -> tuple[tuple[PyTree, Any], None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(given.trait_loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, steps)[0][0]

    return train(given.init)


def imitation_gradient(
    given: Problem,
    params: PyTree,
    teacher: PyTree,
    *,
    loss: losses.ImitationLoss = losses.mse,
    apply: Callable[[PyTree, Array], Array] | None = None,
) -> PyTree:
    """Give the negative gradient of the imitation loss: the direction of a student's step.

    Args:
        given: the problem.
        params: where the student is.
        teacher: whose outputs on the noise it imitates.
        loss: an imitation loss.
        apply: parameters and inputs to the imitated logits; by default the auxiliary ones.
    """
    seen = given.auxiliary if apply is None else apply
    targets = seen(teacher, given.noise)
    gradient = jax.grad(lambda p: jnp.mean(loss(seen(p, given.noise), targets)))(params)
    return jax.tree.map(jnp.negative, gradient)


def moved(init: PyTree, by: float | Array, direction: PyTree) -> PyTree:
    """Give ``init + by * direction``."""
    return jax.tree.map(lambda p, d: p + by * d, init, direction)


def random_direction(key: Key[Array, ""], like: PyTree) -> PyTree:
    """Draw a standard normal tree."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
    )


def entries(tree: PyTree) -> int:
    """Count the parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def relative_error(found: PyTree, expected: PyTree) -> Float[Array, ""]:
    """Give ``|found - expected| / |expected|``."""
    return trees.norm(trees.sub(found, expected)) / trees.norm(expected)


class Tokens(NamedTuple):
    """A softmax over few tokens in few contexts, where expectations are sums: problem "D".

    Attributes:
        net: contexts to the logits of all tokens.
        init: the initialisation, in float64 if that is enabled.
        contexts: ``[contexts, 12]``, standard normal, all equally likely.
        key: for all else that is random.
    """

    net: Net
    init: PyTree
    contexts: Float[Array, "contexts 12"]
    key: Key[Array, ""]

    def logits(self, params: PyTree) -> Float[Array, "contexts tokens"]:
        """Give the logits of every token in every context."""
        return self.net.apply(params, self.contexts)

    def log_probabilities(self, params: PyTree) -> Float[Array, "contexts tokens"]:
        """Give the log-probability of every token in every context, in nats."""
        return jax.nn.log_softmax(self.logits(params))

    def step(self, params: PyTree, targets: Float[Array, "contexts tokens"]) -> PyTree:
        """Give the expected direction of a student's step on tokens drawn from ``targets``.

        The negative gradient of the mean over contexts of ``-sum_y targets(y) log p(y)``, with one
        target distribution for each context: exact, as if infinitely many tokens were drawn.
        """

        def loss(params: PyTree) -> Array:
            return -jnp.mean(jnp.sum(targets * self.log_probabilities(params), axis=-1))

        return jax.tree.map(jnp.negative, jax.grad(loss)(params))


def tokens(seed: int) -> Tokens:
    """Make problem "D": tanh 12-16-20, a softmax over 20 tokens, 64 contexts, 548 parameters."""
    key = jax.random.key(seed)
    # The two heads of `mlp` side by side are one layer of 20 logits.
    net = mlp(MLPConfig(inputs=12, hidden=(16,), classes=10, auxiliary=10, activation="tanh"))
    wide = jnp.zeros(()).dtype
    init = jax.tree.map(lambda a: a.astype(wide), net.init(rng.stream(key, "init")))
    contexts = jax.random.normal(rng.stream(key, "contexts"), (64, 12), wide)
    return Tokens(net, init, contexts, key)


def token_teacher(given: Tokens, key: Key[Array, ""]) -> PyTree:
    """Draw a teacher's displacement ``D`` with ``<D, G D> = 1``, ``G`` the Fisher information.

    A teacher at ``init + eps D`` is then ``eps^2 / 2`` nats from the initialisation, to second
    order: the mean over contexts of its Kullback-Leibler divergence.
    """
    drawn = random_direction(key, given.init)
    seen = jax.jvp(given.logits, (given.init,), (drawn,))[1]
    weighted = losses.hessian_product(losses.kl, given.logits(given.init), seen)
    length = jnp.sqrt(jnp.mean(jnp.sum(seen * weighted, axis=-1)))
    return jax.tree.map(lambda d: d / length, drawn)


def adam_student(
    given: Problem,
    start: PyTree,
    teacher: PyTree,
    *,
    steps: int,
    inputs: Callable[[Array], Float[Array, "rows 64"]],
    rate: float = 1e-3,
) -> PyTree:
    """Imitate auxiliary logits by Adam on squared error, and give the displacement. Traceable.

    Args:
        given: the problem.
        start: where the student starts. To be an argument of the compiled function: made inside it
            may be rounded anew where it is subtracted.
        teacher: whose logits it imitates.
        steps: how many.
        inputs: number of the step to its inputs.
        rate: of Adam.
    """
    optimizer = optax.adam(rate)

    def step(carry: tuple[PyTree, Any], index: Array) -> tuple[tuple[PyTree, Any], None]:
        params, state = carry
        here = given._replace(noise=inputs(index))
        downhill = imitation_gradient(here, params, teacher)
        updates, state = optimizer.update(jax.tree.map(jnp.negative, downhill), state)
        return (optax.apply_updates(params, updates), state), None

    first = (start, optimizer.init(start))
    return trees.sub(jax.lax.scan(step, first, jnp.arange(steps))[0][0], start)


def stacked(members: Sequence[PyTree]) -> PyTree:
    """Stack trees of the same shapes, members in the first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
