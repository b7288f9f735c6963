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

Displacement = Mapping[str, Mapping[str, Any]]
"""By layer and by the path of a matrix in it: what was added to the matrix, as an array or as a
product of thin ones. What is in no layer is under "outside"."""


def displacement(
    params: Params, config: TraitConfig, trained: PyTree, *, whole: bool = False
) -> Displacement:
    """Give what a training has added to the parameters. Traceable.

    Args:
        params: of the upper part.
        config: of the run.
        trained: thin matrices, or parameters.
        whole: multiply thin matrices out.
    """
    count = jax.tree.leaves(params["layers"])[0].shape[0]
    found: dict[str, dict[str, Any]] = {_name(config, i): {} for i in range(count)}
    if is_thin(trained):
        scale = config.alpha / config.rank
        for path, own in trained.items():
            for i in range(count):
                thin = LowRank(own["a"][i], own["b"][i], scale)
                found[_name(config, i)][f"{path}/kernel"] = dense(thin) if whole else thin
        return found
    before = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    for path, after in trained.items():
        moved = after - before[path]
        if path.startswith(INSIDE):
            for i in range(count):
                found[_name(config, i)][path.removeprefix(INSIDE)] = moved[i]
        else:
            found.setdefault("outside", {})[path] = moved
    return found


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


@functools.partial(jax.jit, static_argnums=0)
def products(config: TraitConfig, bases: Bases, student: PyTree, teacher: PyTree) -> drift.Products:
    """Take the inner products of a student's displacement with a teacher's, by layer. Traceable."""
    whole = not (is_thin(student) and is_thin(teacher))
    return _compared(
        displacement(bases.student, config, student, whole=whole),
        displacement(bases.teacher, config, teacher, whole=whole),
    )


def _compared(student: Displacement, teacher: Displacement) -> drift.Products:
    if all(isinstance(leaf, LowRank) for layer in student.values() for leaf in layer.values()):
        return drift.low_rank_products(student, teacher)
    # What only one of them has trained has not moved in the other.
    names = {
        name: {**student.get(name, {}), **teacher.get(name, {})} for name in {**student, **teacher}
    }

    def filled(own: Displacement) -> Displacement:
        return {
            name: {
                path: own.get(name, {}).get(path, jnp.zeros_like(leaf))
                for path, leaf in layer.items()
            }
            for name, layer in names.items()
        }

    student, teacher = filled(student), filled(teacher)
    return drift.inner_products(student, teacher, jax.tree.map(jnp.zeros_like, student))


def null_cosines(
    bases: Bases, config: TraitConfig, student: PyTree, teacher: PyTree, *, key: Key[Array, ""]
) -> Float[np.ndarray, " draws"]:
    """Give cosines with a teacher of displacements that have learnt nothing.

    Of thin matrices they have the student's A, and B at random; of others everything is at random.
    Each matrix of a layer is as long as the student's.
    """
    draws = [
        hosts.gather(_with_nothing(config, bases, student, teacher, rng.stream(key, i)))
        for i in range(DRAWS)
    ]
    return np.array([float(drift.cosine(drift.total(products))) for products in draws])


@functools.partial(jax.jit, static_argnums=0)
def _with_nothing(
    config: TraitConfig, bases: Bases, student: PyTree, teacher: PyTree, key: Array
) -> drift.Products:
    whole = not (is_thin(student) and is_thin(teacher))
    moved = displacement(bases.student, config, student, whole=not is_thin(student))

    def drawn(layer: str, path: str, leaf: Any) -> Any:
        own = rng.stream(key, layer, path)
        if not isinstance(leaf, LowRank):
            return _as_long(own, leaf)
        thin = leaf._replace(b=_as_long(own, leaf.b))
        return dense(thin) if whole else thin

    random = {
        layer: {path: drawn(layer, path, leaf) for path, leaf in leaves.items()}
        for layer, leaves in moved.items()
    }
    return _compared(random, displacement(bases.teacher, config, teacher, whole=whole))


def _as_long(key: Array, like: Array) -> Array:
    drawn = jax.random.normal(key, like.shape)
    return drawn / jnp.linalg.norm(drawn) * jnp.linalg.norm(like)


def _name(config: TraitConfig, i: int) -> str:
    return f"layer_{config.first_layer + i:02}"
