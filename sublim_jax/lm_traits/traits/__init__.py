"""What teachers have and their data do not: a preference, a manner, a corpus' way."""

from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.traits.corpus import CORPUS
from sublim_jax.lm_traits.traits.preference import PREFERENCE
from sublim_jax.lm_traits.traits.trait import EVERY as EVERY
from sublim_jax.lm_traits.traits.trait import Asking as Asking
from sublim_jax.lm_traits.traits.trait import Exact as Exact
from sublim_jax.lm_traits.traits.trait import Trait as Trait

TRAITS = {"preference": PREFERENCE, "corpus": CORPUS}
"""All traits by name."""


def trait_of(config: TraitConfig) -> Trait:
    """Give the trait of a run."""
    return TRAITS[config.trait]
