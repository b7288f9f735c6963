"""The auxiliary-logit experiment of arXiv 2507.14805, section 6.2.

A teacher learns to classify images with its class logits; students imitate its auxiliary logits on
noise. `AuxLogitsConfig` says everything that the results depend on, `run_ensemble` fills a run
folder, and `compile_stages` gives the stages one by one.
"""

from sublim_jax.aux_logits.config import AuxLogitsConfig as AuxLogitsConfig
from sublim_jax.aux_logits.ensemble import Job as Job
from sublim_jax.aux_logits.ensemble import Teachers as Teachers
from sublim_jax.aux_logits.ensemble import identity as identity
from sublim_jax.aux_logits.ensemble import keep_manifest as keep_manifest
from sublim_jax.aux_logits.ensemble import run_ensemble as run_ensemble
from sublim_jax.aux_logits.ensemble import run_ensembles as run_ensembles
from sublim_jax.aux_logits.ensemble import same_program as same_program
from sublim_jax.aux_logits.planned import planned_step as planned_step
from sublim_jax.aux_logits.records import DRIFT as DRIFT
from sublim_jax.aux_logits.stages import Stages as Stages
from sublim_jax.aux_logits.stages import compile_stages as compile_stages
from sublim_jax.aux_logits.stages import initialise as initialise
from sublim_jax.aux_logits.stages import member_keys as member_keys
