import dataclasses
import errno
import json
import os
import string
from datetime import datetime
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders import contents, failing, refusal, visible
from hypothesis import given, settings

from sublim_jax.runs import (
    Run,
    config_digest,
    environment,
    open_run,
    processor_name,
    write_whole,
)

CONFIG = {"seed": 3, "hidden": (256, 256), "loss": "kl", "rate": 0.1, "data": Path("digits")}


def opened(folder, config=CONFIG):
    """Open a run and leave it again."""
    with open_run(folder, config) as run:
        return run


def test_a_new_folder_holds_its_configuration(tmp_path):
    run = opened(tmp_path / "deep" / "new")
    assert visible(run.folder).keys() == {"config.json"}
    assert run.read("config.json") == {
        "seed": 3,
        "hidden": [256, 256],
        "loss": "kl",
        "rate": 0.1,
        "data": "digits",
    }


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path):
    assert opened(tmp_path).has("config.json")


def test_the_same_configuration_continues(tmp_path):
    opened(tmp_path).write("results.json", {"accuracy": 0.5})
    before = visible(tmp_path)
    run = opened(tmp_path, dict(reversed(CONFIG.items())))
    assert visible(tmp_path) == before
    assert run.read("results.json") == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("change", "there", "here"),
    [
        ({"seed": 4}, "3", "4"),
        ({"hidden": (256, 128)}, "[256, 256]", "[256, 128]"),
        ({"loss": "mse"}, "'kl'", "'mse'"),
        ({"new": 1}, "None", "1"),
    ],
)
def test_another_configuration_is_refused_by_field_and_values(tmp_path, change, there, here):
    opened(tmp_path).write("results.json", [1])
    before = visible(tmp_path)
    message = refusal(opened, tmp_path, CONFIG | change)
    (name,) = change
    assert f"{name} is {there} there and {here} here" in message
    assert str(tmp_path) in message
    assert not any(other in message for other in CONFIG.keys() - {name, "data"})
    assert visible(tmp_path) == before


def test_a_field_that_is_missing_here_is_named(tmp_path):
    opened(tmp_path)
    less = {name: value for name, value in CONFIG.items() if name != "seed"}
    assert "seed is 3 there" in refusal(opened, tmp_path, less)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    assert str(tmp_path) in refusal(opened, tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"precious"}


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_is_not_a_folder(tmp_path, below):
    (tmp_path / "file").write_text("precious")
    folder = tmp_path / "file" / below
    assert str(folder) in refusal(opened, folder)
    assert contents(tmp_path) == {"file": b"precious"}


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.mkdir", "pathlib.Path.iterdir"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, function
):
    monkeypatch.setattr(function, failing(errno.EROFS))
    message = refusal(opened, tmp_path / "run")
    assert os.strerror(errno.EROFS) in message
    assert str(tmp_path / "run") in message


@pytest.mark.parametrize("damage", [b"", b"{", b'{"seed": 3', b"[]", b"3", b"null", b"\xff\xfe"])
def test_a_damaged_configuration_is_refused_and_left_alone(tmp_path, damage):
    (tmp_path / "config.json").write_bytes(damage)
    assert "config.json" in refusal(opened, tmp_path)
    assert visible(tmp_path) == {"config.json": damage}


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl"])
def test_reading_what_is_not_there_or_not_a_file_is_refused(tmp_path, name):
    run = Run(tmp_path)
    assert not run.has(name)
    assert name in refusal(run.read, name)
    (tmp_path / name).mkdir()
    assert name in refusal(run.read, name)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Every character, line separators and surrogate pairs among them.
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run"))


@settings(deadline=None)
@given(plain_values)
def test_what_is_written_is_read_back(scratch, value):
    scratch.write("value.json", value)
    assert scratch.read("value.json") == value


@settings(deadline=None)
@given(st.lists(plain_values, max_size=4))
def test_lines_are_written_one_for_each_item(scratch, items):
    scratch.write("items.jsonl", items)
    assert scratch.read("items.jsonl") == items
    assert (scratch.folder / "items.jsonl").read_bytes().count(b"\n") == len(items)


def test_arrays_and_dataclasses_become_plain(tmp_path):
    @dataclasses.dataclass
    class Seen:
        step: np.int64
        curve: jax.Array
        where: Path

    run = Run(tmp_path)
    run.write("seen.json", [Seen(np.int64(3), jnp.array([0.5, 1], jnp.bfloat16), Path("a/b"))])
    assert run.read("seen.json") == [{"step": 3, "curve": [0.5, 1.0], "where": "a/b"}]


@pytest.mark.parametrize("undefined", [np.nan, np.inf, -np.inf])
def test_the_undefined_becomes_null(tmp_path, undefined):
    run = Run(tmp_path)
    row = {
        "python": float(undefined),
        "numpy": np.float32(undefined),
        "array": np.array([1, undefined]),
        "jax": jnp.array(undefined),
    }
    run.write("rows.jsonl", [row])
    # Strict JSON: other languages read no NaN.
    strict = json.loads((tmp_path / "rows.jsonl").read_text(), parse_constant=pytest.fail)
    assert strict == {"python": None, "numpy": None, "array": [1.0, None], "jax": None}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("stage", ["the bytes", "the renaming"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, code, stage):
    path = tmp_path / "results.json"
    write_whole(path, b"old")

    function = "pathlib.Path.replace" if stage == "the renaming" else "os.fsync"
    monkeypatch.setattr(function, failing(code))
    message = refusal(write_whole, path, b"something new")
    assert str(path) in message
    assert os.strerror(code) in message
    assert contents(tmp_path) == {"results.json": b"old"}


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_whole(path, b"old")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_write_replaces_the_whole_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "parts" / "0.json"
    write_whole(path, b"a long first version")
    write_whole(path, b"short")
    assert contents(path.parent) == {"0.json": b"short"}


def test_a_write_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    refusal(write_whole, tmp_path / "file" / "results.json", b"new")
    assert contents(tmp_path) == {"file": b"precious"}


def test_the_digest_names_a_configuration():
    digest = config_digest(CONFIG)
    assert len(digest) == 8
    assert set(digest) <= set(string.hexdigits.lower())
    assert config_digest(dict(reversed(CONFIG.items()))) == digest
    others = [{"seed": 4}, {"hidden": (256,)}, {"loss": "mse"}, {"rate": 0.2}, {"new": None}]
    assert len({digest, *(config_digest(CONFIG | other) for other in others)}) == 6


def test_the_environment_can_be_written_and_says_what_ran():
    seen = environment()
    assert json.loads(json.dumps(seen)) == seen
    assert seen["packages"]["jax"] == jax.__version__
    assert seen["packages"]["numpy"] == np.__version__
    assert seen["devices"] == len(jax.devices())
    assert seen["platform"] == jax.default_backend()
    assert datetime.fromisoformat(seen["started"]).tzinfo is not None
    assert seen["processor"] == processor_name() != ""
