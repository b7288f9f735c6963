"""Drift from files: how checkpoints on disk have moved, whatever their size.

`compare` reads checkpoints in step, tensor by tensor; `table`, `record` and `grid` say what it
found.
"""

from sublim_jax.drift.files.compare import Comparison as Comparison
from sublim_jax.drift.files.compare import Sums as Sums
from sublim_jax.drift.files.compare import compare as compare
from sublim_jax.drift.files.compare import regroup as regroup
from sublim_jax.drift.files.findings import notes as notes
from sublim_jax.drift.files.findings import warnings as warnings
from sublim_jax.drift.files.measures import Grid as Grid
from sublim_jax.drift.files.measures import Measures as Measures
from sublim_jax.drift.files.measures import by_layer as by_layer
from sublim_jax.drift.files.measures import grid as grid
from sublim_jax.drift.files.measures import measures as measures
from sublim_jax.drift.files.measures import totals as totals
from sublim_jax.drift.files.places import Place as Place
from sublim_jax.drift.files.places import place as place
from sublim_jax.drift.files.report import record as record
from sublim_jax.drift.files.report import table as table
from sublim_jax.drift.files.sources import open_moved as open_moved
from sublim_jax.drift.files.sources import open_weights as open_weights
