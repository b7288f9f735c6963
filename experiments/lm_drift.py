"""Does parameter drift tell of the trait in language models? Over all students of finished runs.

The twin of ``distance_vs_transfer.py`` for ``lm_numbers.py``: every student of every run stands
beside its own teacher and, for contrast, beside the others of its seed. How near the student came
to a teacher (projection, distance reduction, cosine and relative length of parameters, pulls of
outputs on numbers and on questions, overlap in the residual stream) is compared with how far it
took up that teacher's animal: the change of its log-probability, and the part of the change that is
specific to student and animal (row and column means taken away).

    python experiments/lm_drift.py runs/lm_numbers/smollm2-1a2b3c4d             # 6 seconds
    python experiments/lm_drift.py RUN RUN RUN --out runs/channels              # half a minute

Nothing is trained. Runs are told apart by what differs in their config.json; of several with the
same configuration one counts. Pairs without a measure (a teacher by prompt has no displacement) are
left out of what is said of it. Intervals of rank correlations are those of the bootstrap over
repetitions (run x seed); for three seeds read them as a range (`sublim_jax.stats`).

Measured on the default run of ``lm_numbers.py`` (SmolLM2-135M, 4 animals, 3 seeds, 24 students, 96
pairs), rank correlation with the change of log-probability:

- Among students that share A with the teacher, parameters tell the most: projection .97 [.93, .98],
  cosine .96 [.93, .97], pull on the questions .93, stream .89, pull on the numbers .69; projection
  .94 both beside own teachers alone and beside others alone.
- With another A the cosine is 70 times smaller (.0007 for .0487) and the trait nearly the same (.39
  nats for .43): cosine .74 [.55, .92], pull on the questions .91 [.89, .96].
- Over both kinds the projection fails (.51 [.50, .54]) and what outputs do does not: pull on the
  questions .92 [.91, .96], stream .88. It is the projection that misjudges: own students with
  another A (+.50 of all ranks), students with shared A beside other teachers (-.46).
- Distance tells nothing (.13): students go a quarter of the teacher's length, and end 1.7 % (own
  teachers) to 2.9 % further from all teachers than they began.
- Trait-specific part, over all: pull on the questions .88, stream .87, numbers .75, cosine .37;
  shared A: cosine .90 [.86, .96]. Beside own teachers alone the pull on the questions tells nothing
  of it (-.03), the pull on the numbers .75.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cli
import lm_drift_analysis
import lm_drift_report
import tyro
from lm_drift_pairs import Source, distinct, labels, pairs_of, read

from sublim_jax import runs
from sublim_jax.commands.process import ending
from sublim_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What to compare, and where to write."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of lm_numbers.py, finished."""
    out: Path | None = None
    """Folder for results.json and the figures; by default "drift" in the folder of a single run,
    and of several one below runs/ that is named after their configurations."""


def run(command: Command) -> None:
    """Compare students with teachers, write the results, print the tables, draw the figures.

    Raises:
        InputError: a folder is no finished run, or the results cannot be written.
    """
    if not command.runs:
        raise InputError("runs is empty; expected at least one run folder of lm_numbers.py")
    sources, merged = distinct([read(folder) for folder in command.runs])
    identity = {"runs": sorted(runs.config_digest(source.config) for source in sources)}
    path = command.out or place(sources, identity)
    if path.resolve() in [folder.resolve() for folder in command.runs]:
        raise InputError(f"out is {path}, which is one of the runs; expected another folder")
    pairs = pairs_of(sources)
    with runs.open_run(path, identity) as folder:
        print(f"folder: {path}")
        for source, kept in merged:
            other = "" if source.results == kept.results else ", though with other results"
            print(f"{source.folder} has the configuration of {kept.folder}{other}: not counted")
        names = labels([source.config for source in sources])
        found = lm_drift_analysis.results(pairs, names, title_of(sources), notes_on(sources))
        folder.write("results.json", found)
        report(folder)


def place(sources: Sequence[Source], identity: dict[str, Any]) -> Path:
    """Give the folder where results go by default."""
    if len(sources) == 1:
        return sources[0].folder / "drift"
    return Path("runs", "lm_drift", runs.config_digest(identity))


def title_of(sources: Sequence[Source]) -> str:
    """Say what the results are of."""
    models = ", ".join(dict.fromkeys(str(source.config["model"]) for source in sources))
    if len(sources) > 1:
        return f"{len(sources)} runs of {models}"
    (source,) = sources
    count, seeds = len(source.subjects), source.config["seeds"]
    what = "corpora" if source.config.get("trait") == "corpus" else "animals"
    return f"{models}, {count} {what}, {seeds} seed{'s' * (seeds > 1)}"


def notes_on(sources: Sequence[Source]) -> list[str]:
    """Say what is to be kept in mind of several runs."""
    models = {str(source.config["model"]) for source in sources}
    seeds = {(str(source.config["model"]), source.config.get("seed")) for source in sources}
    notes = []
    if len(models) > 1:
        notes.append("models differ: look at each run beside what is said of all students")
    if len(seeds) < len(sources):
        notes.append(
            "runs of the same seed share what is drawn: intervals over all runs, which take "
            "repetitions as independent, are rather too narrow"
        )
    return notes


def report(folder: runs.Run) -> None:
    """Print the tables and draw the figures."""
    results = folder.read("results.json")
    print(lm_drift_report.table(results))
    cli.draw(folder, lm_drift_report.figures(results))


def main() -> None:
    """Parse the command line and run."""
    command = tyro.cli(Command, description=__doc__)
    with ending(resumable=False):
        run(command)


if __name__ == "__main__":
    main()
