"""What brings a trait from teacher to student: numbers, code, reasoning."""

from sublim_jax.lm_traits.carriers.carrier import Asked as Asked
from sublim_jax.lm_traits.carriers.carrier import Carrier as Carrier
from sublim_jax.lm_traits.carriers.code import CODE
from sublim_jax.lm_traits.carriers.numbers import NUMBERS
from sublim_jax.lm_traits.carriers.reasoning import REASONING
from sublim_jax.lm_traits.config import TraitConfig

CARRIERS = {"numbers": NUMBERS, "code": CODE, "reasoning": REASONING}
"""All carriers by name."""


def carrier_of(config: TraitConfig) -> Carrier:
    """Give the carrier of a run."""
    return CARRIERS[config.carrier]
