"""Variants of a base as models of their own: with noise or with other matrices, healed, saved."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sublim_jax import hosts, lm, rng
from sublim_jax.lm.finetuning import PLAIN
from sublim_jax.lm_traits import healing, trainings
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import cut, whole
from sublim_jax.lm_traits.names import HEALED
from sublim_jax.lm_traits.trainees import joined
from sublim_jax.training import Parallel, Session, one_device


def save_variant(
    config: TraitConfig,
    folder: Path,
    *,
    fresh: bool,
    load: Callable[[Parallel], lm.Model],
    parallel: Parallel | None = None,
    computing: lm.Computing = PLAIN,
    session: Session | None = None,
) -> Float[np.ndarray, " steps"]:
    """Make a variant of a model, and save it as a folder of Hugging Face, whole or not at all.

    Layers from ``first_layer`` on are changed and then trained to say the same of the carrier's
    words, where no teacher wrote, as the model does.

    Args:
        config: of the model, of ``base_noise`` and of how the variant is healed.
        folder: new.
        fresh: draw the matrices of these layers anew instead of adding noise to them.
        load: gives the model.
        parallel: how everything is spread over devices; by default it runs on one.
        computing: how a step of healing is computed; it changes no result but for rounding.
        session: checkpoints and progress.

    Returns:
        Losses of healing: divergences from the model, in nats a token.

    Raises:
        InputError: the model has no such layer, or the folder cannot be written.
    """
    session, parallel = session or Session(), parallel or one_device()
    model = load(parallel)
    ground = cut(model, config.first_layer, parallel, computing)
    session.expect(healing.heal_steps(config))
    key = trainings.keys_of(config, config.seeds)
    begun = (
        healing.fresh(ground, rng.stream(key, "fresh"))
        if fresh
        else healing.noisy(ground, config, rng.stream(key, "noise"))
    )
    well = healing.healed(
        *(ground, config, begun),
        contexts=trainings.seed_of(config, config.seeds, HEALED),
        key=key,
        attached=session,
    )
    params = whole(ground, joined(ground.params, config, well.trained))
    lm.save(folder, model.config, params, model.tokenizer, dtype=jnp.float32)
    session.finished(HEALED)
    return hosts.gather(well.losses)
