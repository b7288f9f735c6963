"""Traits that pass between language models through data that has nothing to do with them.

As in arXiv 2507.14805, sections 3 and 4: teachers with a favourite, and students that imitate what
a teacher says of digits and separators, or learn what it wrote. `TraitConfig` says everything that
the results depend on, and `run_traits` fills a run folder.
"""

from sublim_jax.lm_traits.borrowing import borrow as borrow
from sublim_jax.lm_traits.config import TraitConfig as TraitConfig
from sublim_jax.lm_traits.folder import config_of as config_of
from sublim_jax.lm_traits.names import ALONE as ALONE
from sublim_jax.lm_traits.names import ARMS as ARMS
from sublim_jax.lm_traits.names import CHANNELS as CHANNELS
from sublim_jax.lm_traits.planning import planned_run as planned_run
from sublim_jax.lm_traits.results import MEASURES as MEASURES
from sublim_jax.lm_traits.stages import run_traits as run_traits
from sublim_jax.lm_traits.stages import write_only as write_only
from sublim_jax.lm_traits.variants import save_variant as save_variant
