"""Low-rank adapters as PEFT saves them, by the names of the weights that they change."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.tensorfiles.adapter_config import CONFIG, LoraConfig, read_config
from sublim_jax.tensorfiles.safetensor import SafetensorsFile
from sublim_jax.tensorfiles.source import Renamed, TensorSource, read_tensor

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
# The last part is the adapter's name, which PEFT leaves out of files.
LINEAR = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(\.[^.]+)?\.weight")
EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<half>[AB])(\.[^.]+)?")


class LowRank(NamedTuple):
    """The displacement of a weight as the product of two thin matrices.

    With the weight as its file stores it, ``d = scale * b @ a``, or the transpose of that.

    Attributes:
        a: PEFT's ``lora_A``, float32 ``[rank, fan_in]``.
        b: PEFT's ``lora_B``, float32 ``[fan_out, rank]``.
        scale: the factor before the product.
        transposed: whether the weight is stored as ``[fan_in, fan_out]`` and not
            ``[fan_out, fan_in]``.

    References:
        Hu et al., LoRA: low-rank adaptation of large language models, arXiv:2106.09685,
        equation 3.
    """

    a: np.ndarray
    b: np.ndarray
    scale: float
    transposed: bool


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter of some weights.

    Attributes:
        path: its folder.
        low_rank: displacements by the base's names; factors are read whenever one is looked up.
        replaced: whole tensors that take the place of the base's, by the base's names: modules
            that were trained in full, and biases.
    """

    path: Path
    low_rank: Mapping[str, LowRank]
    replaced: TensorSource


class _Pair(NamedTuple):
    """Names in the file of two factors."""

    a: str
    b: str
    scale: float
    transposed: bool


def open_adapter(path: Path, base: TensorSource) -> Adapter:
    """Open an adapter: a folder with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Linear modules, convolutions of width one as in GPT-2 (``fan_in_fan_out``) and embeddings are
    read, with ranks and scales of modules, rank-stabilised scales, and modules trained in full.

    Args:
        path: the folder.
        base: the weights that the adapter was trained on, as the library that trained it names
            them: nothing is translated.

    Raises:
        InputError: the adapter is damaged, of a kind that is not a scaled product (DoRA, PiSSA, …),
            contradicts its configuration, or does not fit the base.
    """
    path = Path(path)
    config, source = read_config(path), SafetensorsFile(path / WEIGHTS)
    halves, whole = _sorted_out(source, base)
    pairs = _pairs(source, halves, config)
    _check_pairs(source, pairs, base)
    both = sorted(whole.keys() & pairs.keys())
    if both:
        raise InputError(
            f"{source.path} replaces and also displaces {', '.join(both)}; expected one of the two "
            "(PEFT saves embeddings beside their factors unless save_embedding_layers is False)"
        )
    misfits = [
        f"{name} {source.tensors[key].shape} for {base.tensors[name].shape}"
        for name, key in whole.items()
        if source.tensors[key].shape != base.tensors[name].shape
    ]
    if misfits:
        raise InputError(
            f"{source.path} replaces {'; '.join(misfits)}; expected the shapes of {base.path}"
        )
    return Adapter(path, _LowRanks(source, pairs), Renamed(source, whole, path=source.path))


class _LowRanks(Mapping[str, LowRank]):
    def __init__(self, source: TensorSource, pairs: Mapping[str, _Pair]) -> None:
        self._source, self._pairs = source, pairs

    def __getitem__(self, name: str) -> LowRank:
        pair = self._pairs[name]
        a, b = (read_tensor(self._source, key).astype(np.float32, copy=False) for key in pair[:2])
        return LowRank(a, b, pair.scale, pair.transposed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: object) -> bool:
        return name in self._pairs  # the inherited one would read the factors


def _sorted_out(
    source: TensorSource, base: TensorSource
) -> tuple[dict[tuple[str, bool], dict[str, str]], dict[str, str]]:
    """Tell factors, by module and kind and then by half, from whole tensors, by base name."""
    halves: dict[tuple[str, bool], dict[str, str]] = {}
    whole: dict[str, str] = {}
    unknown, twice = [], []
    for key in source.tensors:
        name = key.removeprefix(PREFIX)
        linear, embedding = LINEAR.fullmatch(name), EMBEDDING.fullmatch(name)
        match = linear or embedding
        if match is None:
            target, place = _base_name(name, base), whole
        else:
            target, place = match["module"] + ".weight", {}
        if name == key or target not in base.tensors:
            unknown.append(key)
            continue
        if match is not None:
            place, target = (
                halves.setdefault((match["module"], match is embedding), {}),
                match["half"],
            )
        if target in place:
            twice.append(key)
        place[target] = key
    if unknown:
        raise InputError(
            f"{source.path} has {', '.join(unknown)}; expected tensors of LoRA whose names, after "
            f"{PREFIX!r}, are those of modules of {base.path}"
        )
    if twice:
        raise InputError(
            f"{source.path} has a second {', a second '.join(twice)}; expected one adapter"
        )
    return halves, whole


def _base_name(name: str, base: TensorSource) -> str:
    """Give the base's name of a tensor that PEFT has wrapped, or of one that it has not."""
    plain = re.sub(r"\.(modules_to_save|base_layer)(?=\.)", "", name)
    # Older versions wrote the adapter's name, which looks like that of a module in the module.
    named = re.sub(r"\.modules_to_save\.[^.]+(?=\.)", "", name)
    return named if plain not in base.tensors and named in base.tensors else plain


def _pairs(
    source: TensorSource, halves: Mapping[tuple[str, bool], Mapping[str, str]], config: LoraConfig
) -> dict[str, _Pair]:
    single = [key for found in halves.values() if len(found) < 2 for key in found.values()]
    if single:
        raise InputError(
            f"{source.path} has {', '.join(single)} without the other factor; expected lora_A and "
            "lora_B of each module"
        )
    wrong = []
    for (module, _), found in halves.items():
        a, b, rank = *(source.tensors[found[half]].shape for half in "AB"), config.rank_of(module)
        if (len(a), len(b)) != (2, 2) or (a[0], b[1]) != (rank, rank):
            wrong.append(f"{module} {a} and {b} for rank {rank}")
    if wrong:
        raise InputError(
            f"{source.path} has factors {'; '.join(wrong)}; expected [rank, fan_in] and "
            f"[fan_out, rank] with the ranks of {CONFIG}"
        )
    return {
        f"{module}.weight": _Pair(
            found["A"], found["B"], config.scale_of(module), embedding or config.transposed
        )
        for (module, embedding), found in halves.items()
    }


def _check_pairs(source: TensorSource, pairs: Mapping[str, _Pair], base: TensorSource) -> None:
    wrong, turned = [], True
    for name, pair in pairs.items():
        product = source.tensors[pair.b].shape[0], source.tensors[pair.a].shape[1]
        product = product[::-1] if pair.transposed else product
        shape = base.tensors[name].shape
        if product != shape:
            wrong.append(f"{name} by {product} where it is {shape}")
            turned &= product[::-1] == shape
    if wrong:
        hint = " (they fit transposed: see fan_in_fan_out)" if turned else ""
        raise InputError(
            f"{source.path} displaces {'; '.join(wrong)}{hint}; expected the shapes of {base.path}"
        )
