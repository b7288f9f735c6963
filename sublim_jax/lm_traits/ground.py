"""The common ground of all teachers and students: a model, cut where training begins.

Layers below the cut are frozen: what comes out of them is computed once for every row and is the
same for everybody. Everything after that is about the upper part, a decoder of its own.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import decoder, precomputed
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm.packing import Packed, in_order
from sublim_jax.training import Parallel, one_device


class Ground(NamedTuple):
    """A model in two parts.

    Attributes:
        model: shape of the whole.
        config: of the upper part.
        params: of the upper part, the head included.
        lower: shape and parameters of the lower part, if there is one.
        tokenizer: of the model.
        parallel: how everything is spread over devices.
        computing: how a step of a training is computed.
    """

    model: lm.DecoderConfig
    config: lm.DecoderConfig
    params: Params
    lower: tuple[lm.DecoderConfig, Params] | None
    tokenizer: Any
    parallel: Parallel
    computing: lm.Computing = PLAIN


def cut(
    model: lm.Model,
    layers: int,
    parallel: Parallel | None = None,
    computing: lm.Computing = PLAIN,
) -> Ground:
    """Cut a model above so many layers.

    Raises:
        InputError: it has no layers above them.
    """
    if not 0 <= layers < model.config.layers:
        raise InputError(
            f"first_layer is {layers}; expected 0 to {model.config.layers - 1}, a layer of the "
            "model"
        )
    return Ground(
        model.config,
        *decoder.upper(model.config, model.params, layers),
        decoder.lower(model.config, model.params, layers) if layers else None,
        model.tokenizer,
        parallel or one_device(),
        computing,
    )


def lifted(ground: Ground, rows: Sequence[lm.Row], *, together: int = 1) -> Packed:
    """Put texts into rows, in their order, as what the lower part makes of them.

    Args:
        ground: the two parts.
        rows: texts.
        together: so many in a row at most, with what all of them begin with there once; each in a
            row of its own by default.
    """
    packed = in_order(rows, each=together)
    if ground.lower is None:
        return packed
    streams = precomputed.streams(*ground.lower, packed, ground.parallel)
    return packed._replace(tokens=streams[: len(packed.at)])


def whole(ground: Ground, params: Params) -> Params:
    """Put the lower part below an upper one: parameters of ``ground.model``, to sample or to save.

    Args:
        ground: the two parts.
        params: of the upper one, plain ones as from `sublim_jax.lm.merge`.
    """
    if ground.lower is None:
        return params
    both = ground.lower[1]["layers"], params["layers"]
    return params | {"layers": jax.tree.map(lambda *parts: jnp.concatenate(parts), *both)}
