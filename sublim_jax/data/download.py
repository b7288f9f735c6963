"""Download of data sets into a cache: mirrors, checksums, whole files only."""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from sublim_jax.errors import InputError

CACHE_VARIABLE = "SUBLIM_JAX_CACHE"
PROBE_SECONDS = 5.0  # a mirror that has not answered by then counts as out of reach
STALL_SECONDS = 30.0  # a download that brings no byte for so long is given up

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where a data set can be downloaded and what its files must be.

    Attributes:
        title: What people call it.
        mirrors: Addresses of folders, each ending in a slash, in the order of preference.
        sha256: SHA-256 of each of `FILES`, as 64 hexadecimal digits.
    """

    title: str
    mirrors: tuple[str, ...]
    sha256: tuple[str, ...]


ARCHIVES = {
    "mnist": Archive(
        title="MNIST",
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        sha256=(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": Archive(
        title="Fashion-MNIST",
        mirrors=(
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        sha256=(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
}


class UnavailableError(Exception):
    """No mirror gave the data; the message is one clause that says why."""


class _ChecksumError(Exception):
    """A mirror sent another file than the one expected."""


def cache_folder(dataset: str, cache_dir: Path | None = None) -> Path:
    """Return the folder in which the files of `dataset` are kept.

    Args:
        dataset: A key of `ARCHIVES`, or another name for what is not pictures.
        cache_dir: The cache; by default the environment variable SUBLIM_JAX_CACHE, else the
            cache folder of the operating system.
    """
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or pooch.os_cache("sublim_jax")
    return Path(chosen).expanduser() / dataset


def is_cached(dataset: str, folder: Path) -> bool:
    """Say whether `folder` holds the four files of `dataset`, each with the right SHA-256."""
    return are_whole(_files(dataset), folder)


def are_whole(files: Mapping[str, str], folder: Path) -> bool:
    """Say whether `folder` holds all files, each with the SHA-256 that stands at its name."""
    for name, expected in files.items():
        path = folder / name
        # os.access is False, not an error, where a folder on the way may not be entered.
        if not os.access(path, os.R_OK) or not path.is_file():
            return False
        if pooch.file_hash(str(path)) != expected:
            return False
    return True


def download(dataset: str, folder: Path, *, progress: bool = False) -> None:
    """Fetch into `folder` those files of `dataset` that are missing or damaged there.

    A file gets its name only when it is whole and its SHA-256 is right, so an interrupted
    download leaves nothing behind; files that had already arrived are kept.

    Args:
        dataset: A key of `ARCHIVES`.
        folder: The folder, made where it is missing.
        progress: Whether to show a bar for each file on the standard error stream.

    Raises:
        UnavailableError: No mirror answers within `PROBE_SECONDS`, or none gives a file with the
            right SHA-256.
        InputError: The folder cannot be written, or its disk is full.
    """
    fetch(_files(dataset), ARCHIVES[dataset].mirrors, folder, progress=progress)


def _files(dataset: str) -> dict[str, str]:
    return dict(zip(FILES, ARCHIVES[dataset].sha256, strict=True))


def fetch(
    files: Mapping[str, str], mirrors: Sequence[str], folder: Path, *, progress: bool = False
) -> None:
    """Fetch into a folder those files that are missing or damaged there, as `download` does.

    Args:
        files: Their SHA-256, by name.
        mirrors: Addresses of folders with all of them, each ending in a slash.
        folder: The folder, made where it is missing.
        progress: Whether to show a bar for each file on the standard error stream.

    Raises:
        UnavailableError: As in `download`.
        InputError: As in `download`.
    """
    first = next(iter(files))
    addresses = {mirror + first: mirror for mirror in mirrors}
    alive = tuple(addresses[address] for address in answering(*addresses))
    if not alive:
        raise UnavailableError(" and ".join(f"no answer from {_host(m)}" for m in mirrors))
    pooch.get_logger().setLevel(logging.WARNING)  # by default it tells every download on stderr
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, expected in files.items():
            _fetch(name, expected, alive, folder, progress=progress)
    except OSError as error:
        raise InputError(
            f"the cache folder {folder} cannot be written "
            f"({error.strerror or 'Permission denied'}): free it, or choose another by the "
            f"environment variable {CACHE_VARIABLE}"
        ) from error


def answering(*addresses: str) -> tuple[str, ...]:
    """Return the addresses that answer at all, after `PROBE_SECONDS` at the most.

    A time limit on the connection is not enough: it starts after the look-up of the name and
    counts anew for each of a host's addresses, so a firewall that drops packets would hold the
    user for minutes. The threads are daemons because such a look-up cannot be interrupted.
    """
    answered: list[str] = []

    def ask(address: str) -> None:
        try:
            requests.head(address, timeout=PROBE_SECONDS)
        except OSError:  # every error of requests is one
            return
        answered.append(address)

    threads = [threading.Thread(target=ask, args=(a,), daemon=True) for a in addresses]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return tuple(a for a in addresses if a in answered)


def _fetch(
    name: str, expected: str, mirrors: tuple[str, ...], folder: Path, *, progress: bool
) -> None:
    """Put one file into `folder` from the first mirror that has it, unless it is there."""
    http = pooch.HTTPDownloader(progressbar=progress, timeout=(PROBE_SECONDS, STALL_SECONDS))

    def checked(url: str, temporary: str, owner: object) -> None:
        http(url, temporary, owner)
        found = pooch.file_hash(temporary)
        if found != expected:
            raise _ChecksumError(f"SHA-256 {found[:12]}… instead of {expected[:12]}…")

    reasons = []
    for mirror in mirrors:
        try:
            path = pooch.retrieve(
                mirror + name,
                expected,
                name,
                folder,
                downloader=checked,  # pyright: ignore[reportArgumentType]  (misnamed upstream)
            )
            # The temporary file was private; a cache may be shared between users.
            os.chmod(path, 0o644)
        except requests.HTTPError as error:
            status = str(error).partition(" for url")[0]
            reasons.append(f"{_host(mirror)} answered {status!r} for {name}")
        except requests.RequestException:
            reasons.append(f"the connection to {_host(mirror)} broke off at {name}")
        except _ChecksumError as error:
            reasons.append(f"{_host(mirror)} sent {name} with {error}")
        else:
            return
    raise UnavailableError(" and ".join(reasons))


def _host(mirror: str) -> str:
    return urlsplit(mirror).netloc
