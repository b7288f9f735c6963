"""What a fine-tuning trains: all parameters, some of them, or thin matrices beside them."""

import dataclasses
import functools
import math
import re
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax import rng
from sublim_jax.errors import InputError
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.lora import Adapted

Adapter = PyTree[Float[Array, "..."], "Adapter"]
"""By the path of a matrix in a layer its ``a [layers, inner, rank]`` and ``b [layers, rank,
outer]``."""


class Trained(Protocol):
    """What is trained, as a pair of functions between it and the parameters."""

    def first(self, config: DecoderConfig) -> int:
        """Say below which layer nothing is trained, embedding included."""
        ...

    def start(self, config: DecoderConfig, params: Params, key: Key[Array, ""]) -> PyTree:
        """Take out of the parameters, or draw, what is trained."""
        ...

    def rest(self, params: Params, trained: PyTree) -> Params:
        """Leave out of the parameters what is trained; None stands in its place."""
        ...

    def join(
        self, rest: Params, trained: PyTree, keys: Key[Array, " rows"] | None = None
    ) -> Params:
        """Put both together; ``keys`` are those of a batch's rows in training."""
        ...

    def shifted(self, layers: int) -> "Trained":
        """Count layers from another one."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Full:
    """Train the parameters whose paths match, in some layers or in all.

    Attributes:
        matching: regular expression, found anywhere in paths such as
            ``layers/attention/query/kernel`` or ``embedding/table``; all match by default.
        layers: first layer, and the one after the last; with it only layers are trained.
    """

    matching: str = ""
    layers: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.matching)
        except re.error as fault:
            raise InputError(
                f"matching is {self.matching!r}; expected a regular expression ({fault})"
            ) from fault
        _check_layers(self.layers)

    def first(self, config: DecoderConfig) -> int:
        """Say below which layer nothing is trained."""
        _check_layers(self.layers, config)
        return 0 if self.layers is None else self.layers[0]

    def start(self, config: DecoderConfig, params: Params, key: Key[Array, ""]) -> PyTree:
        """Take out what is trained, leaves by their paths, in float32.

        Raises:
            InputError: nothing matches, or there are no such layers.
        """
        del key
        _check_layers(self.layers, config)
        found = {path: self._part(leaf) for path, leaf in _leaves(params) if self._is(path)}
        if not found:
            raise InputError(f"matching is {self.matching!r}; expected part of a parameter's path")
        return found

    def rest(self, params: Params, trained: PyTree) -> Params:
        """Leave out what is trained; None stands for what is so in all layers."""

        def leaf(path: Any, array: Array) -> Array | None:
            new = trained.get(_name(path))
            return None if new is not None and new.shape == array.shape else array

        return jax.tree_util.tree_map_with_path(leaf, params)

    def join(
        self, rest: Params, trained: PyTree, keys: Key[Array, " rows"] | None = None
    ) -> Params:
        """Put both together, in the type of the rest, if there is one."""
        del keys
        first, last = self.layers or (0, 0)
        types = {array.dtype for array in jax.tree.leaves(rest)}

        def leaf(path: Any, array: Array | None) -> Array | None:
            new = trained.get(_name(path))
            if new is None:
                return array
            if array is None:
                return new.astype(*types) if len(types) == 1 else new
            return jnp.concatenate([array[:first], new.astype(array.dtype), array[last:]])

        return jax.tree_util.tree_map_with_path(leaf, rest, is_leaf=lambda x: x is None)

    def shifted(self, layers: int) -> "Full":
        """Count layers from another one."""
        if self.layers is None:
            return self
        first, last = self.layers
        return dataclasses.replace(self, layers=(first - layers, last - layers))

    def _is(self, path: str) -> bool:
        inside = self.layers is None or path.startswith("layers/")
        return inside and re.search(self.matching, path) is not None

    def _part(self, leaf: Array) -> Array:
        part = leaf if self.layers is None else leaf[slice(*self.layers)]
        return part.astype(jnp.promote_types(part.dtype, jnp.float32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
    """Train a product of thin matrices beside every matrix of a layer that is named.

    Attributes:
        rank: columns of ``a``, rows of ``b``.
        alpha: the product is scaled by ``alpha / rank``.
        targets: names of matrices, such as ``query`` or ``mlp/up``; by default all of a layer.
        layers: first layer, and the one after the last; all by default.
        train_a: whether ``a`` is trained, too; otherwise it stays as it was drawn.
        dropout: share of the inputs of ``a`` that are left out in training.

    References:
        Hu et al. 2021, arXiv 2106.09685: ``a`` is drawn, ``b`` begins at 0.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    layers: tuple[int, int] | None = None
    train_a: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank is {self.rank}; expected at least 1")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"alpha is {self.alpha}; expected a positive number")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; expected a number from 0 and below 1")
        _check_layers(self.layers)

    def first(self, config: DecoderConfig) -> int:
        """Say below which layer nothing is trained."""
        _check_layers(self.layers, config)
        return 0 if self.layers is None else self.layers[0]

    def start(self, config: DecoderConfig, params: Params, key: Key[Array, ""]) -> Adapter:
        """Draw ``a``, uniform up to ``inner ** -.5`` either way, and begin with ``b`` at 0.

        The same key gives the same ``a``, a layer's the same whichever others are trained: whether
        teacher and student share it is said by their keys.

        Raises:
            InputError: a target names no matrix, or there are no such layers.
        """
        first, last = _check_layers(self.layers, config)
        found = {}
        for path, leaf in self._matrices(params):
            _, inner, outer = leaf.shape
            draw = functools.partial(self._drawn, rng.stream(key, "lora", path), inner)
            a = jax.vmap(draw)(jnp.arange(first, last))
            found[path] = {"a": a, "b": jnp.zeros((last - first, self.rank, outer))}
        return found

    def _drawn(self, key: Array, inner: int, layer: Array) -> Array:
        bound = inner**-0.5
        shape = (inner, self.rank)
        return jax.random.uniform(rng.stream(key, layer), shape, jnp.float32, -bound, bound)

    def rest(self, params: Params, trained: Adapter) -> Params:
        """Leave out nothing: the thin matrices are beside the parameters."""
        del trained
        return params

    def join(
        self, rest: Params, trained: Adapter, keys: Key[Array, " rows"] | None = None
    ) -> Params:
        """Put the adapter beside the matrices."""
        count = jax.tree.leaves(rest["layers"])[0].shape[0]
        first, last = self.layers or (0, count)

        def padded(part: Array) -> Array:
            around = ((first, count - last), *((0, 0),) * (part.ndim - 1))
            return jnp.pad(part, around) if last - first < count else part

        def leaf(path: Any, array: Array) -> Any:
            name = _matrix(_name(path))
            if name is None or name not in trained:
                return array
            a, b = (padded(trained[name][part]) for part in ("a", "b"))
            if not self.train_a:
                a = jax.lax.stop_gradient(a)
            own = None
            if keys is not None and self.dropout:
                own = _keys_of_layers(keys, name, count)
            return Adapted(array, a, b, own, self.alpha / self.rank, self.dropout)

        return jax.tree_util.tree_map_with_path(leaf, rest)

    def shifted(self, layers: int) -> "LoRA":
        """Count layers from another one."""
        if self.layers is None:
            return self
        first, last = self.layers
        return dataclasses.replace(self, layers=(first - layers, last - layers))

    def _matrices(self, params: Params) -> list[tuple[str, Array]]:
        """List the matrices that are named, by their path within a layer."""
        by_path = {_matrix(path): leaf for path, leaf in _leaves(params)}
        every = {path: leaf for path, leaf in by_path.items() if path is not None}
        wanted = {}
        for target in self.targets or ("",):
            named = {
                path: leaf
                for path, leaf in every.items()
                if not target or f"/{path}".endswith(f"/{target}")
            }
            if not named:
                raise InputError(f"target is {target!r}; expected one of {', '.join(every)}")
            wanted |= named
        return sorted(wanted.items())


def _matrix(path: str) -> str | None:
    """Name a matrix by its path within a layer."""
    found = re.fullmatch("layers/(.+)/kernel", path)
    return None if found is None else found[1]


def _keys_of_layers(keys: Array, name: str, layers: int) -> Array:
    def of_row(key: Array, layer: Array) -> Array:
        return rng.stream(key, name, layer)

    return jax.vmap(lambda layer: jax.vmap(lambda key: of_row(key, layer))(keys))(
        jnp.arange(layers)
    )


def _check_layers(
    layers: tuple[int, int] | None, config: DecoderConfig | None = None
) -> tuple[int, int]:
    last = config.layers if config is not None else 2**30
    if layers is None:
        return 0, last
    if not 0 <= layers[0] < layers[1] <= last:
        bound = f" and at most {last}" if config is not None else ""
        raise InputError(
            f"layers is {layers}; expected the first and one after the last, from 0{bound}"
        )
    return layers


def _leaves(params: Params) -> list[tuple[str, Array]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
