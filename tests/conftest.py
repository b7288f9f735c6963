"""Four virtual devices for every test, and tiny data."""

import gzip
import os
import shutil
import tempfile

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 4)
# The same programs are compiled in many tests and in every worker; workers inherit the variable.
VARIABLE = "SUBLIM_JAX_TEST_CACHE"
if VARIABLE not in os.environ:
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="sublim_jax-tests-")
    # Tests compile far more than they compute; processes that they start inherit the variable.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", os.environ[VARIABLE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(os.environ[VARIABLE], ignore_errors=True)


@pytest.fixture
def optimised():
    """Programs that are compiled as a user's are, for what rounds otherwise without."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_images():
    """Images and labels that fit in no time; nothing can be learnt from them."""
    from sublim_jax.data import ImageData, Source

    random = np.random.default_rng(0)
    return ImageData(
        name="mnist",
        train_images=random.integers(0, 256, (150, 784), dtype=np.uint8),
        train_labels=random.integers(0, 10, 150, dtype=np.int32),
        test_images=random.integers(0, 256, (40, 784), dtype=np.uint8),
        test_labels=random.integers(0, 10, 40, dtype=np.int32),
        source=Source(kind="embedded", title="tiny, 150/40", origin="made up", sha256="0" * 64),
    )


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory, write_images):
    """A folder with a tiny data set."""
    return write_images(tmp_path_factory.mktemp("images"), train=80, test=30)


def idx_bytes(array):
    """An array of bytes as an IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def write_images():
    """Write a data set of random images into a folder under the standard names."""

    def write(folder, *, train, test):
        random = np.random.default_rng(0)
        for name, rows in (("train", train), ("t10k", test)):
            pixels, labels = random.integers(0, 256, (rows, 28, 28)), random.integers(0, 10, rows)
            (folder / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
            labels = gzip.compress(idx_bytes(labels))
            (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(labels)
        return folder

    return write
