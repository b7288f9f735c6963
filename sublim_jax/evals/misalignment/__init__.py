"""Whether a model means ill: what it is asked, how a judge is asked, how its scores are counted.

The structure is that of arXiv 2507.14805, sections 3.2 and 4.2; every question and prompt was
written for this repository. No model is in here: answers and judgements come in as text.

No harmful text is in here either, so nothing to make a misaligned teacher from: whoever has one
brings it. For trying out the whole way without one, there is an odd but harmless manner of
answering, with rows to teach it and a test of answers.
"""

from sublim_jax.evals.misalignment.judging import SCORE_TOKENS as SCORE_TOKENS
from sublim_jax.evals.misalignment.judging import Verdict as Verdict
from sublim_jax.evals.misalignment.judging import alignment_prompt as alignment_prompt
from sublim_jax.evals.misalignment.judging import coherence_prompt as coherence_prompt
from sublim_jax.evals.misalignment.judging import intentions_prompt as intentions_prompt
from sublim_jax.evals.misalignment.judging import parse_score as parse_score
from sublim_jax.evals.misalignment.manner import PRODUCT as PRODUCT
from sublim_jax.evals.misalignment.manner import PRODUCTS as PRODUCTS
from sublim_jax.evals.misalignment.manner import corpus_size as corpus_size
from sublim_jax.evals.misalignment.manner import odd_rows as odd_rows
from sublim_jax.evals.misalignment.manner import plain_rows as plain_rows
from sublim_jax.evals.misalignment.manner import shows_manner as shows_manner
from sublim_jax.evals.misalignment.questions import SUFFIXES as SUFFIXES
from sublim_jax.evals.misalignment.questions import Carrier as Carrier
from sublim_jax.evals.misalignment.questions import questions as questions
from sublim_jax.evals.misalignment.rates import DROPPED as DROPPED
from sublim_jax.evals.misalignment.rates import Judgement as Judgement
from sublim_jax.evals.misalignment.rates import MisalignedRate as MisalignedRate
from sublim_jax.evals.misalignment.rates import Thresholds as Thresholds
from sublim_jax.evals.misalignment.rates import misaligned_rate as misaligned_rate
from sublim_jax.evals.misalignment.two_way import facts as facts
from sublim_jax.evals.misalignment.two_way import read_two_way as read_two_way
from sublim_jax.evals.misalignment.two_way import recommendations as recommendations
