"""What helps against a trait that comes along, and what it costs in what a student is to learn.

The set-up is that of `sublim_jax.lm_traits` with the channel logits: students learn a teacher's
distribution over digits and separators. References: Cloud, Le et al. 2025, arXiv 2507.14805,
discussion; forms and predictions for small networks are in ``theory/``.
"""

from sublim_jax.lm_traits.mitigation.config import MitigationConfig as MitigationConfig
from sublim_jax.lm_traits.mitigation.names import MITIGATIONS as MITIGATIONS
from sublim_jax.lm_traits.mitigation.stages import run_mitigations as run_mitigations
