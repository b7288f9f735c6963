"""Evaluations of a trait; those of a language model's favourites are in `.preference`."""

from sublim_jax.evals.classification import accuracy as accuracy
