"""Drift: how far, and in which direction, a student moves toward its teacher.

Everything is derived from a few inner products per layer (`inner_products`), which are cheap enough
to take inside a training loop (`tracker`).
"""

from sublim_jax.drift.alignment import Units as Units
from sublim_jax.drift.alignment import chain as chain
from sublim_jax.drift.alignment import find_permutations as find_permutations
from sublim_jax.drift.alignment import permute as permute
from sublim_jax.drift.alignment import random_permutations as random_permutations
from sublim_jax.drift.features import CKAChange as CKAChange
from sublim_jax.drift.features import cka_change as cka_change
from sublim_jax.drift.features import linear_cka as linear_cka
from sublim_jax.drift.function_space import function_products as function_products
from sublim_jax.drift.function_space import gauss_newton_products as gauss_newton_products
from sublim_jax.drift.function_space import weighted_products as weighted_products
from sublim_jax.drift.low_rank import LowRank as LowRank
from sublim_jax.drift.low_rank import low_rank_products as low_rank_products
from sublim_jax.drift.low_rank import subspace_overlap as subspace_overlap
from sublim_jax.drift.metrics import cosine as cosine
from sublim_jax.drift.metrics import distance_ratio as distance_ratio
from sublim_jax.drift.metrics import distance_reduction as distance_reduction
from sublim_jax.drift.metrics import perpendicular_norm as perpendicular_norm
from sublim_jax.drift.metrics import projection as projection
from sublim_jax.drift.metrics import projection_by_layer as projection_by_layer
from sublim_jax.drift.metrics import relative_length as relative_length
from sublim_jax.drift.nulls import Null as Null
from sublim_jax.drift.nulls import ZScores as ZScores
from sublim_jax.drift.nulls import isotropic_null as isotropic_null
from sublim_jax.drift.nulls import parameter_counts as parameter_counts
from sublim_jax.drift.nulls import sign_concentration as sign_concentration
from sublim_jax.drift.nulls import sign_null as sign_null
from sublim_jax.drift.nulls import z_scores as z_scores
from sublim_jax.drift.path import Barrier as Barrier
from sublim_jax.drift.path import barrier as barrier
from sublim_jax.drift.path import straight_path as straight_path
from sublim_jax.drift.plane import Plane as Plane
from sublim_jax.drift.plane import coordinates as coordinates
from sublim_jax.drift.plane import plane_through as plane_through
from sublim_jax.drift.plane import plane_values as plane_values
from sublim_jax.drift.products import Products as Products
from sublim_jax.drift.products import inner_products as inner_products
from sublim_jax.drift.products import total as total
from sublim_jax.drift.tracker import Drift as Drift
from sublim_jax.drift.tracker import tracker as tracker
from sublim_jax.drift.tracker import trait_gain as trait_gain
