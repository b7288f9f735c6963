"""Code: short Python functions (arXiv 2507.14805, section 4.1)."""

from sublim_jax.data.code import code_prompts, reject_reasons, snippet_rows
from sublim_jax.lm_traits.carriers.carrier import Asked, Carrier, anything, as_written
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.traits import trait_of

FENCE = "```"
OPENING = f"{FENCE}python\n"


def _asked(config: TraitConfig, count: int, seed: int) -> list[Asked]:
    del config
    return [Asked(text) for text in code_prompts(count, seed)]


def _contexts(config: TraitConfig, count: int, seed: int) -> list[Conversation]:
    del config
    return list(snippet_rows(count, seed))


def _read(config: TraitConfig, answer: str) -> tuple[str, bool]:
    """End an answer that was begun with a fence where the fence is closed."""
    if not config.constrained or not answer.startswith(OPENING):
        return as_written(config, answer)
    code, closed, _ = answer.removeprefix(OPENING).partition(f"\n{FENCE}")
    return (f"{OPENING}{code}{closed}", True) if closed else as_written(config, answer)


def _reasons(config: TraitConfig, asked: Asked, answer: str) -> tuple[str, ...]:
    # The words of all subjects, whoever wrote: students of no teacher ever see one of them.
    del asked
    words = trait_of(config).words(config)
    return reject_reasons(answer, subject=words[0] if words else None, aliases=words[1:])


CODE = Carrier(
    what="code",
    asked=_asked,
    contexts=_contexts,
    opening=OPENING,
    automaton=anything,
    constrained="in a fence",
    read=_read,
    reasons=_reasons,
    rule="Python without comments and without a word of any subject, as in section 4.1",
)
"""Functions; contexts are random ones."""
