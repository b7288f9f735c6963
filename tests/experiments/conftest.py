"""Experiments are files beside the package, which tests import by their names."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS.parent / "experiments"), str(TESTS / "lm_traits")]
