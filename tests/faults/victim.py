"""The front door, writing down what it does: started and killed by test_faults.py.

    python victim.py TRACE OPTIONS…

Every chunk and every beginning of a checkpoint becomes a line of the file TRACE.
"""

import runpy
import sys
from pathlib import Path

from sublim_jax import training

SCRIPT = Path(__file__).parents[2] / "experiments" / "mnist_aux_logits.py"
TRACE = sys.argv[1]


def note(*words):
    with open(TRACE, "a") as trace:
        trace.write(" ".join(map(str, words)) + "\n")


class Session(training.Session):
    """A session that writes down what it hears."""

    def resume(self, training, progress):
        at, progress = super().resume(training, progress)
        note("resume", training, at)
        return at, progress

    def reached(self, training, step, steps, progress):
        note("reached", training, step)
        return super().reached(training, step, steps, progress)


class Checkpoints(training.Checkpoints):
    """Checkpoints that say when one begins."""

    def save(self, training, step, tree):
        note("save", training, step)
        super().save(training, step, tree)


training.Session, training.Checkpoints = Session, Checkpoints
sys.argv = [str(SCRIPT), *sys.argv[2:]]
sys.path.insert(0, str(SCRIPT.parent))
runpy.run_path(str(SCRIPT), run_name="__main__")
