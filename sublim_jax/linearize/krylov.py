"""Functions of a large symmetric matrix on one vector: what training copies, in closed form.

A linearised student of a quadratic loss moves by ``phi(G) D``, with ``G`` the Gauss-Newton matrix,
``D`` its teacher's displacement and ``phi`` the share of each eigendirection that the optimizer has
copied by then: ``1 - exp(-t lambda)`` for gradient flow. A few products with ``G`` give all of
these for any time and optimizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from matfree import decomp

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
        by = self.coordinates(function)
        return jax.tree.map(
            lambda b: jnp.einsum(
                "k...,k->...", b, jnp.asarray(by, b.dtype), precision=jax.lax.Precision.HIGHEST
            ),
            self.basis,
        )

    def expectation(self, function: Share) -> float:
        """Give ``<v, phi(G) v> / <v, v>``: the projection coefficient if ``v`` is the teacher's.

        It needs no basis, and is twice as accurate in the depth as the vector (Gauss quadrature).
        """
        return float(self.weights @ function(self.eigenvalues))

    def along(self, direction: PyTree) -> Float[np.ndarray, " depth"]:
        """Give a direction's products with the basis: with `coordinates` its ``u' phi(G) v``."""
        return np.asarray(
            jax.vmap(lambda vector: trees.dot(vector, direction))(self.basis), np.float64
        )


def lanczos(product: Callable[..., PyTree], vector: PyTree, *given: PyTree, depth: int) -> Krylov:
    """Reduce a symmetric matrix to the space of ``v, G v, …, G^(depth - 1) v``.

    With full reorthogonalisation. Depth ``1.3 sqrt(t lambda_max)`` was enough for five digits of
    gradient flow to time ``t``. The basis takes ``depth`` times the memory of the vector.

    Args:
        product: ``(v, *given) -> G v``, traceable, of a symmetric matrix.
        vector: where it starts, a tree.
        given: arrays the product needs, parameters and inputs for instance: as arguments, they are
            not constants of the compiled program.
        depth: products that are taken.

    Raises:
        InputError: ``depth`` is not between 1 and the vector's entries, or the vector is zero or
            not finite.

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

    @jax.jit
    def reduce(vector: PyTree, *given: PyTree) -> tuple[PyTree, Array]:
        with jax.default_matmul_precision("highest"):
            found = decomp.tridiag_sym(depth, custom_vjp=False)(product, vector, *given)
        return found.Q_tall, found.J_small

    basis, small = reduce(vector, *given)
    small = np.asarray(small, np.float64)
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
    """
    return lambda eigenvalues: eigenvalues / (eigenvalues + penalty)
