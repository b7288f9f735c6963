"""Explain, measure and predict subliminal learning in JAX.

A teacher with a trait writes data that has nothing to do with the trait; a student from the same
initialisation that imitates the data acquires the trait, because imitation pulls its parameters
toward the teacher's (Cloud, Le et al. 2025, arXiv 2507.14805, Theorem 1).
"""

__version__ = "0.1.0"
