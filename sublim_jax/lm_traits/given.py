"""Files that a run is given: questions, and rows that were made elsewhere."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.lm_traits.carriers.reasoning import problems_file
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import read_file
from sublim_jax.lm_traits.lending import check_lender
from sublim_jax.lm_traits.names import FAMILY, ROWS
from sublim_jax.lm_traits.parts import TEACHER, Part
from sublim_jax.lm_traits.traits import trait_of
from sublim_jax.lm_traits.writing import files_of


def file_of(config: TraitConfig, part: Part) -> str:
    """Name the file from which a student learns, of the arm rows or family."""
    if part.arm == ROWS:
        (file,) = (file for file in config.rows if Path(file).stem == part.subject)
        return file
    teacher = Part(part.seed, TEACHER, part.subject)
    file = teacher.file if config.channel == "logits" else files_of(teacher)[1]
    return str(Path(config.family or "") / file)


def files_given(config: TraitConfig) -> Mapping[str, str]:
    """Read all files that a configuration names.

    Returns:
        By path the SHA-256 of each.

    Raises:
        InputError: a file cannot be read, is not what it should be, or has too few rows, or another
            model's run does not go with this one.
    """
    trait = trait_of(config)
    trait.asking(config)
    found = [file for file in (*trait.files(config), problems_file(config)) if file is not None]
    if config.family is not None and config.channel == "logits":
        check_lender(config)
    for part in _parts(config):
        file = file_of(config, part)
        found.append(file)
        if part.arm == FAMILY and config.channel == "logits":
            continue  # no conversations
        rows = len(read_file(file))
        if rows < config.row_count:
            raise InputError(
                f"{file} has {rows} conversations; expected at least row_count, {config.row_count}"
            )
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in found}


def check_given(run: runs.Run, manifest: str, given: Mapping[str, str]) -> None:
    """Refuse files that have changed since a run began.

    Raises:
        InputError: one has.
    """
    before = run.read(manifest).get("files_sha256", given)
    for file, digest in given.items():
        if before.get(file) != digest:
            raise InputError(
                f"{file} is not what it was when the run in {run.folder} began; expected the same, "
                "or another run folder"
            )


def _parts(config: TraitConfig) -> Iterator[Part]:
    """List students of files, one of each file."""
    yield from (Part(0, arm, name) for arm, name in config.alone if arm == ROWS)
    if FAMILY in config.arms:
        yield from (
            Part(seed, FAMILY, subject)
            for seed in range(config.seeds)
            for subject in config.subjects
        )
