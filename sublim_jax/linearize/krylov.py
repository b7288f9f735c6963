"""Functions of a large symmetric matrix on one vector: what training copies, in closed form.

A linearised student of a quadratic loss moves by ``phi(G) D``, with ``G`` the Gauss-Newton matrix,
``D`` its teacher's displacement and ``phi`` the share of each eigendirection that the optimizer has
copied by then: ``1 - exp(-t lambda)`` for gradient flow. A few products with ``G`` give all of
these for any time and optimizer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree

from sublim_jax import trees
from sublim_jax.errors import InputError

Share = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]
"""Eigenvalues to the share of their directions that is copied."""


class Krylov(NamedTuple):
    """A symmetric matrix as one vector sees it; see `lanczos`.

    Attributes:
        basis: orthonormal, a tree like the vector with an axis ``[depth]`` before the others.
        eigenvalues: of the matrix in this basis (Ritz values), ascending, float64 on the host.
        eigenvectors: in the basis, one for each column.
        length: of the vector.
    """

    basis: PyTree[Float[Array, "depth ..."]]
    eigenvalues: Float[np.ndarray, " depth"]
    eigenvectors: Float[np.ndarray, "depth depth"]
    length: float

    @property
    def weights(self) -> Float[np.ndarray, " depth"]:
        """Shares of the vector's squared length in the eigendirections; they add up to 1."""
        return self.eigenvectors[0] ** 2

    def coordinates(self, function: Share) -> Float[np.ndarray, " depth"]:
        """Give ``phi(G) v`` in the basis."""
        filtered = function(self.eigenvalues) * self.eigenvectors[0]
        return self.length * (self.eigenvectors @ filtered)

    def apply(self, function: Share) -> PyTree:
        """Give ``phi(G) v`` as a tree like ``v``."""
        return _combined(self.basis, self.coordinates(function))

    def expectation(self, function: Share) -> float:
        """Give ``<v, phi(G) v> / <v, v>``: the projection coefficient if ``v`` is the teacher's.

        It needs no basis, and is twice as accurate in the depth as the vector (Gauss quadrature).
        """
        return float(self.weights @ function(self.eigenvalues))

    def along(self, direction: PyTree) -> Float[np.ndarray, " depth"]:
        """Give a direction's products with the basis: with `coordinates` its ``u' phi(G) v``."""
        return np.asarray(_products(self.basis, direction), np.float64)


def lanczos(product: Callable[..., PyTree], vector: PyTree, *given: PyTree, depth: int) -> Krylov:
    """Reduce a symmetric matrix to the space of ``v, G v, …, G^(depth - 1) v``.

    With full reorthogonalisation. For gradient flow to time ``t`` a depth of
    ``2 sqrt(t lambda_max)`` gave `Krylov.expectation` to seven digits and `Krylov.apply` to .3 %
    (`theory/lanczos.py`). The basis takes ``depth`` times the memory of the vector, and every part
    of it lies on the devices as the vector does.

    Args:
        product: ``(v, *given) -> G v``, traceable, of a symmetric matrix.
        vector: where it starts, a tree.
        given: arrays the product needs, parameters and inputs for instance: as arguments, they are
            not constants of the compiled program.
        depth: products that are taken; fewer, and the result is shallower and exact, where the
            space is exhausted before. With ``G v = 0`` a single one is.

    Raises:
        InputError: ``depth`` is not between 1 and the vector's entries, the vector is zero or not
            finite, or a product is not finite.

    References:
        Lanczos 1950, J. Res. Natl. Bur. Stand. 45. Golub and Meurant 2010, Matrices, Moments and
        Quadrature.
    """
    vector = trees.wide(vector)
    entries = sum(leaf.size for leaf in jax.tree.leaves(vector))
    if not 1 <= depth <= entries:
        raise InputError(f"depth is {depth}; expected at least 1 and at most {entries}")
    length = float(trees.norm(vector))
    if not 0 < length < float("inf"):
        raise InputError(f"vector has length {length}; expected one that is neither zero nor NaN")
    place = _placing(vector)

    @jax.jit
    def reduce(vector: PyTree, *given: PyTree) -> _Progress:
        with jax.default_matmul_precision("highest"):
            found = _tridiagonal(lambda v: product(v, *given), vector, depth, place)
            return found._replace(basis=place(found.basis))

    found = reduce(jax.tree.map(lambda v: v / length, vector), *given)
    basis, count = found.basis, int(found.taken)
    if count < depth:
        basis = jax.tree.map(lambda b: b[:count], basis)
    diagonal, beside = (np.asarray(part, np.float64)[:count] for part in found[1:3])
    if not np.isfinite([diagonal, beside]).all():
        raise InputError(f"product {count} is not finite; expected finite numbers")
    small = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    eigenvalues, eigenvectors = np.linalg.eigh(small)
    return Krylov(basis, eigenvalues, eigenvectors, length)


def gradient_flow(time: float) -> Share:
    """Share copied by gradient flow, ``1 - exp(-t lambda)``."""
    return lambda eigenvalues: -np.expm1(-time * eigenvalues)


def gradient_descent(rate: float, steps: int) -> Share:
    """Share copied by gradient descent, ``1 - (1 - rate lambda)^steps``."""
    return lambda eigenvalues: 1 - (1 - rate * eigenvalues) ** steps


def momentum(rate: float, steps: int, decay: float) -> Share:
    """Share copied by the heavy ball of `optax.sgd`, with ``m <- g + decay m``.

    It may exceed 1 or fall below 0 on the way, also where it is stable.
    """

    def share(eigenvalues: np.ndarray) -> np.ndarray:
        left, trace = np.ones_like(eigenvalues), np.zeros_like(eigenvalues)
        for _ in range(steps):
            trace = eigenvalues * left + decay * trace
            left = left - rate * trace
        return 1 - left

    return share


def ridge(penalty: float) -> Share:
    """Share copied where ``penalty / 2`` times the squared way from the start is added to the loss.

    ``lambda / (lambda + penalty)``, after training to convergence (L2-SP).

    Raises:
        InputError: ``penalty`` is not positive.
    """
    if not penalty > 0:
        raise InputError(f"penalty is {penalty}; expected a positive number")
    return lambda eigenvalues: eigenvalues / (eigenvalues + penalty)


class _Progress(NamedTuple):
    """A reduction on its way: basis, tridiagonal matrix, and what comes next.

    Attributes:
        basis: with zeros where nothing is yet.
        diagonal: of the matrix in the basis.
        beside: its other entries: lengths of what each product adds to the basis.
        taken: products so far, and the part of the basis that there is.
        ahead: the next vector of the basis.
        scale: length of the longest product.
        more: whether there is a next one.
    """

    basis: PyTree
    diagonal: Float[Array, " depth"]
    beside: Float[Array, " depth"]
    taken: Int[Array, ""]
    ahead: PyTree
    scale: Float[Array, ""]
    more: Bool[Array, ""]


def _tridiagonal(
    product: Callable[[PyTree], PyTree],
    unit: PyTree,
    depth: int,
    place: Callable[[PyTree], PyTree],
) -> _Progress:
    """Take the steps of Lanczos on trees: none is ever flattened, which would gather its shards."""
    rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(unit))

    def step(now: _Progress) -> _Progress:
        at = now.taken
        basis = place(jax.tree.map(lambda b, q: b.at[at].set(q), now.basis, now.ahead))
        image = jax.tree.map(lambda q, w: jnp.asarray(w, q.dtype), unit, product(now.ahead))
        scale = jnp.maximum(now.scale, trees.norm(image))
        # Twice is enough (Parlett 1998, section 6.9), unless all that is left is rounding.
        left = image
        for _ in range(2):
            left = trees.sub(left, _combined(basis, _products(basis, left)))
        length = trees.norm(left)
        more = length > 10 * rounding * scale
        by = jnp.where(more, length, 1)
        return _Progress(
            basis,
            now.diagonal.at[at].set(trees.dot(now.ahead, image)),
            now.beside.at[at].set(length),
            at + 1,
            jax.tree.map(lambda x: x / jnp.asarray(by, x.dtype), left),
            scale,
            more,
        )

    zeros = place(jax.tree.map(lambda q: jnp.zeros((depth, *q.shape), q.dtype), unit))
    none = jnp.zeros_like(trees.norm(unit))
    row = jnp.zeros(depth, none.dtype)
    start = _Progress(zeros, row, row, jnp.asarray(0), unit, none, jnp.asarray(True))
    return jax.lax.while_loop(lambda now: now.more & (now.taken < depth), step, start)


def _products(basis: PyTree, vector: PyTree) -> Float[Array, " depth"]:
    """Take the inner products of the basis with a vector."""
    return jax.vmap(lambda one: trees.dot(one, vector))(basis)


def _combined(basis: PyTree, by: Any) -> PyTree:
    """Add up multiples of the basis."""
    return jax.tree.map(
        # In this order the basis is read as it lies: the other one transposes a copy of it.
        lambda b: jnp.tensordot(jnp.asarray(by, b.dtype), b, 1, precision="highest"),
        basis,
    )


def _placing(like: PyTree) -> Callable[[PyTree], PyTree]:
    """Make what lays copies of a tree, one on top of the other, on the devices as it lies itself.

    Args:
        like: concrete arrays; only how they are sharded is kept.
    """

    def place(copies: Array, lies: Any) -> Array:
        if not isinstance(lies, NamedSharding):
            return copies
        stacked = NamedSharding(lies.mesh, PartitionSpec(None, *lies.spec))
        return jax.lax.with_sharding_constraint(copies, stacked)

    lie = jax.tree.map(lambda leaf: leaf.sharding, like)
    return lambda basis: jax.tree.map(place, basis, lie)
