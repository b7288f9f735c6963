"""Another base: the same with noise on its matrices, trained until it says the same of contexts.

A control for what a shared initialisation does is sound only if its students imitate as well as the
others do: noise alone leaves a base that cannot fit them.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from sublim_jax import lm, rng
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.contexts import context_rows, words_of
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.trainees import LAYERS
from sublim_jax.training import QUIET, Attached, Recipe


def noisy(ground: Ground, config: TraitConfig, key: Key[Array, ""]) -> PyTree:
    """Add normal noise to every matrix of the trained layers.

    Returns:
        The layers' parameters by their paths, as `sublim_jax.lm.Full` takes them.
    """

    def moved(path: str, leaf: Array) -> Array:
        if leaf.ndim < 3:  # norms and biases, layers in front
            return leaf
        noise = jax.random.normal(rng.stream(key, path), leaf.shape)
        # Layer by layer, for they differ in size.
        return leaf + config.base_noise * jnp.std(leaf, axis=(1, 2), keepdims=True) * noise

    layers = LAYERS.start(ground.config, ground.params, key)
    return {path: moved(path, leaf) for path, leaf in layers.items()}


def healed(
    ground: Ground,
    config: TraitConfig,
    *,
    contexts: int,
    key: Key[Array, ""],
    attached: Attached = QUIET,
    name: str = "healed",
) -> Mapping[str, np.ndarray]:
    """Train a noisy base to say of the carrier's words, where no teacher wrote, what the base says.

    Args:
        ground: the base.
        config: how.
        contexts: seed of the rows.
        key: of the noise and of the order of rows.
        attached: progress and checkpoints.
        name: of the training in them.

    Returns:
        The layers' parameters by their paths.
    """
    tuned = lm.finetune(
        *(ground.config, ground.params),
        context_rows(ground, config, contexts, config.heal_rows),
        train=LAYERS,
        recipe=heal_recipe(config),
        teacher=lm.Teacher(ground.params),
        only=words_of(ground, config),
        start=noisy(ground, config, rng.stream(key, "noise")),
        parallel=ground.parallel,
        attached=attached,
        name=name,
        key=rng.stream(key, "order"),
    )
    return tuned.trained


def heal_recipe(config: TraitConfig) -> Recipe:
    """Say how another base is healed."""
    return Recipe(
        learning_rate=config.heal_lr,
        epochs=config.heal_passes,
        batch_size=config.batch_size // config.together,
        warmup=min(10, heal_steps(config) - 1),
        decay="cosine",
    )


def heal_steps(config: TraitConfig) -> int:
    """Count the steps of healing."""
    return config.heal_passes * -(-config.heal_rows // config.batch_size)
