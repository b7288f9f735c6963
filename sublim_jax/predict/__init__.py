"""What a student will acquire, foretold before it is trained."""

from sublim_jax.predict.first_step import FirstStep as FirstStep
from sublim_jax.predict.first_step import constraints_per_parameter as constraints_per_parameter
from sublim_jax.predict.first_step import first_step as first_step
from sublim_jax.predict.first_step import samples_needed as samples_needed
from sublim_jax.predict.first_step import significance as significance
from sublim_jax.predict.influence import influence_scores as influence_scores
from sublim_jax.predict.visibility import Visibility as Visibility
from sublim_jax.predict.visibility import visibility as visibility
