"""The front door's first member, at full size, for checks that need the real network.

The net is 784-256-256-13 with ReLU units, its teacher is trained on the digits as
`mnist_aux_logits.py` trains the one of member 0, and carrier inputs are uniform noise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from setups import moved

from sublim_jax import aux_logits, linearize, losses, rng, trees
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.data import load_images
from sublim_jax.data.noise import uniform_noise
from sublim_jax.distill import imitation, teaching
from sublim_jax.nets import Net, mlp
from sublim_jax.training import Watch


class Door(NamedTuple):
    """The first member of the front door.

    Attributes:
        config: of its run.
        net: the network.
        key: of the member.
        init: where teacher and student start.
        teacher: trained.
        noise: carrier inputs ``[60000, 784]``.
    """

    config: AuxLogitsConfig
    net: Net
    key: Key[Array, ""]
    init: PyTree
    teacher: PyTree
    noise: Float[Array, "rows 784"]

    @property
    def way(self) -> PyTree:
        """The teacher's displacement."""
        return trees.sub(self.teacher, self.init)

    def few(self, rows: int, *, wide: bool = False) -> "Door":
        """Give the same with the first carrier inputs alone, in float64 if that is wanted."""
        kept = self.init, self.teacher, self.noise[:rows]
        init, teacher, noise = jax.tree.map(lambda x: x.astype(jnp.float64), kept) if wide else kept
        return self._replace(init=init, teacher=teacher, noise=noise)

    def auxiliary(self, params: PyTree, inputs: Array) -> Array:
        """Give the auxiliary logits."""
        return self.net.apply(params, inputs)[..., self.config.net.auxiliary_logits]


def front_door(seed: int) -> Door:
    """Train the teacher as `mnist_aux_logits.py` trains the one of its first member."""
    config, data = AuxLogitsConfig(members=2, seed=seed), load_images("mnist")
    net, key = mlp(config.net), aux_logits.member_keys(config)[0]
    init = trees.take(aux_logits.initialise(config), 0)
    fit = teaching(
        net,
        config.teacher_recipe(len(data.train_images)),
        class_logits=config.net.class_logits,
    )
    labelled = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    teacher = fit(init, labelled, key=rng.stream(key, "teacher order")).params
    rows = config.noise_images
    noise = uniform_noise(rng.stream(key, "noise"), rows=rows, features=config.net.inputs)
    return Door(config, net, key, init, teacher, noise)


def descend(
    door: Door,
    *,
    rate: float,
    watched: Sequence[int],
    scale: float = 1.0,
    linear: bool = False,
) -> list[PyTree]:
    """Train a student by gradient descent, every step over all carrier inputs of the member.

    Args:
        door: net and teacher, in the precision in which the student trains.
        rate: learning rate.
        watched: steps to look at, ascending.
        scale: of the teacher's displacement.
        linear: whether teacher and student are the linear model of the net at its initialisation.

    Returns:
        Displacements at the watched steps in units of the scale.
    """
    inputs = door.noise

    def apply(params: PyTree, init: PyTree, inputs: Array) -> Array:
        net = linearize.linearized(door.auxiliary, init) if linear else door.auxiliary
        return net(params, inputs)

    targets = jax.jit(apply)(moved(door.init, scale, door.way), door.init, inputs)

    @jax.jit
    def walk(params: PyTree, steps: Array, init: PyTree, inputs: Array, targets: Array) -> PyTree:
        def loss(params: PyTree) -> Array:
            return jnp.mean(losses.kl(apply(params, init, inputs), targets))

        def step(_: int, params: PyTree) -> PyTree:
            return moved(params, -rate, jax.grad(loss)(params))

        with jax.default_matmul_precision("highest"):
            return jax.lax.fori_loop(0, steps, step, params)

    found, params, at = [], door.init, 0
    for until in watched:
        params, at = walk(params, jnp.int32(until - at), door.init, inputs, targets), until
        found.append(jax.tree.map(lambda x: x / scale, trees.sub(params, door.init)))
    return found


def adam_student(door: Door, krylov: linearize.Krylov) -> tuple[tuple[int, ...], np.ndarray]:
    """Train the front door's student and look at it along a basis.

    Args:
        door: with all its carrier inputs.
        krylov: whose basis it is.

    Returns:
        Steps, and products ``[steps, depth]`` of the student's displacements with the basis.
    """
    config, steps = door.config, door.config.student_steps()[1:]

    def look(params: PyTree, init: PyTree, basis: PyTree) -> Array:
        way = trees.sub(params, init)
        return jax.vmap(lambda direction: trees.dot(direction, way))(basis)

    fit = imitation(
        door.net,
        config.student_recipe,
        outputs=config.net.auxiliary_logits,
        loss=config.loss,
        watch=Watch(steps, look, ("own", "own")),
    )
    targets = jax.jit(door.auxiliary)(door.teacher, door.noise)
    key = rng.stream(door.key, "student order")
    seen = fit(door.init, (door.noise, targets), (door.init, krylov.basis), key=key)
    return steps, np.asarray(seen.observations, np.float64)
