"""Distance against transfer: what varies, what came out, and which distance tells the trait."""

from sublim_jax.transfer.factors import Setting as Setting
from sublim_jax.transfer.factors import Size as Size
from sublim_jax.transfer.factors import settings as settings
from sublim_jax.transfer.forecast import Score as Score
from sublim_jax.transfer.forecast import acquired as acquired
from sublim_jax.transfer.forecast import calibration as calibration
from sublim_jax.transfer.forecast import is_held_out as is_held_out
from sublim_jax.transfer.forecast import pilot as pilot
from sublim_jax.transfer.forecast import score as score
from sublim_jax.transfer.points import PREDICTORS as PREDICTORS
from sublim_jax.transfer.points import Contrast as Contrast
from sublim_jax.transfer.points import Failure as Failure
from sublim_jax.transfer.points import Point as Point
from sublim_jax.transfer.points import contrasts as contrasts
from sublim_jax.transfer.points import correlations as correlations
from sublim_jax.transfer.points import failures as failures
from sublim_jax.transfer.points import matched as matched
from sublim_jax.transfer.points import points_of as points_of
