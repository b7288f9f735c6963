"""Evaluations of a trait."""

from sublim_jax.evals.classification import accuracy as accuracy
