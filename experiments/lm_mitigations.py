"""What helps against a preference that comes along with numbers, and what does it cost?

The authors of the paper advise another base for the teacher (Cloud, Le et al. 2025, arXiv
2507.14805, discussion); here that, and all else that the theory of small displacements speaks of,
is tried on one task: students learn what a teacher with a favourite animal says of digits and
separators. A mitigation that keeps a student from learning helps, too, and is none: all are
compared where students imitate equally well, on contexts that they have not learned.

    python experiments/lm_mitigations.py     # 12 mitigations, 2 animals, 3 seeds: 24 minutes
    python experiments/lm_mitigations.py --quick
    python experiments/lm_mitigations.py --mitigations none other_base mixed_50

Without knowing the trait: another base for the teacher; a committee of teachers of three bases,
whose mean distribution is learned; clean rows in between; the teacher's rows said again by a model
of another base; the base's distribution mixed in at first; a training that is stopped early. For
somebody who suspects which trait it is: places left out whose influence on it is largest; the
words of the trait held to the base at the same places; updates without the trait's gradient; and,
with the teacher's parameters, updates without its displacement. Other bases are the student's with
noise, healed until they say the same of numbers. In the linear regime (see ``theory/``) all that
changes rates only is no mitigation at equal imitation: mixing with clean rows, stopping early and
holding to the base at first should be none, another base and projections should help. Measured at
default size (`experiments/README.md`): so it is, but for two. Without its teacher's displacement a
student takes over more (+.09 ± .01 nats); of another base's teacher students learn too little to
tell.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import cli
import lm_run
import numpy as np
from intervals import counted, over_seeds
from lm_run import Options, computing, spread
from matplotlib.figure import Figure

from sublim_jax import runs
from sublim_jax.lm_traits.mitigation import MITIGATIONS, MitigationConfig, run_mitigations
from sublim_jax.lm_traits.mitigation.names import EARLY_STOP, NONE
from sublim_jax.plan import Stages
from sublim_jax.plots.courses import Course, courses_figure
from sublim_jax.plots.forest import Panel, forest_figure
from sublim_jax.training import Devices

PRESETS = {
    "default": MitigationConfig(),
    "quick": MitigationConfig(
        seeds=1,
        mitigations=(NONE, EARLY_STOP, "other_base", "mixed_50", "without_trait"),
        passes=4,
        stop_passes=2,
        heal_rows=64,
    ),
}
TRAIT = "own student minus other students (nats)"


def run(config: MitigationConfig, options: Options) -> None:
    """Train what the run folder lacks, print the table, draw the figures."""

    def fill(folder: runs.Run) -> None:
        with cli.session(options, folder.folder / "checkpoints") as session:
            trained = run_mitigations(
                config,
                folder,
                load=functools.partial(lm_run.loaded, config.model),
                parallel=spread(options),
                computing=computing(options),
                session=session,
            )
        if not trained:
            print(lm_run.COMPLETE)

    path = lm_run.folder_of("lm_mitigations", config, options, config.model)
    lm_run.recorded(path, config, options, fill, report)


def planned(config: MitigationConfig, options: Options, devices: Devices) -> Stages:
    """Describe the stages of a run: every mitigation trains as many students as the arm here."""
    setting = dataclasses.replace(config.setting, arms=("same", "healed"))
    return lm_run.planned(setting, options, devices)


def report(folder: runs.Run) -> None:
    """Print what a complete run found, and draw its figures."""
    results = folder.read("results.json")
    print(table(results))
    cli.draw(folder, figures(results))


def table(results: Mapping[str, Any]) -> str:
    """Lay out every mitigation."""
    seeds, animals = results["seeds"], results["subjects"]
    lines = [
        f"\n{results['model']}: change of log-probability in nats, students of {len(animals)} "
        f"teachers ({', '.join(animals)}) x {seeds} seeds, mean ± 95 % t interval over seeds",
        f"{'':42}{'KL':>8}{'not learned':>16}{'own animal':>17}{'other animals':>17}"
        f"{'difference':>17}{'at equal imitation':>19}{'without, there':>17}{'less':>17}"
        f"{'cosine':>17}",
    ]
    for name, found in results["mitigations"].items():
        transfer, alike = found["transfer"], found["matched"]
        less = np.subtract(alike["contrast"], alike["without"])
        cells = [over_seeds(transfer[key]["seeds"]) for key in ("own", "other", "contrast")]
        cells = [f"{cell:>17}" for cell in cells]
        compared = name != NONE and name != EARLY_STOP
        cells += [
            f"{over_seeds(alike['contrast']) if compared else '':>19}",
            f"{over_seeds(alike['without']) if compared else '':>17}",
            f"{over_seeds(less) if compared else '':>17}",
            f"{'' if found['cosine'] is None else over_seeds(found['cosine'], '+.4f'):>17}",
        ]
        lines.append(
            f"{MITIGATIONS[name]:42}{np.mean(found['divergence']):8.5f}"
            f"{over_seeds(found['left'], '.1%'):>16}" + "".join(cells)
        )
    lines.append(
        "KL: of the base from what a student is meant to say, nats a token, on contexts that it "
        "does not learn; not learned: share of it\nthat is left in the end; difference: own "
        "student minus other students, for the same animal; at equal imitation: where students\n"
        "with and without a mitigation have the same share left; cosine: of displacements of "
        "student and teacher of its own base"
    )
    return "\n".join(lines)


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the trait beside what is learned: where imitation is equal, and along trainings."""
    found = {MITIGATIONS[name]: entry for name, entry in results["mitigations"].items()}

    def values(entry: Callable[[Mapping[str, Any]], Any]) -> dict[str, np.ndarray]:
        return {name: np.array(entry(own), float) for name, own in found.items()}

    seeds = counted(results["seeds"], "95 % intervals")
    question = "What helps against a trait that comes along?"
    title = f"{question}\n{results['model']}; {seeds}"
    alike = Panel(
        TRAIT,
        values(lambda own: own["matched"]["contrast"]),
        values(lambda own: own["matched"]["without"]),
    )
    left = Panel("not learned in the end (share)", values(lambda own: own["left"]))
    drawn = {
        "mitigations.png": forest_figure(
            [alike, left],
            main="with the mitigation",
            beside="without, at the same imitation",
            title=title,
        )
    }
    courses = {
        name: Course(*(np.array(entry["curve"][key]) for key in ("left", "contrast")))
        for name, entry in found.items()
        if name != MITIGATIONS[EARLY_STOP]
    }
    if len(courses) > 1:
        none, main = MITIGATIONS[NONE], "with the mitigation"
        drawn["along.png"] = courses_figure(courses, none, main=main, ylabel=TRAIT, title=title)
    return drawn


if __name__ == "__main__":
    cli.main(run, presets=PRESETS, options=Options(), description=__doc__, planned=planned)
