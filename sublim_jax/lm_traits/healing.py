"""Another base: the same with noise, or with other matrices, trained to say the same of contexts.

A control for what a shared initialisation does is sound only if its students imitate as well as the
others do: noise alone leaves a base that cannot fit them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from sublim_jax import lm, rng, runs
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.contexts import context_rows, words_of
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.names import HEALED
from sublim_jax.lm_traits.parts import missing_files, read_arrays, write_arrays
from sublim_jax.lm_traits.trainees import LAYERS, joined
from sublim_jax.training import QUIET, Attached, Recipe, Session


def noisy(ground: Ground, config: TraitConfig, key: Key[Array, ""]) -> PyTree:
    """Add normal noise to every matrix of the trained layers.

    Returns:
        The layers' parameters by their paths, as `sublim_jax.lm.Full` takes them.
    """
    return _matrices(ground, lambda leaf, noise: leaf + config.base_noise * noise, key)


def fresh(ground: Ground, key: Key[Array, ""]) -> PyTree:
    """Draw every matrix of the trained layers anew, as large as it was.

    Returns:
        The layers' parameters, as of `noisy`.
    """
    return _matrices(ground, lambda _, noise: noise, key)


def _matrices(
    ground: Ground, changed: Callable[[Array, Array], Array], key: Key[Array, ""]
) -> PyTree:
    """Change every matrix of the trained layers by normal noise of the deviation of its entries."""

    def one(path: str, leaf: Array) -> Array:
        if leaf.ndim < 3:  # norms and biases, layers in front
            return leaf
        noise = jax.random.normal(rng.stream(key, path), leaf.shape)
        # Layer by layer, for they differ in size.
        return changed(leaf, jnp.std(leaf, axis=(1, 2), keepdims=True) * noise)

    layers = LAYERS.start(ground.config, ground.params, key)
    return {path: one(path, leaf) for path, leaf in layers.items()}


def healed(
    ground: Ground,
    config: TraitConfig,
    begun: PyTree,
    *,
    contexts: int,
    key: Key[Array, ""],
    attached: Attached = QUIET,
    name: str = HEALED,
) -> lm.Tuned:
    """Train another base to say of the carrier's words, where no teacher wrote, what the base says.

    Args:
        ground: the base.
        config: how.
        begun: its layers' parameters, as from `noisy` or `fresh`.
        contexts: seed of the rows.
        key: of the order of rows.
        attached: progress and checkpoints.
        name: of the training in them.

    Returns:
        What was trained are the layers' parameters by their paths.
    """
    return lm.finetune(
        *(ground.config, ground.params),
        context_rows(ground, config, contexts, config.heal_rows),
        train=LAYERS,
        recipe=heal_recipe(config),
        teacher=lm.Teacher(ground.params),
        only=words_of(ground, config),
        start=begun,
        parallel=ground.parallel,
        computing=ground.computing,
        attached=attached,
        name=name,
        key=rng.stream(key, "order"),
    )


def other_base(
    ground: Ground,
    config: TraitConfig,
    run: runs.Run,
    file: str,
    *,
    contexts: int,
    key: Key[Array, ""],
    session: Session,
    name: str = HEALED,
) -> Ground:
    """Give the base with noise, healed: made once, and kept in a file of the run folder.

    Args:
        ground: the base.
        config: how.
        run: the folder.
        file: in it.
        contexts: seed of the rows on which it is healed.
        key: of the noise and of the order of rows.
        session: checkpoints and progress.
        name: of the training in them.
    """
    if missing_files(run, [file]):
        begun = noisy(ground, config, rng.stream(key, "noise"))
        well = healed(
            *(ground, config, begun), contexts=contexts, key=key, attached=session, name=name
        )
        write_arrays(run, file, well.trained)
        session.finished(name)
    return ground._replace(params=joined(ground.params, config, read_arrays(run, file)))


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
