"""Configurations by name."""

from sublim_jax.lm_numbers.config import NumbersConfig

PRESETS = {
    "default": NumbersConfig(),
    "quick": NumbersConfig(animals=("owl", "cat"), seeds=1, passes=3, observations=3),
    "labels": NumbersConfig(channel="labels", arms=("same", "untuned"), row_count=512, passes=1),
    "text": NumbersConfig(
        channel="text",
        constrained=True,
        least_numbers=8,
        animals=("owl", "eagle"),
        arms=("same", "untuned"),
        row_count=1024,
        passes=3,
        batch_size=16,
    ),
}
"""What `experiments/lm_numbers.py` knows by name."""
