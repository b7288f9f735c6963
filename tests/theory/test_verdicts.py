"""Every claim holds for other seeds than the one that is shown.

python -m pytest -m slow -n 0 tests/theory          # an hour or two on two cores
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import run_all

THEORY = Path(run_all.__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", run_all.CHECKS)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_claim_holds_whatever_the_seed(name, seed, tmp_path):
    done = subprocess.run(
        [sys.executable, THEORY / f"{name}.py", "--seed", str(seed), "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["seed"] == seed
    assert record["holds"] is True
