"""How far students have moved toward teachers in the space of merged thin matrices."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sublim_jax import drift, hosts, rng
from sublim_jax.drift.low_rank import LowRank
from sublim_jax.lm.trained import Adapter
from sublim_jax.lm_numbers.config import NumbersConfig

DRAWS = 20  # of a null


def by_layer(config: NumbersConfig, adapter: Adapter) -> dict[str, dict[str, LowRank]]:
    """Arrange thin matrices by layer: displacements as `sublim_jax.drift` takes them."""
    scale = config.alpha / config.rank
    count = jax.tree.leaves(adapter)[0].shape[0]
    return {
        f"layer_{config.first_layer + i:02}": {
            name: LowRank(own["a"][i], own["b"][i], scale) for name, own in adapter.items()
        }
        for i in range(count)
    }


def drift_from(
    config: NumbersConfig, student: Adapter, teachers: Mapping[str, Adapter]
) -> dict[str, Float[np.ndarray, "teachers layers"]]:
    """Take the inner products of a student's displacement with those of teachers, by layer.

    Returns:
        ``student_teacher``, ``student`` and ``teacher``, all ``[teachers, layers]``, as in
        `sublim_jax.drift.Products`; nothing without teachers.
    """
    if not teachers:
        return {}
    found = [hosts.gather(_products(config, student, teacher)) for teacher in teachers.values()]
    return {
        name: np.stack([getattr(products, name) for products in found])
        for name in ("student_teacher", "student", "teacher")
    }


@functools.partial(jax.jit, static_argnums=0)
def _products(config: NumbersConfig, student: Adapter, teacher: Adapter) -> drift.Products:
    return drift.low_rank_products(by_layer(config, student), by_layer(config, teacher))


def null_cosines(
    config: NumbersConfig, student: Adapter, teacher: Adapter, *, key: Key[Array, ""]
) -> Float[np.ndarray, " draws"]:
    """Give cosines with a teacher of displacements that have learnt nothing.

    They have the student's A, and B at random, of the length that the student's has in every layer.
    """

    def drawn(key: Array) -> Adapter:
        def b(name: str, like: Array) -> Array:
            return _as_long(jax.random.normal(rng.stream(key, name), like.shape), like)

        return {name: own | {"b": b(name, own["b"])} for name, own in student.items()}

    draws = [_products(config, drawn(rng.stream(key, i)), teacher) for i in range(DRAWS)]
    return np.array([float(drift.cosine(drift.total(hosts.gather(p)))) for p in draws])


def _as_long(drawn: Array, like: Array) -> Array:
    def lengths(array: Array) -> Array:
        return jnp.linalg.norm(array, axis=(1, 2), keepdims=True)

    return drawn / lengths(drawn) * lengths(like)
