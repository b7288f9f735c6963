"""A step of fine-tuning, described for devices that need not be there."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sublim_jax.lm import decoder
from sublim_jax.lm.config import DecoderConfig
from sublim_jax.lm.finetuning import Computing, training
from sublim_jax.lm.packing import Packed
from sublim_jax.lm.trained import Full, LoRA
from sublim_jax.plan import Planned
from sublim_jax.training import UNWATCHED, Recipe
from sublim_jax.training.parallel import MeshParallel


def planned_step(
    config: DecoderConfig,
    parallel: MeshParallel,
    *,
    train: Full | LoRA,
    recipe: Recipe,
    computing: Computing,
    length: int,
    rows: int,
) -> Planned:
    """Describe a step, with the frozen parameters in bfloat16 and what is trained in float32.

    Args:
        config: the shape of the decoder.
        parallel: how the training is spread.
        train: what is trained.
        recipe: optimizer and batch size.
        computing: how the step is computed.
        length: of packed rows in tokens, all of which are learned.
        rows: packed rows of the data set, which every device holds.
    """

    def begin(key: Any) -> tuple[PyTree, PyTree]:
        params = decoder.init(config, key)
        trained = train.start(config, params, key)
        _, above = decoder.upper(config, params, train.first(config))
        rest = train.shifted(train.first(config)).rest(above, trained)
        return trained, jax.tree.map(lambda array: array.astype(jnp.bfloat16), rest)

    trained, rest = jax.eval_shape(begin, jax.random.key(0))
    first = train.first(config)
    top = decoder.of_layers(config, slice(first, config.layers))
    fit = training(top, train.shifted(first), recipe, computing, UNWATCHED, parallel, None)
    whole = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    tokens = jax.ShapeDtypeStruct((rows, length, config.width), jnp.bfloat16) if first else whole
    data = dict.fromkeys(Packed._fields, whole)
    data |= {"tokens": tokens, "weights": jax.ShapeDtypeStruct((rows, length), jnp.float32)}
    arguments = fit.described(trained, data, frozen=(rest, None))
    state = arguments[0]
    return Planned(
        step=fit.programs.advance,
        arguments=arguments,
        parameters=(state.params, arguments[-1]),
        optimizer=state.opt_state,
        mesh=dict(parallel.mesh.shape),
        batch_size=recipe.batch_size,
        looped=True,
    )
