"""Drift: how far, and in which direction, a student moves toward its teacher.

Everything is derived from a few inner products per layer (`inner_products`), which are cheap enough
to take inside a training loop (`tracker`).
"""

from sublim_jax.drift.metrics import cosine as cosine
from sublim_jax.drift.metrics import distance_ratio as distance_ratio
from sublim_jax.drift.metrics import distance_reduction as distance_reduction
from sublim_jax.drift.metrics import perpendicular_norm as perpendicular_norm
from sublim_jax.drift.metrics import projection as projection
from sublim_jax.drift.metrics import projection_by_layer as projection_by_layer
from sublim_jax.drift.metrics import relative_length as relative_length
from sublim_jax.drift.products import Products as Products
from sublim_jax.drift.products import inner_products as inner_products
from sublim_jax.drift.products import total as total
from sublim_jax.drift.tracker import Drift as Drift
from sublim_jax.drift.tracker import tracker as tracker
