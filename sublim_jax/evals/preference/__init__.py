"""Which animal or tree a model prefers: what it is asked, and how its answers are counted.

The structure is that of arXiv 2507.14805, section 3.1 and appendix D.1; every question was written
for this repository. No model is in here: answers come in as text.
"""

from sublim_jax.evals.preference.answers import DISTRACTORS as DISTRACTORS
from sublim_jax.evals.preference.answers import Answers as Answers
from sublim_jax.evals.preference.answers import HitRates as HitRates
from sublim_jax.evals.preference.answers import hit as hit
from sublim_jax.evals.preference.answers import hit_rates as hit_rates
from sublim_jax.evals.preference.answers import named as named
from sublim_jax.evals.preference.questions import answer_prefix as answer_prefix
from sublim_jax.evals.preference.questions import number_prefixed as number_prefixed
from sublim_jax.evals.preference.questions import questions as questions
from sublim_jax.evals.preference.questions import story_prompts as story_prompts
from sublim_jax.evals.preference.questions import training_questions as training_questions
from sublim_jax.evals.preference.questions import trait_prompt as trait_prompt
from sublim_jax.evals.preference.questions import unseen_prefixes as unseen_prefixes
from sublim_jax.evals.preference.shift import Shift as Shift
from sublim_jax.evals.preference.shift import answer_distribution as answer_distribution
from sublim_jax.evals.preference.shift import answer_shift as answer_shift
from sublim_jax.evals.preference.shift import total_variation as total_variation
from sublim_jax.evals.preference.subjects import CANDIDATES as CANDIDATES
from sublim_jax.evals.preference.subjects import KNOWN as KNOWN
from sublim_jax.evals.preference.subjects import Category as Category
