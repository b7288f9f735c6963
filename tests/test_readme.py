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


@pytest.mark.parametrize(
    ("readme", "more_than"),
    [("README.md", 5), ("experiments/README.md", 4), ("theory/README.md", 5)],
)
def test_linked_files_exist(readme, more_than):
    targets = re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / readme).read_text())
    assert len(targets) > more_than
    for target in targets:
        name, _, anchor = target.partition("#")
        path = (ROOT / readme).parent / name if name else ROOT / readme
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target


def headings(path):
    """Headings of a Markdown file, as links name them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found]
