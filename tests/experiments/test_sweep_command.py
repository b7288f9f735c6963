"""Sweeps as a user meets them: commands, their files, their refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
EXPERIMENTS = TESTS.parent / "experiments"
GRID = ("--vary", "rate=0.1,0.2,0.3", "widths=4x4,8")
BATCH = ("SLURM_", "PBS_", "SGE_", "LSB_", "JOB_COMPLETION", "AWS_BATCH", "RAY_")


def environment(home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(BATCH)}
    # Ray keeps a token in the home folder.
    return kept | {"PYTHONPATH": str(TESTS), "HOME": str(home), "JAX_PLATFORMS": "cpu"} | more


def command(*words):
    return [sys.executable, str(EXPERIMENTS / "sweep.py"), *map(str, words)]


@pytest.fixture
def sweep(tmp_path):
    """Run a sweep of the toy experiment to its end."""

    def start(*words, out="sweep", **more):
        return subprocess.run(
            command("toy_experiment", *words, "--out", tmp_path / out),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment(tmp_path, **more),
        )

    return start


@pytest.mark.slow
def test_a_sweep_fails_alone_continues_and_extends(sweep, tmp_path):
    done = sweep(*GRID, "--bad", "0.2")
    assert done.returncode == 1
    assert "6 configurations in 2 units" in done.stdout
    assert "6 of 6 configurations: " in done.stdout
    assert done.stderr.count("ArithmeticError: rate 0.2 diverged at step 3") == 2
    assert "error: 2 configurations failed; the same command tries them again" in done.stderr
    assert "Traceback" not in done.stderr
    assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 1 + 4 * 2
    done = sweep(*GRID)
    assert done.returncode == 0, done.stderr
    assert "4 of 6 configurations are finished: skipped" in done.stdout
    assert f"table: {tmp_path / 'sweep' / 'results.csv'} (12 rows)" in done.stdout
    done = sweep("--vary", "rate=0.3,0.4", "--vary", "widths=8")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 configurations are finished: skipped" in done.stdout
    assert len(json.loads((tmp_path / "sweep" / "sweep.json").read_text())["grids"]) == 2
    before = (tmp_path / "sweep" / "results.csv").read_bytes()
    (tmp_path / "sweep" / "results.csv").unlink()
    assert sweep("--collect").returncode == 0
    assert (tmp_path / "sweep" / "results.csv").read_bytes() == before


@pytest.mark.slow
def test_an_array_job_makes_the_same_table(sweep, tmp_path):
    assert sweep(*GRID, out="serial").returncode == 0
    for index in (2, 1):
        task = {"ID": index, "MIN": 1, "MAX": 2, "STEP": 1, "COUNT": 2}
        variables = {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in task.items()}
        done = sweep(*GRID, "--engine", "array", out="array", **variables)
        assert done.returncode == 0, done.stderr
        assert f"task {index - 1} of 2: 1 units" in done.stdout
    tables = [(tmp_path / name / "results.csv").read_bytes() for name in ("serial", "array")]
    assert tables[0] == tables[1]


def test_a_dry_run_tells_the_units_and_makes_nothing(sweep, tmp_path):
    done = sweep(*GRID, "limit=None,3", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "12 configurations in 2 units" in done.stdout
    assert "unit 1:" in done.stdout
    assert "rate=0.2 widths=8 limit=3" in done.stdout
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "vary is empty; expected FIELD=V1,V2,..."),
        (("--vary", "rat=1"), "vary names rat; expected one of rate, widths, bias"),
        (("--vary", "rate"), "vary is rate; expected FIELD=V1,V2,..."),
        (("--vary", "rate=1,1.0"), "vary has 1.0 twice for rate"),
        (("--vary", "rate=1,-2"), "which is refused: rate is -2.0; expected a positive number"),
        (("--vary", "rate=1", "--collect"), "expected the folder of a sweep"),
        (("--vary", "rate=1", "--engine", "array"), "nothing announces a task"),
        (("--vary", "rate=1", "--engine", "array", "--index", "1"), "index is 1; expected 0 to 0"),
        (("--vary", "rate=1", "--index", "1"), "expected it with engine array"),
        (("--replot",), "--replot"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(sweep, words, said):
    done = sweep(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_experiment_is_refused_and_help_explains(tmp_path):
    def start(*words):
        return subprocess.run(
            command(*words), capture_output=True, text=True, check=False, env=environment(tmp_path)
        )

    done = start("mnist_aux_logit")
    assert done.returncode == 2
    assert "experiment is mnist_aux_logit; expected one of mnist_aux_logits" in done.stderr
    assert "Experiments: mnist_aux_logits" in start("--help").stdout
    explained = start("toy_experiment", "--help").stdout
    for option in ("--vary", "--engine", "--ray-address", "--collect", "--rate", "--devices"):
        assert option in explained
    assert "--replot" not in explained


@pytest.fixture
def reader(monkeypatch):
    """The functions of the command that parse values."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import sweep as module

    return module


def test_values_are_read_as_the_fields_say(reader):
    from toy_experiment import ToyConfig

    words = ["rate=1e-4,.5", "widths=64x64,8,()", "bias=true,False", "kind=right", "limit=None,3"]
    assert reader.read_vary(ToyConfig, words) == {
        "rate": [1e-4, 0.5],
        "widths": [(64, 64), (8,), ()],
        "bias": [True, False],
        "kind": ["right"],
        "limit": [None, 3],
    }


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rate=fast", "vary has fast for rate; expected float"),
        ("rate=", "vary has an empty value for rate"),
        ("rate=1,,2", "vary has an empty value for rate"),
        ("widths=64xa", "vary has 64xa for widths; expected tuple[int, ...]"),
        ("bias=perhaps", "vary has perhaps for bias; expected bool"),
        ("kind=up", "vary has up for kind; expected Literal['left', 'right']"),
        ("limit=1.5", "vary has 1.5 for limit; expected int | None"),
    ],
)
def test_values_of_another_type_are_refused(reader, word, said):
    from toy_experiment import ToyConfig

    from sublim_jax.errors import InputError

    with pytest.raises(InputError) as caught:
        reader.read_vary(ToyConfig, [word])
    assert said in str(caught.value)


@pytest.mark.slow
def test_mnist_runs_side_by_side_and_each_run_is_complete_by_itself(tmp_path, write_images):
    images = tmp_path / "images"
    images.mkdir()
    write_images(images, train=80, test=30)
    small = (
        *("--members", "2", "--noise-images", "96", "--batch-size", "32", "--widths", "8"),
        *("--student-epochs", "1", "--teacher-epochs", "1", "--observations", "2"),
        *("--data-dir", images),
    )
    out, env = tmp_path / "sweep", environment(tmp_path)
    words = ("mnist_aux_logits", "--vary", "student_lr=1e-3,3e-3", *small, "--out", out)
    done = subprocess.run(command(*words), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "2 configurations in 1 units" in done.stdout
    lines = (out / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    digest = lines[1].split(",")[0]
    script = EXPERIMENTS / "mnist_aux_logits.py"
    again = [sys.executable, script, *small, "--student-lr", "1e-3", "--out", out / digest]
    done = subprocess.run(list(map(str, again)), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "complete: all 2 members are there" in done.stdout


@pytest.mark.slow
def test_ray_makes_the_same_table_and_survives_a_process_that_dies(sweep, tmp_path):
    pytest.importorskip("ray")
    ray = ("--engine", "ray")
    done = sweep(*GRID, *ray, "--bad", "0.2", "--crashing", "0.3", out="ray")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count(": done ") == 2
    assert done.stderr.count("ArithmeticError: rate 0.2 diverged at step 3") == 2
    assert done.stderr.count("WorkerCrashedError") == 2
    assert sweep(*GRID, *ray, out="ray").returncode == 0
    assert sweep(*GRID, out="serial").returncode == 0
    tables = [(tmp_path / name / "results.csv").read_bytes() for name in ("serial", "ray")]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_tasks_of_ray_save_when_the_sweep_is_asked_to_stop(tmp_path, number, status):
    pytest.importorskip("ray")
    out = tmp_path / "sweep"
    words = ("toy_experiment", "--vary", "rate=0.1,0.2", "--engine", "ray", "--waiting", "0.2")
    process = subprocess.Popen(
        command(*words, "--out", out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    )
    limit = time.monotonic() + 120
    while not list(out.glob(".scratch/*/waiting")):
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=90)
    assert process.returncode == status, said
    assert "the same command continues" in said
    assert list(out.glob(".scratch/*/saved"))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_refused(sweep):
    pytest.importorskip("ray")
    done = sweep("--vary", "rate=1", "--engine", "ray", "--ray-address", "127.0.0.1:9")
    assert done.returncode == 2
    assert "ray_address is 127.0.0.1:9 (ConnectionRefusedError" in done.stderr
