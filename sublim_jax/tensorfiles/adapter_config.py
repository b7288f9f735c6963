"""The configuration of a low-rank adapter as PEFT writes it."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.source import reading

CONFIG = "adapter_config.json"
# Each makes of the adapter something else than base + scale * B A; off where false or empty.
UNREAD = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "monteclora_config",
)
# Of the ways to draw the factors, those that leave the base as it is.
INITS = (True, False, None, "gaussian", "eva", "orthogonal")


class LoraConfig(NamedTuple):
    """What an adapter's configuration says about its factors.

    Attributes:
        rank: of modules without one of their own.
        alpha: numerator of the scale, of modules without one of their own.
        rank_stabilised: whether the scale is ``alpha / sqrt(rank)`` and not ``alpha / rank``.
        rank_pattern: ranks by pattern of module names.
        alpha_pattern: numerators by pattern of module names.
        transposed: whether weights of the base are stored as ``[fan_in, fan_out]``.

    References:
        Kalajdzievski, A rank stabilization scaling factor for fine-tuning with LoRA,
        arXiv:2312.03732, section 3 (the square root).
    """

    rank: int
    alpha: float
    rank_stabilised: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    transposed: bool

    def rank_of(self, module: str) -> int:
        """Give the rank of a module's factors."""
        return _of_pattern(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Give the factor before the product of a module's factors."""
        rank = self.rank_of(module)
        alpha = _of_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def is_adapter(path: Path) -> bool:
    """Tell whether a path is the folder of an adapter: whether it has ``adapter_config.json``."""
    return (Path(path) / CONFIG).is_file()


def read_config(path: Path) -> LoraConfig:
    """Read the configuration in the folder of an adapter.

    Raises:
        InputError: it is missing or damaged, or the adapter is of a kind that is not read.
    """
    file = path / CONFIG
    with reading(file, "the configuration of a PEFT adapter"):
        content = json.loads(file.read_bytes())
    if not isinstance(content, dict):
        raise InputError(f"{file} is no JSON object; expected the configuration of a PEFT adapter")
    _check_kind(file, content)
    rank, alpha = content.get("r"), content.get("lora_alpha")
    ranks, alphas = (content.get(name) or {} for name in ("rank_pattern", "alpha_pattern"))
    if rank is None or alpha is None or not _is_rank(rank) or not _is_number(alpha):
        raise InputError(
            f"{file} has r {rank!r} and lora_alpha {alpha!r}; expected a positive integer and a "
            "number"
        )
    _check_pattern(file, "rank_pattern", ranks, _is_rank)
    _check_pattern(file, "alpha_pattern", alphas, _is_number)
    return LoraConfig(
        rank=rank,
        alpha=alpha,
        rank_stabilised=bool(content.get("use_rslora")),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        transposed=bool(content.get("fan_in_fan_out")),
    )


def _check_kind(file: Path, content: Mapping[str, Any]) -> None:
    kind = content.get("peft_type")
    if kind != "LORA":
        raise InputError(f"{file} has peft_type {kind!r}; expected 'LORA'")
    unread = [f"{name} {content[name]!r}" for name in UNREAD if content.get(name)]
    init = content.get("init_lora_weights")
    if init not in INITS:
        unread.append(f"init_lora_weights {init!r}, which changes the base")
    if unread:
        raise InputError(
            f"{file} has {', '.join(unread)}; expected an adapter that is its base plus a scaled "
            "product of two matrices"
        )


def _check_pattern(file: Path, name: str, patterns: Any, fits: Any) -> None:
    if not isinstance(patterns, dict) or not all(map(fits, patterns.values())):
        raise InputError(f"{file} has {name} {patterns!r}; expected numbers by module")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as fault:
            raise InputError(
                f"{file} has {pattern!r} in {name} ({fault}); expected a regular expression"
            ) from fault


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _of_pattern(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """Find the first pattern that fits the end of a module's name, from a dot on, as PEFT does."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise
