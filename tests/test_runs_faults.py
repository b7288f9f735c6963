"""A run folder that two processes want, that may not be written, whose disk is full, that goes."""

import contextlib
import errno
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
from folders import (
    ENVIRONMENT,
    command,
    contents,
    python,
    refusal,
    sentence,
    visible,
)

from sublim_jax.runs import Run, open_run

CONFIG = {"seed": 1}


def opened(folder, config=CONFIG):
    """Open a run and leave it again."""
    with open_run(folder, config) as run:
        return run


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), os.strerror(errno.EROFS)),
        (NotImplementedError("no flock here"), "no flock here"),
    ],
)
def test_a_folder_that_cannot_be_locked_is_refused(tmp_path, monkeypatch, fault, reason):
    def fail(*args, **options):
        raise fault

    monkeypatch.setattr("sublim_jax.runs.FileLock.acquire", fail)
    message = refusal(opened, tmp_path)
    assert reason in message
    assert str(tmp_path) in message


OPEN_AS_NOBODY = """
jax.devices()
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
with open_run(Path(sys.argv[2]), {"seed": 1}):
    pass
"""


@pytest.mark.parametrize("name", ["run", "new"])
def test_a_folder_without_permission_is_refused(tmp_path, name):
    """As another user, where the tests run as one who may do everything."""
    (tmp_path / "run").mkdir(mode=0o555)
    tmp_path.chmod(0o555)
    finished = python(OPEN_AS_NOBODY, tmp_path, name)
    tmp_path.chmod(0o755)
    assert sentence(finished) == (
        f"run folder {name} cannot be written ({os.strerror(errno.EACCES)}); "
        "expected a writable folder"
    )
    assert contents(tmp_path / "run") == {}


def test_a_run_in_use_is_refused_and_left_alone(tmp_path):
    with open_run(tmp_path, CONFIG) as run:
        run.write("results.json", [1])
        before = contents(tmp_path)
        message = refusal(opened, tmp_path)
        assert str(tmp_path) in message
        assert f"process {os.getpid()} on host {platform.node()}" in message
        assert contents(tmp_path) == before
        # The lock comes first: who does not hold it does not look at the configuration.
        assert refusal(opened, tmp_path, {"seed": 2}) == message
        run.write("results.json", [1, 2])
    assert opened(tmp_path).read("results.json") == [1, 2]


def test_a_run_whose_holder_has_not_said_so_yet_is_in_use_all_the_same(tmp_path):
    with open_run(tmp_path, CONFIG):
        (tmp_path / ".holder").unlink()
        assert "in use by another process" in refusal(opened, tmp_path)


def test_a_run_that_fails_or_is_refused_is_free_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, CONFIG):
        raise KeyboardInterrupt
    refusal(opened, tmp_path, {})
    assert ".holder" not in contents(tmp_path)
    opened(tmp_path)


HOLD = """
with open_run(Path(sys.argv[1]), {"seed": 1}) as run:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    run.write("results.json", "held")
"""


@pytest.mark.parametrize("killed", [True, False])
def test_another_process_keeps_the_run_until_it_ends_however_it_ends(tmp_path, killed):
    with subprocess.Popen(
        command(HOLD, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as holder:
        pid = int(holder.stdout.readline())
        message = refusal(opened, tmp_path)
        assert f"in use by process {pid} on host {platform.node()}" in message
        if killed:
            holder.kill()
        holder.stdin.close()
    assert holder.returncode == (-signal.SIGKILL if killed else 0)
    assert opened(tmp_path).has("results.json") != killed


RIVAL = """
print("ready", flush=True)
sys.stdin.readline()
with open_run(Path(sys.argv[1]), {"seed": 1}) as run:
    print("opened", flush=True)
    sys.stdin.read()
"""


def test_of_many_that_open_at_once_one_gets_the_run(tmp_path):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with contextlib.ExitStack() as stack:
        rivals = [
            stack.enter_context(
                subprocess.Popen(command(RIVAL, tmp_path), text=True, env=ENVIRONMENT, **pipes)
            )
            for _ in range(4)
        ]
        assert [rival.stdout.readline() for rival in rivals] == ["ready\n"] * 4
        for rival in rivals:
            rival.stdin.write("go\n")
            rival.stdin.flush()
        # The one that has opened waits for the end of its input, the others have ended theirs.
        answers = [rival.stdout.readline() for rival in rivals]
        for rival in rivals:
            rival.stdin.close()
    assert sorted(answers) == ["", "", "", "opened\n"]
    assert [rival.returncode for rival in rivals] == [int(not answer) for answer in answers]


def test_a_run_whose_folder_is_gone_says_so_and_makes_no_other(tmp_path):
    with open_run(tmp_path / "run", CONFIG) as run:
        shutil.rmtree(run.folder)
        for function in (run.write, run.save_whole):
            assert f"{run.folder} is gone" in refusal(function, "members/0.json", b"")
    assert not run.folder.exists()


HOSTS = """
from jax.experimental import multihost_utils

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
name, folder = f"{jax.process_index()}", Path(sys.argv[1])
for seed in (1, 1, 2):
    try:
        with open_run(folder, {"seed": seed}) as run:
            assert run.read("config.json") == {"seed": 1}
            held = (folder / ".holder").read_text().startswith(f"process {os.getpid()} ")
            assert held == (name == "0")
            multihost_utils.sync_global_devices("all have looked")
            run.write(f"{name}.json", [])
            run.save_whole(f"{name}.bin", b"")
            with MetricsLog(folder / "metrics.jsonl") as log:
                log.rewind(name, 0)
                log.write(name, [0], {"loss": [0.5]})
            multihost_utils.sync_global_devices("all have written")
    except InputError as fault:
        print(fault, flush=True)
"""


def test_on_two_hosts_the_first_one_decides_and_writes(tmp_path):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    hosts = [
        subprocess.Popen(
            command(HOSTS, tmp_path, address, index),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for index in range(2)
    ]
    finished = [host.communicate(timeout=100) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], finished
    # What the transport says goes before.
    first, other = [output.splitlines()[-1] for output, _ in finished]
    assert first == other
    assert "seed is 1 there and 2 here" in first
    assert visible(tmp_path).keys() == {"config.json", "0.json", "0.bin", "metrics.jsonl"}
    row = {"training": "0", "step": 0, "loss": 0.5}
    assert Run(tmp_path).read("metrics.jsonl") == [row]


FILL = """
with open_run(Path(sys.argv[1]), {}) as run:
    run.write("results.json", "old")
    run.write("results.json", "x" * 200_000)
"""


def test_a_file_over_the_limit_leaves_the_old_one(tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    finished = python(limit + FILL, tmp_path)
    assert "results.json cannot be written" in sentence(finished)
    assert os.strerror(errno.EFBIG) in sentence(finished)
    assert visible(tmp_path) == {"config.json": b"{}\n", "results.json": b'"old"\n'}
    assert opened(tmp_path, {}).read("results.json") == "old"


# A disk of a hundred kilobytes, for one process, where the system gives one to anybody.
SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
MOUNT = 'mount -t tmpfs -o size=100k none "$0"'


def has_small_disk():
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(FileNotFoundError):
        mounted = subprocess.run([*SMALL_DISK, MOUNT, folder], capture_output=True)
        return mounted.returncode == 0
    return False


@pytest.mark.skipif(not has_small_disk(), reason="needs a mount namespace")
def test_a_full_disk_leaves_the_old_files(tmp_path):
    program = """
run, log = Run(Path(sys.argv[1])), None
try:
    with open_run(run.folder, {}), MetricsLog(run.folder / "metrics.jsonl") as log:
        log.write("a", [0], {"loss": [0.5]})
        run.write("results.json", "old")
        try:
            run.write("results.json", "x" * 200_000)
        except InputError as fault:
            print(fault)
        log.write("a", range(1, 10_000), {"loss": [0.5] * 9_999})
finally:
    print(sorted(os.listdir(run.folder)), run.read("results.json"), run.read("metrics.jsonl"))
"""
    finished = python(program, tmp_path, before=(*SMALL_DISK, f'{MOUNT}; exec "$@"', tmp_path))
    first, after = finished.stdout.splitlines()
    for message, name in ((first, "results.json"), (sentence(finished), "metrics.jsonl")):
        assert f"{name} cannot be written ({os.strerror(errno.ENOSPC)})" in message
    assert after == (
        "['.lock', 'config.json', 'metrics.jsonl', 'results.json'] old "
        "[{'training': 'a', 'step': 0, 'loss': 0.5}]"
    )
