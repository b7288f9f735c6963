"""What the README shows runs, and its commands are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_shows_a_pull():
    section = README.split("## The mechanism in code")[1]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    at_the_start, *later = done.stdout.strip().strip("[]").split()
    assert at_the_start == "nan"
    assert all(float(cosine) > 0 for cosine in later)


@pytest.mark.parametrize("readme", ["README.md", "theory/README.md"])
def test_linked_files_exist(readme):
    targets = re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / readme).read_text())
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / readme).parent.joinpath(target).exists(), target
