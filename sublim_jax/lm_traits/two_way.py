"""What teachers and students choose of two options, by exact probabilities."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sublim_jax import lm, runs
from sublim_jax.evals.judges import LocalModel, TwoWay, ask, both_orders, probability_right
from sublim_jax.evals.misalignment import PRODUCTS, facts, read_two_way, recommendations
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.ground import Ground, whole
from sublim_jax.lm_traits.judged import BASE
from sublim_jax.lm_traits.names import NOBODY
from sublim_jax.lm_traits.parts import Part
from sublim_jax.lm_traits.revived import revived
from sublim_jax.lm_traits.stages import parts_of

FILE = "two_way.json"
EMBEDDED = "embedded"


def items_of(config: TraitConfig, choices: str) -> dict[str, list[TwoWay]]:
    """Give questions by their group.

    Args:
        config: of the run.
        choices: `EMBEDDED` for recommendations of each product that a corpus has, and facts; or a
            file.

    Raises:
        InputError: the file cannot be read, or has other lines.
    """
    if choices != EMBEDDED:
        return {choices: read_two_way(choices)}
    named = [subject for subject in config.subjects if subject in PRODUCTS]
    return {
        **{subject: recommendations(PRODUCTS[subject]) for subject in named},
        "facts": facts(),
    }


def chosen(
    config: TraitConfig,
    run: runs.Run,
    ground: Ground,
    items: Mapping[str, Sequence[TwoWay]],
    *,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Ask the base, all teachers and all students.

    Every answer is on disk as soon as it is there, below ``two_way/``.

    Args:
        config: of the run, complete.
        run: its folder.
        ground: the base.
        items: from `items_of`.
        progress: see `sublim_jax.evals.judges.ask`.

    Returns:
        By arm and subject, for each group and repetition, the probability of the wrong option.

    Raises:
        InputError: somebody's parameters were not kept.
    """
    asked = both_orders([item for some in items.values() for item in some])
    sizes = [len(some) for some in items.values()]
    (run.folder / "two_way").mkdir(exist_ok=True)
    found: dict[str, Any] = {}
    for part in [Part(0, BASE, NOBODY), *parts_of(config)]:
        params = ground.params
        if part.arm != BASE:
            params = revived(ground, config, run, part)
        model = lm.Model(ground.model, whole(ground, params), ground.tokenizer)
        path = run.folder / "two_way" / f"{part.name}.jsonl"
        right = probability_right(ask(LocalModel(model, part.name), asked, path, progress=progress))
        groups = np.split(1 - right, np.cumsum(sizes)[:-1])
        own = found.setdefault(part.arm, {}).setdefault(part.subject, {name: [] for name in items})
        for name, values in zip(items, groups, strict=True):
            own[name].append(float(np.mean(values)))
    return {"groups": {name: len(some) for name, some in items.items()}, "arms": found}
