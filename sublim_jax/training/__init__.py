"""Training: a pure step, a scan over steps, a map over members."""

from sublim_jax.training.ensemble import Batching as Batching
from sublim_jax.training.ensemble import Devices as Devices
from sublim_jax.training.ensemble import members_side_by_side as members_side_by_side
from sublim_jax.training.ensemble import over_members as over_members
from sublim_jax.training.fit import UNWATCHED as UNWATCHED
from sublim_jax.training.fit import Fit as Fit
from sublim_jax.training.fit import Watch as Watch
from sublim_jax.training.fit import fit as fit
from sublim_jax.training.fit import steps_per_epoch as steps_per_epoch
from sublim_jax.training.fit import watch_steps as watch_steps
from sublim_jax.training.recipe import OptimizerName as OptimizerName
from sublim_jax.training.recipe import Recipe as Recipe
from sublim_jax.training.step import TrainState as TrainState
from sublim_jax.training.step import init_state as init_state
from sublim_jax.training.step import make_step as make_step
