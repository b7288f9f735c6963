"""``sublim-jax drift``: compare checkpoints on disk."""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from sublim_jax import plots, runs
from sublim_jax.drift import files
from sublim_jax.errors import InputError
from sublim_jax.plots.heatmap import Heat, heat_maps

RECORD, FIGURE = "drift.json", "drift.png"
PATIENCE = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift:
    """How far has a student moved toward its teacher? Compares checkpoints of any size.

    A checkpoint is an orbax checkpoint, a safetensors file or folder (sharded ones too), a GGUF
    file or an .npz; for teacher, student and controls also a LoRA adapter in the PEFT format,
    whose base is the initialisation. Tensors are paired by name; PATH::PREFIX takes those below a
    prefix and removes it from their names. Prints a table by layer, and writes drift.json and
    drift.png.

      sublim-jax drift --init base/ --teacher teacher/ --student student/

      sublim-jax drift --init base/ --teacher t-lora/ --student s-lora/ --control c1/ c2/

      sublim-jax drift --init init.npz --teacher t.npz --student run/checkpoint::state/params
    """

    init: str
    """The student's initialisation; the base, where the student is an adapter."""
    teacher: str
    """The trained teacher."""
    student: str
    """The trained student."""
    control: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """Students from the same initialisation that this teacher has not taught; better 20 or more."""
    teacher_init: str | None = None
    """The teacher's own initialisation, where it is not the student's."""
    out: Path | None = None
    """Folder for drift.json and drift.png; by default drift-STUDENT here, by the student's name."""
    select: tuple[str, ...] = ()
    """Compare only tensors in whose name one of these regular expressions is found."""
    per_tensor: bool = False
    """Print a row for every tensor instead of every layer."""
    quiet: bool = False
    """Print only warnings."""

    def run(self) -> None:
        """Compare, print and write.

        Raises:
            InputError: something that was given cannot be used.
        """
        out = self.out or Path(f"drift-{_stem(self.student)}")
        init = files.open_weights(self.init)
        base = init if self.teacher_init is None else files.open_weights(self.teacher_init)
        teacher = files.open_moved(self.teacher, base)
        student = files.open_moved(self.student, init)
        controls = [files.open_moved(path, init) for group in self.control for path in group]
        paths = {"init": init, "teacher": teacher, "student": student}
        paths |= {f"control {i}": control for i, control in enumerate(controls, 1)}
        given = {role: str(weights.path) for role, weights in paths.items()}
        given |= {"teacher_init": str(base.path)} if base is not init else {}
        _claim(out, given)
        with _bar(shown=not self.quiet) as progress:
            comparison = files.compare(
                *(init, teacher, student, controls),
                teacher_init=None if base is init else base,
                select=self.select,
                progress=progress,
            )
        for sentence in files.warnings(comparison):
            print(f"warning: {sentence}", file=sys.stderr)
        record = runs.plain({"select": self.select, **files.record(comparison)})
        runs.write_whole(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())
        plots.save(
            figure(comparison, f"{student.path.name} toward {teacher.path.name}"), out / FIGURE
        )
        if not self.quiet:
            print(files.table(comparison, per_tensor=self.per_tensor))
            for sentence in files.notes(comparison):
                print(f"note: {sentence}")
            print(f"written: {out / RECORD}, {out / FIGURE}")


def figure(comparison: files.Comparison, title: str) -> Any:
    """Draw cosine, projection and displacement by layer and kind of tensor."""
    cells = files.grid(comparison)
    maps = [
        Heat("cosine", cells.measures.cosine, signed=True),
        Heat("share of the projection", cells.measures.projection_share, True, saturated=True),
        Heat("share of |d_T|²", cells.measures.displacement_share, False, saturated=True),
    ]
    return heat_maps(
        maps, rows=cells.rows, columns=cells.columns, present=cells.present, title=title
    )


def _stem(student: str) -> str:
    path = Path(student.rpartition("::")[0] or student)
    return (
        path.stem if path.suffix in (".npz", ".gguf", ".safetensors") else path.name
    ) or "student"


def _claim(out: Path, given: dict[str, str]) -> None:
    """Refuse, before the work, a folder that cannot be written or holds another comparison."""
    there = out / RECORD
    if there.exists():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OSError):
            sources = json.loads(there.read_text())["sources"]
            if {role: source["path"] for role, source in sources.items()} == given:
                return
        raise InputError(
            f"out is {out}, which holds the comparison of other files; expected another folder"
        )
    parent = out
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"out is {out}, which cannot be written; expected a folder with room")


@contextlib.contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar of bytes once it has taken longer than people like to wait."""
    with tqdm(
        unit="B", unit_scale=True, delay=PATIENCE, disable=not shown, desc="comparing", leave=False
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
