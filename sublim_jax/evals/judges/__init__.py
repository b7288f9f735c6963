"""Judges: who says whether an answer is aligned, or data betray what they should not.

A judge is a model behind an address, a model in this process, or a file of answers that were given
elsewhere; `ask` does not care which, and keeps every answer on disk.
"""

from sublim_jax.evals.judges.asking import Answer as Answer
from sublim_jax.evals.judges.asking import Judge as Judge
from sublim_jax.evals.judges.asking import Question as Question
from sublim_jax.evals.judges.asking import ask as ask
from sublim_jax.evals.judges.choices import TwoWay as TwoWay
from sublim_jax.evals.judges.choices import both_orders as both_orders
from sublim_jax.evals.judges.choices import probability_right as probability_right
from sublim_jax.evals.judges.elsewhere import Elsewhere as Elsewhere
from sublim_jax.evals.judges.elsewhere import write_questions as write_questions
from sublim_jax.evals.judges.endpoint import Endpoint as Endpoint
from sublim_jax.evals.judges.local import LocalModel as LocalModel
