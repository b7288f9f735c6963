"""How much each carrier input moves a trait: scores of examples before any training."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError
from sublim_jax.linearize import Apply
from sublim_jax.rows import map_over_rows


def influence_scores(
    apply: Apply,
    init: PyTree,
    trait_gradient: PyTree,
    inputs: PyTree[Float[Array, "rows ..."]],
    targets: Array,
    *,
    loss: Callable[[Array, Array], Array],
    outputs: Any = slice(None),
    chunk: int | None = None,
) -> Float[Array, " rows"]:
    """Give for each row its share in the first change of a trait. Traceable.

    ``s_i = (J_i u) . r_i`` with ``u`` the gradient of the trait functional and ``r_i = -grad_z
    l(f_0, y_i)``: the product of ``u`` with the step on row ``i`` alone. The mean of ``s`` over any
    set of rows is the change of the functional by a first full step of gradient descent on these
    rows, for each unit of learning rate: negative where imitation lowers it, as a loss is lowered.
    One forward-mode pass along ``u``; neither gradients of single rows nor the teacher's parameters
    are needed.

    It is a statement about the first step. In long trainings on different rows the scores of single
    rows lose their meaning (`theory/influence.py`).

    Args:
        apply: the network.
        init: where the student starts.
        trait_gradient: ``u``, of the trait functional at ``init``; a tree like ``init``.
        inputs: carrier inputs, an array or tree of arrays with the rows in the first axis.
        targets: what the student imitates: for each row and position the teacher's chosen logits,
            or a label for a loss of labels, `cross_entropy` on sampled tokens for instance.
        loss: chosen logits and targets to a loss for each row and position.
        outputs: index of the last axis of the outputs: those that are imitated.
        chunk: rows at a time, to bound the memory; all at once by default.

    Returns:
        The scores, in units of the functional over units of learning rate; for a row of several
        positions the mean over these.

    Raises:
        InputError: there are no inputs, ``chunk`` is below 1, or ``targets`` fit neither the chosen
            outputs nor labels of these.

    References:
        Pruthi et al. 2020, Estimating training data influence by tracing gradient descent, arXiv
        2002.08484.
    """
    init = trees.wide(init)
    # A tangent has the type of its parameter.
    along = jax.tree.map(lambda p, u: jnp.asarray(u, p.dtype), init, trait_gradient)

    def chosen(params: PyTree, rows: PyTree) -> Array:
        return trees.wide(apply(params, rows)[..., outputs])

    found = jax.eval_shape(chosen, init, inputs).shape
    # Otherwise they might be spread over outputs or rows, without a word.
    if jnp.shape(targets) not in (found, found[:-1]):
        raise InputError(
            f"targets of shape {jnp.shape(targets)}; expected {found}, or {found[:-1]} for labels"
        )

    def scores(part: tuple[PyTree, Array]) -> Array:
        rows, wanted = part
        at_init, moved = jax.jvp(lambda p: chosen(p, rows), (init,), (along,))
        gradient = jax.grad(lambda z: jnp.sum(loss(z, wanted)))(at_init)
        inner = -jnp.sum(moved * gradient, axis=tuple(range(1, at_init.ndim)))
        return inner / math.prod(at_init.shape[1:-1])

    return map_over_rows(scores, (inputs, jnp.asarray(targets)), chunk=chunk)
