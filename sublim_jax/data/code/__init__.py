"""Short functions as a carrier: requests for code, and the filter of what is answered.

The structure of requests and the filter by words are those of arXiv 2507.14805, section 4.1; all
tasks and their wording were written for this repository.
"""

from sublim_jax.data.code.fences import Unfenced as Unfenced
from sublim_jax.data.code.fences import unfence as unfence
from sublim_jax.data.code.filters import REASONS as REASONS
from sublim_jax.data.code.filters import Reason as Reason
from sublim_jax.data.code.filters import reject_reasons as reject_reasons
from sublim_jax.data.code.prompts import LIMIT as LIMIT
from sublim_jax.data.code.prompts import CodeRequest as CodeRequest
from sublim_jax.data.code.prompts import code_prompts as code_prompts
from sublim_jax.data.code.prompts import code_requests as code_requests
from sublim_jax.data.code.snippets import snippet_rows as snippet_rows
