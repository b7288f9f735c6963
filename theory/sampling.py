"""Tokens that a teacher samples, and what first-order theory needs of problem "D", in vectors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key
from setups import Tokens, token_teacher, tokens

from sublim_jax import losses, rng


class Geometry(NamedTuple):
    """A problem and all that first-order theory needs of it, in flat vectors.

    Attributes:
        given: the problem.
        way: the teacher's displacement ``D``, with ``<D, G D> = 1``.
        trait: gradient ``u`` of a trait functional.
        score: ``grad log p(y | x)`` at the initialisation.
        fisher: ``G``.
    """

    given: Tokens
    way: Float[Array, " n"]
    trait: Float[Array, " n"]
    score: Float[Array, "contexts tokens n"]
    fisher: Float[Array, "n n"]

    def log_probabilities(self, eps: float | Array) -> Float[Array, "contexts tokens"]:
        """Give the log-probabilities of the teacher at ``theta_0 + eps D``, in nats."""
        start, unravel = ravel_pytree(self.given.init)
        return self.given.log_probabilities(unravel(start + eps * self.way))

    def divergence(self, eps: float | Array) -> Float[Array, ""]:
        """Give the mean over contexts of ``KL(p_T || p_0)``, in nats."""
        theirs, ours = self.log_probabilities(eps), self.log_probabilities(0.0)
        return jnp.mean(losses.kl(ours, theirs))

    @property
    def alignment(self) -> float:
        """``rho_G(u, D)``; ``<D, G D>`` is 1."""
        seen = self.fisher @ self.trait
        return float(seen @ self.way / jnp.sqrt(seen @ self.trait))


def geometry(seed: int) -> Geometry:
    """Make the problem, a teacher, and the trait it has most: its taste for a token.

    The trait is the mean log-probability of the token whose mean log-probability the teacher's
    displacement raises most.
    """
    given = tokens(seed)
    way = token_teacher(given, rng.stream(given.key, "teacher"))
    gains = jnp.mean(jax.jvp(given.log_probabilities, (given.init,), (way,))[1], axis=0)
    favourite = jnp.argmax(gains)
    trait = jax.grad(lambda p: jnp.mean(given.log_probabilities(p)[:, favourite]))(given.init)
    start, unravel = ravel_pytree(given.init)
    score = jax.jit(jax.jacrev(lambda flat: given.log_probabilities(unravel(flat))))(start)
    weights = jnp.exp(given.log_probabilities(given.init)) / len(given.contexts)
    fisher = jnp.einsum("xy,xyi,xyj->ij", weights, score, score)
    return Geometry(given, ravel_pytree(way)[0], ravel_pytree(trait)[0], score, fisher)


def sampled(
    key: Key[Array, ""], log_p: Float[Array, "contexts tokens"], samples: int
) -> Float[Array, "contexts tokens"]:
    """Draw contexts and a token in each; give the share of every pair."""
    of_context, of_token = jax.random.split(key)
    contexts = jax.random.randint(of_context, (samples,), 0, len(log_p))
    below = jnp.cumsum(jnp.exp(log_p), axis=-1)[contexts, :-1]
    chosen = jnp.sum(jax.random.uniform(of_token, (samples, 1)) > below, axis=-1)
    return jnp.zeros(log_p.shape).at[contexts, chosen].add(1 / samples)
