"""What a model says of rows, row by row, and how that changes along a direction.

To first order a row's log-probability changes along a teacher's displacement as it pulls a student
toward the teacher, and along the gradient of a trait as it moves the trait: the step on the row
itself is the gradient of the same log-probability.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from sublim_jax import hosts, lm
from sublim_jax.lm import precomputed
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed, owners
from sublim_jax.lm_traits import observing
from sublim_jax.lm_traits.contexts import told_row
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.ground import Ground, lifted
from sublim_jax.lm_traits.held_out import of_targets
from sublim_jax.lm_traits.readout import Readout, logprobs, read
from sublim_jax.rows import map_over_rows
from sublim_jax.training import Parallel

AT_ONCE = 1024  # tokens that are read at a time
TOGETHER = 4  # rows that share what they begin with


class Rows(NamedTuple):
    """Rows, ready to be read by any upper part.

    Attributes:
        packed: lifted, several in a row of an array.
        owner: which row each learned token belongs to; ``total`` in spare places.
        total: of rows.
    """

    packed: Packed
    owner: Int[np.ndarray, "rows targets"]
    total: int


def prepared(ground: Ground, conversations: Sequence[Conversation]) -> Rows:
    """Prepare rows: an answer's tokens and its end are what is read of each."""
    plain = [told_row(ground, messages, None) for messages in conversations]
    packed = lifted(ground, plain, together=TOGETHER)
    return Rows(packed, owners(packed, plain), len(plain))


def log_probabilities(ground: Ground, params: Params, rows: Rows) -> Float[np.ndarray, " rows"]:
    """Give the log-probability of every answer, in nats.

    Args:
        ground: whose lower part has read the rows.
        params: of an upper part, plain ones as from `sublim_jax.lm.merge`.
        rows: from `prepared`.
    """
    return _by_row(rows, _spoken(ground.config, ground.parallel, params, rows.packed))


def changes(
    ground: Ground, params: Params, direction: PyTree, rows: Rows
) -> Float[np.ndarray, " rows"]:
    """Give the derivative of every answer's log-probability along a direction of the layers.

    Args:
        ground: whose lower part has read the rows.
        params: of an upper part, where the derivative is taken.
        direction: a tree like its layers, which are all that students train.
        rows: from `prepared`.
    """
    return _by_row(rows, _along(ground.config, ground.parallel, params, direction, rows.packed))


def features(ground: Ground, rows: Rows) -> Float[np.ndarray, "rows width"]:
    """Give what the base's head reads of every answer, mean over its tokens."""
    found = precomputed.hidden_at(ground.config, ground.params, rows.packed, ground.parallel)
    hidden = np.asarray(hosts.gather(found))[: len(rows.owner)]
    there = rows.owner < rows.total
    sums = np.zeros((rows.total, hidden.shape[-1]))
    np.add.at(sums, rows.owner[there], hidden[there])
    return sums / np.bincount(rows.owner[there])[:, None]


def trait_gradients(ground: Ground, readout: Readout, count: int) -> list[PyTree]:
    """Give gradients of log-probabilities of the first subjects by layers, mean over questions.

    Args:
        ground: the base.
        readout: its questions, from `sublim_jax.lm_traits.readout.make_readout`.
        count: of subjects.
    """

    @jax.jit
    @jax.grad
    def gradient(layers: PyTree, rest: Params, readout: Any, place: Any) -> Array:
        params = observing.one_by_one(ground.parallel, rest | {"layers": layers})
        return jnp.mean(logprobs(ground.config, params, readout), axis=0)[place]

    layers = ground.params["layers"]
    return [gradient(layers, ground.params, readout, place) for place in range(count)]


def _by_row(rows: Rows, values: Array) -> Float[np.ndarray, " rows"]:
    found, there = np.asarray(hosts.gather(values)), rows.owner < rows.total
    return np.bincount(rows.owner[there], weights=found[there], minlength=rows.total)


def _targets(
    config: lm.DecoderConfig, parallel: Parallel, params: Params, packed: Any
) -> Float[Array, "rows targets"]:
    """Give the log-probability of every learned token."""
    params = observing.one_by_one(parallel, params)
    chunk = max(1, AT_ONCE // packed.positions.shape[1])

    def some(part: Any) -> Array:
        return of_targets(config, params, read(config, params, part), part)

    return map_over_rows(some, packed, chunk=chunk)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _spoken(config: lm.DecoderConfig, parallel: Parallel, params: Params, packed: Any) -> Array:
    return _targets(config, parallel, params, packed)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _along(
    config: lm.DecoderConfig, parallel: Parallel, params: Params, direction: PyTree, packed: Any
) -> Array:
    def said(layers: PyTree) -> Array:
        return _targets(config, parallel, params | {"layers": layers}, packed)

    return jax.jvp(said, (params["layers"],), (direction,))[1]
