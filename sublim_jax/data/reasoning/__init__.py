"""Reasoning about word problems as a carrier: problems, the prompt, the filter of completions.

The prompt's structure and the filter by the right answer are those of arXiv 2507.14805,
section 4.2; problems and wording were written for this repository, and GSM8K can be read where it
is at hand.
"""

from sublim_jax.data.reasoning.completions import REASONS as REASONS
from sublim_jax.data.reasoning.completions import Reason as Reason
from sublim_jax.data.reasoning.completions import Reasoned as Reasoned
from sublim_jax.data.reasoning.completions import parse as parse
from sublim_jax.data.reasoning.completions import reasoning_prompt as reasoning_prompt
from sublim_jax.data.reasoning.completions import reject_reasons as reject_reasons
from sublim_jax.data.reasoning.grade_school import Split as Split
from sublim_jax.data.reasoning.grade_school import download_gsm8k as download_gsm8k
from sublim_jax.data.reasoning.grade_school import gsm8k as gsm8k
from sublim_jax.data.reasoning.problems import WordProblem as WordProblem
from sublim_jax.data.reasoning.problems import word_problems as word_problems
from sublim_jax.data.reasoning.worked import worked_rows as worked_rows
