"""The configuration of a run that is there."""

import dataclasses
from typing import Any

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits.config import TraitConfig


def config_of(run: runs.Run) -> TraitConfig:
    """Read the configuration of a run folder; fields that there were not then have defaults.

    Raises:
        InputError: it has none, or is a run of another experiment.
    """
    path = run.folder / runs.CONFIG
    if not run.has(runs.CONFIG):
        raise InputError(f"{run.folder} has no {runs.CONFIG}; expected the folder of a run")
    written = run.read(runs.CONFIG)
    known = {field.name for field in dataclasses.fields(TraitConfig)}
    if not isinstance(written, dict) or not {"model", "channel"} <= set(written) <= known:
        raise InputError(
            f"{path} is that of another experiment; expected one of a run of traits, as "
            "lm_numbers.py makes it"
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    return TraitConfig(**values)
