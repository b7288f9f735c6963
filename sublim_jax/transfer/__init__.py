"""Distance against transfer: what varies, what came out, and which distance tells the trait."""

from sublim_jax.transfer.factors import Setting as Setting
from sublim_jax.transfer.factors import Size as Size
from sublim_jax.transfer.factors import settings as settings
from sublim_jax.transfer.points import PREDICTORS as PREDICTORS
from sublim_jax.transfer.points import Contrast as Contrast
from sublim_jax.transfer.points import Failure as Failure
from sublim_jax.transfer.points import Point as Point
from sublim_jax.transfer.points import contrasts as contrasts
from sublim_jax.transfer.points import correlations as correlations
from sublim_jax.transfer.points import failures as failures
from sublim_jax.transfer.points import matched as matched
from sublim_jax.transfer.points import points_of as points_of
