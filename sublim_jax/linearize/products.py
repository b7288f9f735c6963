"""Products with the Jacobian, the Gauss-Newton matrix and the tangent kernel of a network.

Where parameters are sharded, compile a product with their shardings as ``out_shardings``: its
result then lies on the devices as they do, and what travels are activations.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.losses import ImitationLoss, hessian_product
from sublim_jax.rows import map_over_rows, mean_over_rows

Apply = Callable[[PyTree, PyTree], Float[Array, "rows *positions outputs"]]
"""Parameters and inputs to outputs, the outputs of a row in the last axis."""


def jacobian_product(
    apply: Apply,
    init: PyTree,
    direction: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> Float[Array, "rows *positions chosen"]:
    """Multiply the Jacobian of the chosen outputs with a direction, ``J v``. Traceable.

    Args:
        apply: the network.
        init: parameters at which it is linearised.
        direction: a tree like ``init``.
        inputs: array or tree of arrays with the rows in the first axis.
        outputs: index of the last axis of the outputs, a slice or whole numbers.
        chunk: rows at a time, to bound the memory; all at once by default.

    Raises:
        InputError: there are no inputs, or ``chunk`` is below 1.
    """
    init, direction = _tangent(init, direction)

    def product(rows: PyTree) -> Array:
        return jax.jvp(_chosen(apply, rows, outputs), (init,), (direction,))[1]

    return map_over_rows(product, inputs, chunk=chunk)


def transposed_product(
    apply: Apply,
    init: PyTree,
    weights: Float[Array, "rows *positions chosen"],
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> PyTree:
    """Multiply the transposed Jacobian with weights on the outputs and average, ``E_x J' w``.

    With ``w = -dl/df`` it is the step of gradient descent on the mean of a loss. Traceable.

    Args:
        apply: the network.
        init: parameters at which it is linearised.
        weights: of each chosen output of each row.
        inputs: array or tree of arrays with the rows in the first axis.
        outputs: index of the last axis of the outputs.
        chunk: rows at a time.

    Returns:
        A tree like ``init``: the mean over rows and positions.

    Raises:
        InputError: there are no inputs, ``chunk`` is below 1, or ``weights`` are not those of the
            chosen outputs.
    """
    init = trees.wide(init)

    def sums(part: tuple[PyTree, Array]) -> PyTree:
        rows, given = part
        at_init, pull = jax.vjp(_chosen(apply, rows, outputs), init)
        if given.shape != at_init.shape:
            raise InputError(
                f"weights of a row have shape {given.shape[1:]}; expected {at_init.shape[1:]}, as "
                "its chosen outputs"
            )
        return pull(jnp.asarray(given, at_init.dtype) / _positions(at_init))[0]

    return mean_over_rows(sums, (inputs, weights), chunk=chunk)


def gauss_newton_product(
    apply: Apply,
    init: PyTree,
    direction: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    *,
    loss: ImitationLoss,
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> PyTree:
    """Multiply the Gauss-Newton matrix of an imitation loss with a direction.

    ``G v = E_x J' H J v``, with ``H`` the Hessian of the loss in the outputs, where student and
    teacher agree. A first full step of imitation from a teacher at ``init + D`` is the learning
    rate times ``G D``, to first order in ``D``. Symmetric and never negative. Traceable.

    Args:
        apply: the network.
        init: parameters at which it is linearised.
        direction: a tree like ``init``.
        inputs: array or tree of arrays with the rows in the first axis.
        loss: any imitation loss of `sublim_jax.losses`, or another one with its minimum where its
            two arguments agree.
        outputs: index of the last axis of the outputs: those that are imitated.
        chunk: rows at a time; the network is linearised inside a chunk.

    Returns:
        A tree like ``init``: the mean over rows and positions.

    Raises:
        InputError: there are no inputs, or ``chunk`` is below 1.

    References:
        Schraudolph 2002, Fast curvature matrix-vector products. Martens 2020, arXiv 1412.1193.
    """
    init, direction = _tangent(init, direction)

    def sums(rows: PyTree) -> PyTree:
        # One forward pass for both; jvp and vjp take two where a network loops over its layers.
        at_init, push = jax.linearize(_chosen(apply, rows, outputs), init)
        pull = jax.linear_transpose(push, init)
        return pull(hessian_product(loss, at_init, push(direction)) / _positions(at_init))[0]

    return mean_over_rows(sums, inputs, chunk=chunk)


def tangent_kernel(
    apply: Apply,
    init: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    others: PyTree[Float[Array, "others ..."]] | None = None,
    *,
    outputs: Any = slice(None),
) -> Float[Array, "rows chosen others chosen"]:
    """Give the neural tangent kernel of small sets of inputs, ``J(x) J(x')'``. Traceable.

    Columns are products ``J (J' e)``: the memory is that of ``others * chosen`` gradients.

    Args:
        apply: the network; outputs ``[rows, outputs]``.
        init: parameters at which it is linearised.
        inputs: array or tree of arrays with the rows in the first axis.
        others: the second set of inputs; by default the same.
        outputs: index of the last axis of the outputs.

    Raises:
        InputError: a row has several positions.

    References:
        Jacot et al. 2018, arXiv 1806.07572.
    """
    init = trees.wide(init)
    others = inputs if others is None else others
    with jax.default_matmul_precision("highest"):
        at_init, pull = jax.vjp(_chosen(apply, others, outputs), init)
        if at_init.ndim != 2:
            raise InputError(f"outputs of shape {at_init.shape}; expected rows and outputs alone")
        push = jax.linearize(_chosen(apply, inputs, outputs), init)[1]
        units = jnp.eye(at_init.size, dtype=at_init.dtype).reshape(-1, *at_init.shape)
        columns = jax.lax.map(lambda unit: push(pull(unit)[0]), units)
    return jnp.moveaxis(columns, 0, -1).reshape(*columns.shape[1:], *at_init.shape)


def linearized(apply: Apply, init: PyTree) -> Apply:
    """Make the linear model of a network, ``f(theta_0) + J (theta - theta_0)``.

    It is a network as any other: trained by the same loss, optimizer and batches it is the
    linearised student, whose outputs, not those of the network at its parameters, are what theory
    speaks of.

    Args:
        apply: the network.
        init: parameters at which it is linearised, and from which the linear model's are counted.

    References:
        Lee et al. 2019, arXiv 1902.06720.
    """

    def linear(params: PyTree, inputs: PyTree) -> Array:
        # Subtracted before it is rounded to the type of the initialisation.
        there, way = _tangent(init, trees.sub(trees.wide(params), trees.wide(init)))
        at_init, moved = jax.jvp(lambda p: apply(p, inputs), (there,), (way,))
        return at_init + moved

    return linear


def _chosen(apply: Apply, rows: PyTree, outputs: Any) -> Callable[[PyTree], Array]:
    """Give the chosen outputs as a function of the parameters.

    Sliced inside, so that a backward pass skips the others.
    """
    return lambda params: trees.wide(apply(params, rows)[..., outputs])


def _tangent(init: PyTree, direction: PyTree) -> tuple[PyTree, PyTree]:
    """Widen parameters, and give the direction their types: a tangent has that of its parameter."""
    init = trees.wide(init)
    return init, jax.tree.map(lambda p, d: jnp.asarray(d, p.dtype), init, direction)


def _positions(values: Array) -> int:
    return math.prod(values.shape[1:-1])
