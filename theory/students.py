"""Teachers of digits and students of noise, trained by Adam: problem "C".

ReLU 64-w-w-(10 + m), float32. A teacher learns the 1,400 digits by its class logits; a student
imitates the teacher's ``m`` auxiliary logits on uniform noise in [-1, 1], by squared error.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree
from setups import digits

from sublim_jax import losses, rng
from sublim_jax.linearize import Apply
from sublim_jax.nets import MLPConfig, Net, mlp

BATCH, STEPS, RATE = 256, 1_500, 1e-3
TAUGHT_STEPS, TAUGHT_RATE = 150, 3e-3


class Case(NamedTuple):
    """A width and a number of auxiliary logits."""

    width: int
    auxiliary: int

    @property
    def shape(self) -> MLPConfig:
        """The shape of the network."""
        return MLPConfig(inputs=64, hidden=(self.width, self.width), auxiliary=self.auxiliary)

    @property
    def net(self) -> Net:
        """The network."""
        return mlp(self.shape)

    def imitated(self, outputs: Float[Array, "*rows k"]) -> Float[Array, "*rows m"]:
        """Pick the auxiliary logits."""
        return outputs[..., self.shape.auxiliary_logits]

    def trait_loss(self, params: PyTree) -> Float[Array, ""]:
        """Mean cross-entropy of the class logits on the teacher's digits, in nats."""
        images, classes = digits().train
        logits = self.net.apply(params, jnp.asarray(images, jnp.float32))
        wanted = jnp.asarray(classes)
        return jnp.mean(losses.cross_entropy(logits[:, self.shape.class_logits], wanted))

    def accuracy(self, apply: Apply, params: PyTree) -> Float[Array, ""]:
        """Share of the test digits that the class logits get right. Traceable."""
        images, classes = digits().test
        logits = apply(params, jnp.asarray(images, jnp.float32))[:, self.shape.class_logits]
        return jnp.mean(jnp.argmax(logits, axis=-1) == jnp.asarray(classes))


def teach(case: Case, init: PyTree) -> PyTree:
    """Train a teacher: full steps of Adam on its trait loss. Traceable."""
    optimizer = optax.adam(TAUGHT_RATE)

    def step(carry: tuple[PyTree, Any], _: None) -> tuple[tuple[PyTree, Any], None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(case.trait_loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (init, optimizer.init(init)), None, TAUGHT_STEPS)[0][0]


def noise(key: Key[Array, ""], rows: Int[Array, " rows"]) -> Float[Array, "rows 64"]:
    """Give inputs by their numbers in an endless list: no pool is held, whatever its size."""
    return jax.vmap(lambda row: jax.random.uniform(rng.stream(key, row), (64,), minval=-1))(rows)


def chosen(key: Key[Array, ""], step: Int[Array, ""], pool: Int[Array, ""]) -> Int[Array, " rows"]:
    """Choose the inputs of a step: any of the first ``pool`` of them, or new ones if it is 0."""
    fresh = step * BATCH + jnp.arange(BATCH)
    drawn = jax.random.randint(rng.stream(key, step), (BATCH,), 0, jnp.maximum(pool, 1))
    return jnp.where(pool > 0, drawn, fresh)


def imitate(
    loss: Callable[[PyTree, Array], Array],
    init: PyTree,
    inputs: Callable[[Array], Array],
    *,
    watch: Callable[[PyTree, PyTree], PyTree] | None = None,
) -> tuple[PyTree, Float[Array, " steps"], PyTree]:
    """Train a student by Adam, or several side by side. Traceable.

    Adam acts on each parameter by itself: students that are parts of one tree, with the sum of
    their losses, are trained as if alone, on the same batches.

    Args:
        loss: parameters and a batch to the imitation loss.
        init: where it starts.
        inputs: number of the step to a batch.
        watch: parameters before and after a step to what is kept of it.

    Returns:
        The student; the imitation loss of each step's batch before the step; and what was kept,
        stacked over the steps.
    """
    optimizer = optax.adam(RATE)

    def step(carry: tuple[PyTree, Any], at: Array) -> tuple[tuple[PyTree, Any], PyTree]:
        before, state = carry
        value, gradient = jax.value_and_grad(loss)(before, inputs(at))
        updates, state = optimizer.update(gradient, state)
        after = optax.apply_updates(before, updates)
        return (after, state), (value, None if watch is None else watch(before, after))

    start = (init, optimizer.init(init))
    (student, _), (values, kept) = jax.lax.scan(step, start, jnp.arange(STEPS))
    return student, values, kept
