"""What the README shows runs, and its commands are there."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs_and_shows_a_pull():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    at_the_start, *later = done.stdout.strip().strip("[]").split()
    assert at_the_start == "nan"
    assert all(float(cosine) > 0 for cosine in later)


def test_linked_files_exist():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (root / target).exists(), target
