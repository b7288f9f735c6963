"""Fine-tuning of a decoder on texts: hard tokens of completions, or a teacher's distribution.

It runs on the engine of `sublim_jax.training`: one compiled loop over steps, on one device, a mesh
or by pmap, with checkpoints, progress and metrics.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, precomputed, targets, token_losses
from sublim_jax.lm.chat import Row
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed, pack
from sublim_jax.lm.precomputed import picked
from sublim_jax.lm.projected import Projected
from sublim_jax.lm.targets import Beside, Teacher, Told
from sublim_jax.lm.trained import LoRA, Trained
from sublim_jax.training import (
    QUIET,
    UNWATCHED,
    Attached,
    FitFunction,
    Parallel,
    Recipe,
    Watch,
    make_fit,
    one_device,
)

LORA = LoRA()
GENTLE = Recipe(learning_rate=2e-4, epochs=3, batch_size=16, warmup=5, decay="linear", clip=1.0)
"""The optimisation of Cloud, Le et al. 2025 for open models, but shorter (10 epochs there)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computing:
    """How a step is computed; it changes no result but for rounding.

    Attributes:
        chunk: tokens whose logits are held at a time; those of all by default.
        remat: compute the inside of every layer again for its gradient instead of keeping it.
        accumulate: parts into which a batch is cut, one after another.
        dtype: in which layers are computed, ``"float32"`` or ``"bfloat16"``; what is trained is
            kept in float32. By default that of the frozen parameters.
        unroll: layers one by one rather than in a scan: faster on a CPU, longer to compile. By
            default on a CPU.
    """

    chunk: int | None = None
    remat: bool = False
    accumulate: int = 1
    dtype: str | None = None
    unroll: bool | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise InputError(f"chunk is {self.chunk}; expected at least 1")
        if self.dtype not in (None, "float32", "bfloat16"):
            raise InputError(f"dtype is {self.dtype!r}; expected float32 or bfloat16")


PLAIN = Computing()


class Tuned(NamedTuple):
    """A finished fine-tuning.

    Attributes:
        params: the parameters; with LoRA those of the base beside thin matrices, which everything
            in this package takes. `merge` makes plain ones of them.
        trained: what was trained alone.
        losses: mean of each step's batch, before the step, in nats a token.
        observations: what a watch has seen, in terms of ``trained``.
    """

    params: Params
    trained: PyTree
    losses: Float[Array, " steps"]
    observations: PyTree


def finetune(
    config: DecoderConfig,
    params: Params,
    rows: Sequence[Row] | Packed,
    *,
    train: Trained = LORA,
    recipe: Recipe = GENTLE,
    teacher: Teacher | Told | None = None,
    only: Sequence[int] | None = None,
    beside: Beside | None = None,
    start: PyTree | None = None,
    length: int | None = None,
    together: bool = True,
    computing: Computing = PLAIN,
    watch: Watch = UNWATCHED,
    parallel: Parallel | None = None,
    attached: Attached = QUIET,
    name: str = "fine-tuning",
    key: Key[Array, ""],
) -> Tuned:
    """Fine-tune a decoder.

    Args:
        config: its shape.
        params: its parameters, layers stacked.
        rows: texts, and which of their tokens are learned; see `sublim_jax.lm.row`. Rows that
            are packed already may have a residual stream for tokens, where the decoder is the upper
            part of another one.
        train: what is trained.
        recipe: optimizer and length. A batch counts packed rows, its mean weighs tokens alike.
        teacher: whose distribution is learned at these tokens; by default the tokens are.
        only: words over which every softmax is taken, a teacher's too; by default the vocabulary.
        beside: a distribution over other words that is learned, too; the losses hold it.
        start: where what is trained begins, as from ``train.start``; drawn by default.
        length: of packed rows, in tokens; that of the longest text by default. As `together`, it
            says nothing of rows that are packed already.
        together: whether several texts share a row, without seeing each other.
        computing: how a step is computed.
        watch: what to observe of what is trained, and when.
        parallel: how the training is spread over devices; by default it runs on one.
        attached: checkpoints, progress and metrics.
        name: of the training in them.
        key: the source of the order of rows, of dropout and of what is drawn.

    Raises:
        InputError: a text is too long or has no completion, or a layer, a matrix or a word that is
            named is not there.
    """
    _check(config, train, recipe, only)
    if beside is not None:
        _check(config, train, recipe, beside.only)
    packed = rows
    if not isinstance(packed, Packed):
        packed = pack(packed, length=length, together=together)
    if only is not None and teacher is None:
        packed = packed._replace(labels=targets.places_among(packed, only))
    first = train.first(config)
    trained = train.start(config, params, key) if start is None else start
    top, above = decoder.upper(config, params, first)
    inside = train.shifted(first)
    parallel = parallel or one_device()
    data: dict[str, Any] = packed._asdict()
    if first:
        lower = decoder.lower(config, params, first)
        data["tokens"] = _cast(precomputed.streams(*lower, packed, parallel), computing.dtype)
    head = None
    if isinstance(teacher, Told):
        data["teacher"], head = targets.of_places(teacher.logits, packed, only), {}
    elif teacher is not None:
        read = targets.read_by(teacher, packed)
        found = precomputed.hidden_at(config, teacher.params, read, parallel)
        data["teacher"] = _cast(found, computing.dtype)
        head = _cast(targets.head_of(teacher.params), computing.dtype)
    if beside is not None:
        data["beside"] = targets.of_places(beside.logits, packed, beside.only)
    fit = training(
        *(top, inside, recipe, computing, watch, parallel),
        None if only is None else tuple(only),
        None if beside is None else (beside.only, beside.weight),
    )
    fitted = fit(
        trained,
        data,
        key=key,
        weights=packed.weights.sum(axis=1),
        frozen=(inside.rest(above, trained), head),
        attached=attached,
        name=name,
    )
    whole = train.join(train.rest(params, trained), fitted.params)
    return Tuned(whole, fitted.params, fitted.losses, fitted.observations)


def _check(
    config: DecoderConfig, train: Trained, recipe: Recipe, only: Sequence[int] | None
) -> None:
    if only is not None and not only:
        raise InputError("only has 0 words; expected at least 1")
    for word in only or ():
        if not 0 <= word < config.vocabulary:
            raise InputError(f"only has {word}; expected numbers from 0 to {config.vocabulary - 1}")
    inner = train.inner if isinstance(train, Projected) else train
    if isinstance(inner, LoRA) and not inner.train_a and recipe.weight_decay:
        raise InputError(
            f"weight_decay is {recipe.weight_decay} with train_a false; expected 0, or a decays"
        )


@functools.lru_cache(maxsize=16)
def training(
    config: DecoderConfig,
    train: Trained,
    recipe: Recipe,
    computing: Computing,
    watch: Watch,
    parallel: Parallel,
    only: tuple[int, ...] | None,
    beside: tuple[tuple[int, ...], float] | None = None,
) -> FitFunction:
    """Make a training; one that is made again with the same arguments compiles nothing.

    ``beside`` are the words and the weight of a `Beside`.
    """
    noisy = isinstance(train, LoRA) and train.dropout > 0
    unroll = computing.unroll
    if unroll is None:
        unroll = parallel.platform == "cpu"

    def loss(trained: PyTree, batch: Any, rest: Params, teacher_head: Params | None) -> Array:
        batch, keys = batch if noisy else (batch, None)
        params = train.join(rest, trained, keys)
        params = _cast(params, computing.dtype)
        params = decoder.unrolled(params) if unroll else params
        hidden = decoder.hidden(
            config,
            params,
            batch["tokens"],
            positions=batch["positions"],
            segments=batch["segments"],
            remat=computing.remat,
            spread=parallel.split,
        )
        hidden = picked(hidden, batch["at"])
        flat = hidden.reshape(-1, hidden.shape[-1])

        head = _head_of(config, params, only)
        if teacher_head is None:
            each = token_losses.hard(head, flat, batch["labels"].reshape(-1), chunk=computing.chunk)
        else:
            # Of a teacher the head is here, or its logits are.
            known = _head_of(config, teacher_head, only) if teacher_head else _itself
            seen = batch["teacher"].reshape(len(flat), -1)
            each = token_losses.soft(head, known, flat, seen, chunk=computing.chunk)
        if beside is not None:
            others, weight = beside
            head = _head_of(config, params, others)
            seen = batch["beside"].reshape(len(flat), -1)
            each += weight * token_losses.soft(head, _itself, flat, seen, chunk=computing.chunk)
        weights = batch["weights"]
        return jnp.sum(weights * each.reshape(weights.shape), axis=1) / jnp.sum(weights, axis=1)

    return make_fit(
        loss,
        recipe,
        watch=watch,
        parallel=parallel,
        accumulate=computing.accumulate,
        rows="rows",
        noisy=noisy,
    )


def _head_of(
    config: DecoderConfig, params: Params, only: tuple[int, ...] | None
) -> token_losses.Head:
    """Make a head of some words."""
    words = None if only is None else jnp.asarray(only, jnp.int32)
    return lambda hidden: decoder.logits(config, params, hidden, only=words)


def _itself(logits: Array) -> Array:
    return logits


def _cast(tree: PyTree, dtype: str | None) -> PyTree:
    """Give arrays of numbers with a fraction in another type, if one is named."""

    def cast(array: Array) -> Array:
        return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return tree if dtype is None else jax.tree.map(cast, tree)
