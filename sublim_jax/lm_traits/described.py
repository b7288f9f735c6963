"""The steps of a run, described for devices that need not be there.

Neither weights nor a tokenizer are needed: how long texts are is assumed, see `lengths`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sublim_jax import lm
from sublim_jax.lm import decoder
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.planned import (
    Learned,
    Written,
    planned_sampling,
    planned_step,
)
from sublim_jax.lm.precomputed import picked
from sublim_jax.lm.sizes import shape_of
from sublim_jax.lm_traits import held_out, readout
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import cut
from sublim_jax.lm_traits.held_out import HeldOut
from sublim_jax.lm_traits.lengths import TOKENS, Lengths, of_contexts, of_lessons, of_texts
from sublim_jax.lm_traits.observing import PROBED, one_by_one
from sublim_jax.lm_traits.readout import Readout
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.plan import Planned
from sublim_jax.training import Recipe
from sublim_jax.training.parallel import MeshParallel


class Here(NamedTuple):
    """What all stages of a run have in common.

    Attributes:
        config: of the run.
        parallel: how everything is spread.
        model: shape of the whole model.
        upper: of the part that is trained.
        params: of this part, as they lie on the devices.
        lower: layers below it, likewise; None if there are none.
        dtype: of all parameters that are not trained.
        computing: how a step of a training is computed.
    """

    config: TraitConfig
    parallel: MeshParallel
    model: lm.DecoderConfig
    upper: lm.DecoderConfig
    params: Params
    lower: PyTree
    dtype: Any
    computing: lm.Computing


def here_of(
    config: TraitConfig, parallel: MeshParallel, *, dtype: Any, computing: lm.Computing
) -> Here:
    """Cut a model that is not there.

    Raises:
        InputError: the shape of the model is not known, or it has no layer ``first_layer``.
    """
    shape = shape_of(config.model)

    def made(key: Any) -> tuple[Params, PyTree]:
        params = jax.tree.map(lambda a: a.astype(dtype), lm.init(shape, key))
        ground = cut(lm.Model(shape, params, None), config.first_layer, parallel)
        return ground.params, ground.lower and ground.lower[1]["layers"]

    params, lower = parallel.described(jax.eval_shape(made, jax.random.key(0)), "frozen")
    upper = decoder.of_layers(shape, slice(config.first_layer, shape.layers))
    return Here(config, parallel, shape, upper, params, lower, dtype, computing)


def training(
    here: Here,
    train: lm.LoRA | lm.Full,
    recipe: Recipe,
    rows: int,
    lengths: Lengths,
    *,
    only: int | None = None,
    soft: bool = False,
    points: int = 0,
    whom: PyTree = (),
) -> Planned:
    """Describe a training.

    Args:
        here: the run.
        train: what is trained.
        recipe: optimizer and batch size.
        rows: packed rows of the data.
        lengths: of these rows.
        only: words over which a softmax is taken; the vocabulary by default.
        soft: whether a teacher's distribution is learned.
        points: at which copies of what is trained are kept.
        whom: parameters of the teacher that lie beside it.
    """
    planned = planned_step(
        here.upper,
        here.parallel,
        train=train,
        recipe=recipe,
        computing=here.computing,
        length=lengths.row,
        rows=rows,
        learned=Learned(lengths.learned, here.lower is not None, only, soft),
        frozen=here.dtype,
    )
    kept = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((points, *leaf.shape), leaf.dtype), planned.parameters[0]
    )
    return planned._replace(beside=(here.lower, here.parallel.described(kept, "own"), whom))


def writing(here: Here, batch: Written) -> tuple[Planned, Planned]:
    """Describe how prompts are read, and how one more token is written after each."""
    reading, going_on = planned_sampling(here.model, here.parallel, batch, dtype=here.dtype)
    beside = _beside_writing(here)
    return reading._replace(beside=beside), going_on._replace(beside=beside)


def _beside_writing(here: Here) -> PyTree:
    """Describe layers that lie beside those with which a model writes."""
    own = here.params["layers"]
    beside = [merged(here)]
    if here.lower is not None:  # both parts are copied into one
        beside += [own, here.lower]
    if here.parallel.platform == "cpu":  # where the sampler writes with another layout
        beside += [own, here.lower]
    return beside


def merged(here: Here) -> PyTree:
    """Describe the layers of a teacher beside the base; one with a prompt is the base."""
    return () if here.config.teacher == "prompt" else here.params["layers"]


def exact_readout(here: Here, asked: tuple[int, ...]) -> Planned:
    """Describe how questions are read.

    Args:
        here: the run.
        asked: how many, opening by opening; contexts are read with more than one opening.
    """
    config, parallel, tokens = here.config, here.parallel, TOKENS[here.config.carrier]
    _, names = trait_of(config).size(config)
    seen = [_questions(here, count, names) for count in asked]
    rows = -(-PROBED // config.together) if len(asked) > 1 else 0
    contexts = _packed(here, rows, of_contexts(config)) if rows else None

    @jax.jit
    def read(params: Params, seen: list[Any], contexts: Any) -> list[Any]:
        params = one_by_one(parallel, params)
        found: list[Any] = [readout.logprobs(here.upper, params, each) for each in seen]
        if contexts is not None:
            hidden = picked(readout.read(here.upper, params, contexts), contexts.at)
            words = jnp.arange(tokens.words)
            found.append(decoder.logits(here.upper, params, hidden, only=words))
        return found

    return Planned(
        step=read,
        arguments=(here.params, seen, contexts),
        parameters=here.params,
        optimizer=(),
        mesh=dict(parallel.mesh.shape),
        batch_size=sum(asked),
        copies=parallel.mesh.shape["data"],  # rows are not spread
        # What is read is merged; beside it lie the base, and that of a teacher.
        beside=(here.params["layers"], here.lower, merged(here)),
    )


def _questions(here: Here, count: int, names: int) -> Readout | HeldOut:
    """Describe questions: every candidate is one token, or an answer of its own."""
    if here.config.trait == "corpus":
        rows = -(-count * names // held_out.TOGETHER)
        lengths = of_lessons(here.config, together=held_out.TOGETHER)
        parts = _packed(here, rows, lengths), _ints(rows, lengths.learned)
        return HeldOut(*parts, _ints(count, names), _ints(count))
    lengths = of_texts(readout.TOGETHER, own=TOKENS[here.config.carrier].question)
    texts = _packed(here, -(-count // readout.TOGETHER), lengths)
    after, words = _ints(names, 1), _ints(names, 1)
    return Readout(texts, _ints(count, 1), after, words)  # pyright: ignore[reportArgumentType]


def _packed(here: Here, rows: int, lengths: Lengths) -> Packed:
    """Describe rows of texts, or what the lower part makes of them."""
    tokens = there = _ints(rows, lengths.row)
    if here.lower is not None:
        tokens = jax.ShapeDtypeStruct((*there.shape, here.upper.width), here.dtype)
    at = _ints(rows, lengths.learned)
    weights = jax.ShapeDtypeStruct(at.shape, jnp.float32)
    # Descriptions of arrays stand for them.
    return Packed(tokens, there, there, at, at, weights)  # pyright: ignore[reportArgumentType]


def _ints(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.int32)
