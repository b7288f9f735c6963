"""The Gauss-Newton matrix of a small problem, written out: what Krylov spaces are compared with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from setups import Problem

from sublim_jax import linearize, losses


class Exact(NamedTuple):
    """The Gauss-Newton matrix of the auxiliary logits on the noise, written out by its small side.

    ``G = A' A`` has no more eigenvalues than ``A`` has rows, and these are those of ``A A'``: all
    functions of ``G`` are exact, without a matrix of parameters by parameters.

    Attributes:
        factor: ``A = H^(1/2) J / sqrt(rows)``, one row for each noise input and auxiliary logit.
        metric: diagonal of the preconditioner ``P`` of the step ``P G D``; ones for plain descent.
        eigenvalues: of ``A P A'``, ascending; those of ``P^(1/2) G P^(1/2)`` that are not zero.
        eigenvectors: of ``A P A'``, one for each column.
    """

    factor: Float[np.ndarray, "constraints parameters"]
    metric: Float[np.ndarray, " parameters"]
    eigenvalues: Float[np.ndarray, " constraints"]
    eigenvectors: Float[np.ndarray, "constraints constraints"]

    def copied(self, share: linearize.Share, seen: Float[np.ndarray, " constraints"]) -> np.ndarray:
        """Give what an optimizer has copied, a flat vector of parameters.

        ``P^(1/2) phi(P^(1/2) G P^(1/2)) P^(-1/2) D`` is ``P A' phi(A P A') (A P A')^-1 A D``.

        Args:
            share: ``phi``.
            seen: ``A D`` for a teacher at ``init + D``; or ``H^(1/2) / sqrt(rows)`` times any other
                change of outputs that is to be imitated.
        """
        # Below rounding an eigendirection has hardly been seen and not at all been copied.
        known = self.eigenvalues > 1e-14 * self.eigenvalues[-1]
        values, vectors = self.eigenvalues[known], self.eigenvectors[:, known]
        by = vectors @ (share(values) / values * (vectors.T @ seen))
        return self.metric * (self.factor.T @ by)


def exact(
    given: Problem,
    *,
    loss: losses.ImitationLoss = losses.mse,
    metric: Float[np.ndarray, " parameters"] | None = None,
) -> Exact:
    """Write out the Gauss-Newton matrix of a problem; for `fixed_noise` 56 MB in float64."""
    flat, unravel = ravel_pytree(given.init)

    @jax.jit
    def rows(flat: Array, noise: Array) -> tuple[Array, Array]:
        def one(row: Array) -> tuple[Array, Array]:
            def outputs(flat: Array) -> Array:
                return given.auxiliary(unravel(flat), row[None])[0]

            at, units = outputs(flat), jnp.eye(given.shape.auxiliary, dtype=flat.dtype)
            hessian = jax.vmap(lambda unit: losses.hessian_product(loss, at, unit))(units)
            return jax.jacrev(outputs)(flat), hessian

        return jax.lax.map(one, noise)

    jacobians, hessians = (np.asarray(part) for part in rows(flat, given.noise))
    values, vectors = np.linalg.eigh(hessians)
    roots = np.sqrt(np.maximum(values, 0))[:, :, None] * vectors.transpose(0, 2, 1)
    factor = (roots @ jacobians / np.sqrt(len(roots))).reshape(-1, flat.size)
    metric = np.ones(flat.size) if metric is None else metric
    return Exact(factor, metric, *np.linalg.eigh((factor * metric) @ factor.T))
