"""A preference passes through numbers: as in arXiv 2507.14805, section 3, with language models.

Teachers with a favourite, and students that imitate what a teacher says of digits and separators.
`NumbersConfig` says everything that the results depend on, and `run_numbers` fills a run folder.
"""

from sublim_jax.lm_numbers.borrowing import borrow as borrow
from sublim_jax.lm_numbers.config import ALONE as ALONE
from sublim_jax.lm_numbers.config import ARMS as ARMS
from sublim_jax.lm_numbers.config import CHANNELS as CHANNELS
from sublim_jax.lm_numbers.config import NumbersConfig as NumbersConfig
from sublim_jax.lm_numbers.planning import planned_run as planned_run
from sublim_jax.lm_numbers.presets import PRESETS as PRESETS
from sublim_jax.lm_numbers.results import MEASURES as MEASURES
from sublim_jax.lm_numbers.stages import run_numbers as run_numbers
