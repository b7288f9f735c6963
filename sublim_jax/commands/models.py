"""``sublim-jax models``: the language models that have a short name."""

import dataclasses
from collections.abc import Iterable

from sublim_jax.lm.fetching import cached
from sublim_jax.lm.models import MODELS, KnownModel

HEAD = ("name", "family", "size", "on the hub", "where", "logits verified", "licence")
LEGEND = """\
where: cached is on this machine; hub is huggingface.co, package the Python package index, from
which a quantised file of the model comes where the hub cannot be reached.
logits verified, against Hugging Face's transformers: with this model's real weights (those of the
package), or with random weights of a small model of its family."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Models:
    """Which language models have a short name, and where do they come from?

    Any other model of these families loads too: by its name on the hub, from a folder of Hugging
    Face or from a GGUF file.

      python -c 'from sublim_jax import lm; config, params, tokenizer = lm.load("smollm2")'
    """

    seeds: bool = False
    """List also the Pythia models of other seeds, one by one."""

    def run(self) -> None:
        """Print the table."""
        shown = [model for model in MODELS.values() if self.seeds or "seed" not in model.name]
        print(table(shown))
        print(f"\n{LEGEND}")
        if not self.seeds:
            count = len(MODELS) - len(shown)
            print(f"Not shown: {count} Pythia models of other seeds (--seeds), pythia-70m-seed1 …")


def table(models: Iterable[KnownModel]) -> str:
    """Lay out models, one a line.

    Args:
        models: to show; this machine is asked which of them it has.
    """
    rows = [HEAD, *map(_row, models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(model: KnownModel) -> tuple[str, ...]:
    kind = f" ({model.package.kind})" if model.package else ""
    if there := cached(model):
        where = "cached" + (kind if there.is_file() else "")
    else:
        where = f"hub or package{kind}" if model.package else "hub"
    return model.name, model.family, model.size, model.hub, where, model.status, model.licence
