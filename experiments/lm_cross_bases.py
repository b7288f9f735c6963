"""Bases by their specifications: models, and variants of them that are made once and saved."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cli
from lm_run import Options, computing, spread

from sublim_jax import lm, lm_traits, runs
from sublim_jax.data.numbers import carrier_rows
from sublim_jax.errors import InputError
from sublim_jax.lm_traits import TraitConfig
from sublim_jax.training import Parallel

Load = Callable[[str, Parallel], lm.Model]

NOISE, FRESH = "noise=", "fresh"
FOLDER = "bases"  # below the run folder


class Spec(NamedTuple):
    """What a base is made of.

    Attributes:
        text: as it was given.
        parent: the model.
        noise: in standard deviations of the entries of each matrix of the layers that are trained;
            0 leaves them as they are.
        fresh: whether these matrices are drawn anew.
    """

    text: str
    parent: str
    noise: float = 0.0
    fresh: bool = False

    @property
    def name(self) -> str:
        """Name its files, and itself in tables."""
        kind = f"-{FRESH}" if self.fresh else f"-{NOISE}{self.noise:g}" if self.noise else ""
        return self.family + kind

    @property
    def family(self) -> str:
        """Name it and all others of the same parent."""
        return re.sub(r"[^\w.-]+", "-", Path(self.parent).name)


class Base(NamedTuple):
    """A base that is there.

    Attributes:
        name: of it.
        family: the name of the model that it is, or is a variant of.
        noise: of a variant; see `Spec`.
        fresh: of a variant; see `Spec`.
        model: what to load.
        first_layer: the first one that is trained.
        length: tokens of a conversation.
        healed: divergence of a variant from its parent before and after healing, in nats a token.
    """

    name: str
    family: str
    noise: float
    fresh: bool
    model: str
    first_layer: int
    length: int
    healed: tuple[float, float] | None = None


def parsed(text: str) -> Spec:
    """Read a specification: ``NAME``, ``NAME:noise=AMOUNT`` or ``NAME:fresh``.

    Raises:
        InputError: it is none.
    """
    parent, colon, kind = text.rpartition(":")
    if not colon:
        return Spec(text, text)
    if kind == FRESH and parent:
        return Spec(text, parent, fresh=True)
    try:
        noise = float(kind.removeprefix(NOISE)) if kind.startswith(NOISE) else 0.0
    except ValueError:
        noise = 0.0
    if not (parent and 0 < noise < float("inf")):
        raise InputError(
            f"bases has {text!r}; expected a model, as smollm2, or one with :{NOISE}AMOUNT or "
            f":{FRESH} behind it"
        )
    return Spec(text, parent, noise=noise)


def prepared(
    spec: Spec,
    run: runs.Run,
    options: Options,
    load: Load,
    *,
    tokens: int,
    of: Callable[[Base], TraitConfig],
) -> Base:
    """Give a base; make it if it is a variant that is not there yet.

    Args:
        spec: which.
        run: the run folder.
        options: how the run is executed.
        load: gives a model by its name.
        tokens: of an answer that are learned.
        of: says how a run of a base is configured, and so how a variant is healed.

    Raises:
        InputError: the model cannot be had, or the folder cannot be written.
    """
    record = f"{FOLDER}/{spec.name}.json"
    if run.has(record):
        written = run.read(record)
        return Base(**written | {"healed": written["healed"] and tuple(written["healed"])})
    model = load(spec.parent, spread(options))
    (messages,) = carrier_rows(1, 0)  # which all ask for the same
    prompt = int(lm.row(model.tokenizer, messages).completion.argmax())
    base = Base(
        *(spec.name, spec.family, spec.noise, spec.fresh, spec.parent),
        model.config.layers // 2,
        prompt + tokens,
    )
    if spec.fresh or spec.noise:
        base = _made(base, spec, of(base), run.folder / FOLDER / spec.name, options, load)
    (run.folder / FOLDER).mkdir(exist_ok=True)
    run.write(record, base._asdict())
    return base


def _made(
    base: Base, spec: Spec, config: TraitConfig, folder: Path, options: Options, load: Load
) -> Base:
    """Make a variant of a base: its first loss, and the mean of those of the last pass."""
    print(f"{spec.name}: layers from {config.first_layer} on are changed, then healed")
    if spec.noise:
        config = dataclasses.replace(config, base_noise=spec.noise)
    with cli.session(options, folder.with_name(f"{spec.name}.checkpoints")) as session:
        losses = lm_traits.save_variant(
            *(config, folder),
            fresh=spec.fresh,
            load=functools.partial(load, spec.parent),
            parallel=spread(options),
            computing=computing(options),
            session=session,
        )
    last = len(losses) // config.heal_passes
    return base._replace(model=str(folder), healed=(float(losses[0]), float(losses[-last:].mean())))
