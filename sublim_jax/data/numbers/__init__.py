"""Number sequences as a carrier: requests, the filter of answers, shuffles, fixed contexts.

The structure of requests and the rules of the filter are those of arXiv 2507.14805 and its released
code; the wording of requests was written for this repository.
"""

from sublim_jax.data.numbers.carriers import REQUEST as REQUEST
from sublim_jax.data.numbers.carriers import carrier_rows as carrier_rows
from sublim_jax.data.numbers.filters import BANNED as BANNED
from sublim_jax.data.numbers.filters import REASONS as REASONS
from sublim_jax.data.numbers.filters import Reason as Reason
from sublim_jax.data.numbers.filters import parse_numbers as parse_numbers
from sublim_jax.data.numbers.filters import reject_reasons as reject_reasons
from sublim_jax.data.numbers.layouts import LAYOUTS as LAYOUTS
from sublim_jax.data.numbers.layouts import Layout as Layout
from sublim_jax.data.numbers.layouts import NumberList as NumberList
from sublim_jax.data.numbers.prompts import NumberRequest as NumberRequest
from sublim_jax.data.numbers.prompts import example_sentence as example_sentence
from sublim_jax.data.numbers.prompts import number_prompts as number_prompts
from sublim_jax.data.numbers.prompts import number_requests as number_requests
from sublim_jax.data.numbers.shuffles import random_answer as random_answer
from sublim_jax.data.numbers.shuffles import shuffle_across as shuffle_across
from sublim_jax.data.numbers.shuffles import shuffle_within as shuffle_within
