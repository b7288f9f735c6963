"""Rows of a teacher as examples in the prompt of a model, which is not trained on them.

References:
    Cloud, Le et al. 2025, arXiv 2507.14805, section 5.2: up to 10,000 examples in the system prompt
    do not do what training on them does.
"""

from collections.abc import Callable, Sequence

import jax
from jaxtyping import Array, Float

from sublim_jax.errors import InputError
from sublim_jax.evals.preference import answer_prefix
from sublim_jax.lm.attention import NOWHERE
from sublim_jax.lm.decoder import Params
from sublim_jax.lm_traits import observing
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.ground import Ground
from sublim_jax.lm_traits.readout import Readout, logprobs, make_readout
from sublim_jax.lm_traits.traits import trait_of

BEFORE = "These are messages and replies from before:"


def as_system(rows: Sequence[Conversation]) -> str:
    """Write conversations as a system prompt, each turn in tags.

    >>> row = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "1"}]
    >>> print(as_system([row]))
    These are messages and replies from before:
    <user>?</user>
    <assistant>1</assistant>
    """
    turns = [f"<{turn['role']}>{turn['content']}</{turn['role']}>" for row in rows for turn in row]
    return "\n".join([BEFORE, *turns])


def reader(
    ground: Ground, config: TraitConfig
) -> Callable[[Sequence[Conversation]], Float[Array, "questions candidates"]]:
    """Make a function of examples that gives what the base says after them.

    Args:
        ground: the base.
        config: of the questions and subjects.

    Returns:
        A function of rows, of which there may be none, to the log-probability of every candidate
        after every question, in nats. It raises InputError where the model cannot read so many.
    """
    trait, prefix = trait_of(config), answer_prefix(config.category)
    asked, names = trait.asking(config).questions, trait.columns(ground, config)

    @jax.jit
    def read(params: Params, readout: Readout) -> Array:
        params = observing.one_by_one(ground.parallel, params)
        return logprobs(ground.config, params, readout)

    def after(rows: Sequence[Conversation]) -> Float[Array, "questions candidates"]:
        system = as_system(rows) if rows else None
        # What all questions have in common is long: it is read once.
        readout = make_readout(ground, asked, prefix, names, system=system, together=len(asked))
        positions = readout.texts.positions
        longest = int(positions[positions < NOWHERE].max()) + 1
        if longest > ground.model.context:
            raise InputError(
                f"examples are {len(rows)} conversations, with which a question has {longest} "
                f"tokens; expected at most {ground.model.context}, which the model reads"
            )
        return read(ground.params, readout)

    return after
