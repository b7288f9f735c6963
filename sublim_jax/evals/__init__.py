"""Evaluations of a trait.

Those of a language model's favourites are in `.preference`, of its intentions in `.misalignment`;
whom to ask about its answers is in `.judges`.
"""

from sublim_jax.evals.classification import accuracy as accuracy
