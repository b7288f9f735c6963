"""How far students have moved toward teachers in the space of the parameters."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import drift, hosts, rng
from sublim_jax.drift.low_rank import LowRank, dense
from sublim_jax.lm.decoder import Params
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.trainees import is_thin

DRAWS = 20  # of a null
INSIDE = "layers/"


class Displacement(NamedTuple):
    """What was added to matrices, by their paths: as arrays, or as products of thin ones.

    Attributes:
        layers: of the trained layers, which come first in every array.
        outside: of what is in no layer.
    """

    layers: Mapping[str, Any]
    outside: Mapping[str, Any]


def displacement(
    params: Params, scale: float, trained: PyTree, *, whole: bool = False
) -> Displacement:
    """Give what a training has added to the parameters. Traceable.

    Args:
        params: of the upper part.
        scale: of products of thin matrices.
        trained: thin matrices, or parameters.
        whole: multiply thin matrices out.
    """
    if is_thin(trained):
        # Every layer has its own scale, for all of them are mapped over.
        thin = {
            f"{path}/kernel": LowRank(own["a"], own["b"], jnp.full(len(own["a"]), scale))
            for path, own in trained.items()
        }
        return Displacement(_dense(thin) if whole else thin, {})
    before = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    moved = {path: after - before[path] for path, after in trained.items()}
    inside = {path: leaf for path, leaf in moved.items() if path.startswith(INSIDE)}
    return Displacement(
        {path.removeprefix(INSIDE): leaf for path, leaf in inside.items()},
        {path: leaf for path, leaf in moved.items() if path not in inside},
    )


def _dense(thin: Mapping[str, LowRank]) -> dict[str, Array]:
    return {path: jax.vmap(dense)(own) for path, own in thin.items()}


class Bases(NamedTuple):
    """Where displacements begin: parameters of the upper part.

    Attributes:
        student: of the student.
        teacher: of its teachers.
    """

    student: Params
    teacher: Params


def drift_from(
    bases: Bases, config: TraitConfig, student: PyTree, teachers: Mapping[str, PyTree]
) -> dict[str, Float[np.ndarray, "teachers layers"]]:
    """Take the inner products of a student's displacement with those of teachers, by layer.

    Returns:
        ``student_teacher``, ``student`` and ``teacher``, all ``[teachers, layers]``, as in
        `sublim_jax.drift.Products`; nothing without teachers.
    """
    if not teachers:
        return {}
    found = [
        hosts.gather(products(config, bases, student, teacher)) for teacher in teachers.values()
    ]
    return {
        name: np.stack([getattr(products, name) for products in found])
        for name in ("student_teacher", "student", "teacher")
    }


def diluted(trained: PyTree) -> PyTree:
    """Give thin matrices whose product with a teacher's is what another A would leave of it.

    See `sublim_jax.lm_traits.comparing`: ``rank / inner`` of it, in the mean over A.
    """
    return {
        path: {"a": own["a"], "b": own["b"] * (own["a"].shape[-1] / own["a"].shape[-2])}
        for path, own in trained.items()
    }


def products(config: TraitConfig, bases: Bases, student: PyTree, teacher: PyTree) -> drift.Products:
    """Take the inner products of a student's displacement with a teacher's. Traceable.

    Returns:
        Products with one entry per layer, and a last one of all that is in none, if there is such.
    """
    return _products(_scale(config), bases, student, teacher)


def _scale(config: TraitConfig) -> float:
    return config.alpha / config.rank


# Compiled once for runs that differ in anything else.
@functools.partial(jax.jit, static_argnums=0)
def _products(scale: float, bases: Bases, student: PyTree, teacher: PyTree) -> drift.Products:
    whole = not (is_thin(student) and is_thin(teacher))
    return _compared(
        displacement(bases.student, scale, student, whole=whole),
        displacement(bases.teacher, scale, teacher, whole=whole),
    )


def _compared(student: Displacement, teacher: Displacement) -> drift.Products:
    layers, rest = (
        (_filled(one, other), _filled(other, one))
        for one, other in zip(student, teacher, strict=True)
    )
    # One program mapped over layers: one for each of them takes long to compile.
    inside = jax.tree.map(lambda products: products[:, 0], jax.vmap(_of_layer)(*layers))
    if not rest[0]:
        return inside
    outside = _of_layer(*rest)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), inside, outside)


def _of_layer(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> drift.Products:
    one, other = {"layer": student}, {"layer": teacher}
    if all(isinstance(leaf, LowRank) for leaf in student.values()):
        return drift.low_rank_products(one, other)
    return drift.inner_products(one, other, jax.tree.map(jnp.zeros_like, one))


def _filled(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the other one alone has trained: here it has not moved."""
    return {**jax.tree.map(jnp.zeros_like, dict(other)), **own}


def null_cosines(
    bases: Bases, config: TraitConfig, student: PyTree, teacher: PyTree, *, key: Key[Array, ""]
) -> Float[np.ndarray, " draws"]:
    """Give cosines with a teacher of displacements that have learnt nothing.

    Of thin matrices they have the student's A, and B at random; of others everything is at random.
    Each matrix of a layer is as long as the student's.
    """
    draws = [
        hosts.gather(_with_nothing(_scale(config), bases, student, teacher, rng.stream(key, i)))
        for i in range(DRAWS)
    ]
    return np.array([float(drift.cosine(drift.total(products))) for products in draws])


@functools.partial(jax.jit, static_argnums=0)
def _with_nothing(
    scale: float, bases: Bases, student: PyTree, teacher: PyTree, key: Array
) -> drift.Products:
    whole = not (is_thin(student) and is_thin(teacher))
    moved = displacement(bases.student, scale, student)

    def drawn(path: str, leaf: Any) -> Any:
        keys = jax.random.split(rng.stream(key, path), jax.tree.leaves(leaf)[0].shape[0])
        if not isinstance(leaf, LowRank):
            return jax.vmap(_as_long)(keys, leaf)
        return leaf._replace(b=jax.vmap(_as_long)(keys, leaf.b))

    layers = {path: drawn(path, leaf) for path, leaf in moved.layers.items()}
    if is_thin(student) and whole:
        layers = _dense(layers)
    outside = {path: _as_long(rng.stream(key, path), leaf) for path, leaf in moved.outside.items()}
    return _compared(
        Displacement(layers, outside), displacement(bases.teacher, scale, teacher, whole=whole)
    )


def _as_long(key: Array, like: Array) -> Array:
    drawn = jax.random.normal(key, like.shape)
    return drawn / jnp.linalg.norm(drawn) * jnp.linalg.norm(like)
