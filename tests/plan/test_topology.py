import importlib.util
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from sublim_jax.errors import InputError
from sublim_jax.plan import devices_of, in_subprocess, planning
from sublim_jax.plan.topology import MARKER, environment, read

SHOW = """
import os, sys, jax
from sublim_jax.plan import devices_of, planning
print(planning(), len(jax.devices()), jax.devices()[0].platform, os.environ.get("XLA_FLAGS"))
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("name", ["v5e:4x4", "v4:4x4x4", "v5p:2x2x4", "tpu7x:2x2x1", "cpu:8"])
def test_names_are_read_and_written_alike(name):
    assert str(read(name)) == name


def test_a_name_says_how_many_chips():
    assert read("v5p:2x2x4").chips == 16
    assert read("v4:4x4x8_twisted").chips == 128
    assert read("cpu:8").is_cpu


@pytest.mark.parametrize(
    "name",
    [
        *("", "v5e", "v5e:", "v5e:4x", "v5e:x4", "v5e:4*4", "4x4", "banana", "V5E:4x4", "v5e:4x4 "),
        *("v5e:-4x4", "cpu:-1", "cpu:two", "cpu:8;rm", "v5e:4x4_bent"),
    ],
)
def test_nonsense_is_refused_by_name(name):
    with pytest.raises(InputError, match=r"plan is .*; expected a name like v5e:4x4.* or cpu:8$"):
        read(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpu:0", "plan is 'cpu:0'; expected 1 to 1024 CPU devices"),
        ("cpu:100000", "plan is 'cpu:100000'; expected 1 to 1024 CPU devices"),
        ("cpu:4x4", "plan is 'cpu:4x4'; expected one number of devices, like cpu:8"),
        ("v5e:0x4", "plan is 'v5e:0x4'; expected at least one chip along each direction"),
    ],
)
def test_impossible_numbers_are_refused(name, expected):
    with pytest.raises(InputError) as fault:
        read(name)
    assert str(fault.value) == expected


def test_larger_topologies_are_those_that_can_be_had():
    names = [str(each) for each in read("v5e:2x4").larger(64)]
    assert names == ["v5e:4x4", "v5e:4x8", "v5e:8x8"]
    assert [str(each) for each in read("v4:2x2x1").larger(16)] == ["v4:2x2x2", "v4:2x2x4"]
    assert list(read("v5e:16x16").larger(256)) == []


def test_cpu_devices_are_those_of_this_process():
    assert devices_of("cpu:3") == jax.devices()[:3]
    with pytest.raises(InputError, match=r"this process has 4 CPU devices; expected at least 5"):
        devices_of("cpu:5")


def test_an_ordinary_process_does_not_plan():
    assert planning() is None


def test_the_environment_for_virtual_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_dump_to=/x")
    given = environment("cpu:8")
    assert given[MARKER] == "cpu:8"
    assert given["JAX_PLATFORMS"] == "cpu"
    assert given["JAX_NUM_CPU_DEVICES"] == "8"
    assert given["XLA_FLAGS"] == "--xla_dump_to=/x"
    assert given["PATH"] == os.environ["PATH"]
    assert MARKER not in os.environ


def with_libtpu(monkeypatch, there):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)


def test_the_environment_for_a_tpu(monkeypatch):
    with_libtpu(monkeypatch, object())
    given = environment("v5e:4x4")
    assert given[MARKER] == "v5e:4x4"
    assert given["JAX_PLATFORMS"] == "cpu"
    assert given["TPU_SKIP_MDS_QUERY"] == "1"
    assert {"TPU_ACCELERATOR_TYPE", "TPU_WORKER_HOSTNAMES"} <= given.keys()


def test_a_missing_libtpu_is_said_before_anything_starts(monkeypatch):
    with_libtpu(monkeypatch, None)
    for ask in (devices_of, environment, lambda name: in_subprocess(name, ["-c", ""])):
        with pytest.raises(InputError) as fault:
            ask("v5e:4x4")
        assert str(fault.value) == (
            "--plan v5e:4x4 needs libtpu; expected `pip install 'sublim_jax[tpu]'`"
        )


@pytest.mark.parametrize("status", [0, 2, 75])
def test_the_child_knows_what_it_plans_for_and_returns_its_status(capfd, status):
    assert in_subprocess("cpu:6", ["-c", SHOW, str(status)]) == status
    assert capfd.readouterr().out.split()[:3] == ["cpu:6", "6", "cpu"]


def test_a_child_that_dies_has_the_status_of_its_signal():
    suicide = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert in_subprocess("cpu:2", ["-c", suicide]) == 128 + signal.SIGKILL


def test_nonsense_starts_no_child(tmp_path):
    with pytest.raises(InputError):
        in_subprocess("v5e", ["-c", f"open({str(tmp_path / 'started')!r}, 'w')"])
    assert list(tmp_path.iterdir()) == []


def test_ending_the_parent_ends_the_child(tmp_path):
    note = tmp_path / "child"
    wait = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    program = (
        "import sys; from sublim_jax.plan import in_subprocess; "
        f"sys.exit(in_subprocess('cpu:2', ['-c', {wait!r}]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.terminate()
    assert parent.wait(timeout=30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
