import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "experiments" / "benchmarks" / "drift.py"


def run(tmp_path, *options):
    return subprocess.run(
        [sys.executable, str(BENCHMARK), "--folder", str(tmp_path), *options],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.slow
def test_the_benchmark_runs_and_the_command_keeps_its_limit_of_memory(tmp_path):
    size = ["--gigabytes", "0.04", "--width", "128", "--vocabulary", "65536"]
    finished = run(tmp_path, *size, "--repeats", "1", "--cold", "--only", "files")
    assert finished.returncode == 0, finished.stderr
    rows = re.findall(r"^(.+?) +(\d+\.\d\d) +(\d+\.\d\d)$", finished.stdout, re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "plain reading",
        "reading as float32",
        "comparison",
        "sublim-jax drift",
    ]
    assert "largest tensor 34 MB in float32; limit 367 MB: kept" in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path):
    finished = run(tmp_path, "--gigabytes", "1e9")
    assert finished.returncode != 0
    assert "expected 3600000000.0 GB" in finished.stderr
    assert list(tmp_path.iterdir()) == []
