"""What a run of traits says: its table, and its figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from intervals import counted, over_seeds, plus_minus, power, read_interval
from matplotlib.figure import Figure

from sublim_jax import plots
from sublim_jax.lm_traits import ALONE, ARMS, MEASURES
from sublim_jax.stats import t_interval

CONTROLS = 6  # animals without teachers in the matrix
FILES = 6  # of rows whose students are in one figure
COLUMNS = {"own": "own {one}", "other": "other {many}", "contrast": "difference"}
DONE = {
    "pull_carrier": "logits\non the carrier",
    "pull_questions": "answers\nto the questions",
    "stream": "residual stream",
}
KINDS = {"animal": "animals", "tree": "trees", "corpus": "corpora"}
"""What subjects are, one and many of them."""
TITLES = {"corpus": "Who has taken over which way of answering?"}


def _heads(results: Mapping[str, Any]) -> str:
    one = results["kind"]
    titles = (title.format(one=one, many=KINDS[one]) for title in COLUMNS.values())
    return "".join(f"{title:>18}" for title in titles)


def table(results: Mapping[str, Any]) -> str:
    """Lay out what every arm gained, and the verdicts."""
    n, heads = len(results["subjects"]), _heads(results)
    what = "names" if results["trait"] == "preference" else "answers that nobody has learnt"
    lines = [
        f"\nchange of log-probability of {what} in nats, {n} {KINDS[results['kind']]}, mean ± 95 % "
        "interval over seeds; "
        "divergence from the teacher on contexts, nats a token;\n80 % power: difference that "
        "so many seeds, as different as these, would tell from 0 in 80 % of cases",
        f"{'':32}" + heads + f"{'divergence':>20}{'80 % power':>14}",
    ]
    if results["teacher"]:
        lines.append(
            f"{'teacher':32}{_of_teachers(np.array(results['teacher']['change'])[..., :n])}"
        )
    for arm, found in results["arms"].items():
        before, after = (np.mean(found["imitation"][when]) for when in ("before", "after"))
        lines.append(
            f"{ARMS[arm]:32}"
            + _gained(found)
            + f"{f'{before:.5f} > {after:.5f}':>20}"
            + f"{power(found['transfer']['contrast']['seeds']):>14}"
        )
    for name, found in results["alone"].items():
        gained = t_interval(np.array(found["change"])[:, 0, :n].mean(1))
        lines.append(f"{ALONE.get(name, name):32}{'':18}{plus_minus(gained, '+.3f'):>18}")
    lines += _matched(results.get("matched", {}), heads)
    lines += _agreement(results.get("agreement", {}))
    lines += _answers(results)
    lines += _kept(results.get("kept", ()))
    for arm, found in results["arms"].items():
        lines += ["", f"{ARMS[arm]}: what was expected, and what was found"]
        for verdict in found["verdicts"]:
            mark = {True: "yes", False: "NO", None: "?"}[verdict["passed"]]
            lines.append(f"  {mark:4}{verdict['criterion']} {verdict['measured']}")
    return "\n".join(lines)


def _matched(arms: Mapping[str, Any], heads: str) -> list[str]:
    """Say what every arm gained where its students imitate as well as those of all arms do."""
    if not arms:
        return []
    lines = [
        "\nthe same where all arms have the same imitation loss (on a third of the questions)",
        f"{'':32}" + heads + f"{'at step':>10}",
    ]
    for arm, found in arms.items():
        lines.append(f"{ARMS[arm]:32}{_gained(found)}{np.mean(found['step']):>10.1f}")
    return lines


def _agreement(found: Mapping[str, Any]) -> list[str]:
    """Say how alike students with the teacher's A and with another are."""
    if not found:
        return []
    alike = {MEASURES[name]: _split(values) for name, values in found["alike"].items()}
    lines = [
        "\na student with the teacher's A and one with another A: cosine of what they do",
        f"{'':32}{'one teacher':>18}{'different ones':>18}",
    ]
    for label, pair in alike.items():
        cells = (plus_minus(t_interval(values), ".3f") for values in pair)
        lines.append(f"{label:32}" + "".join(f"{cell:>18}" for cell in cells))
    if "shared" in found:
        named = {"shared": "a shared A", "another": "another A", "expected": "another A, expected"}
        cells = (
            f"{label} {plus_minus(t_interval(np.array(found[name]).mean(1)), '.4f')}"
            for name, label in named.items()
            if name in found
        )
        lines.append(f"cosine of their parameters with their teacher's: {'; '.join(cells)}")
    return lines


def _split(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give means by seed over students of one teacher, and of different ones."""
    each = np.array(values)
    return _own(each).mean(1), _others(each).mean(1)


def _gained(found: Mapping[str, Any]) -> str:
    intervals = (read_interval(found["transfer"][name]["t"]) for name in COLUMNS)
    return "".join(f"{plus_minus(interval, '+.3f'):>18}" for interval in intervals)


def _of_teachers(change: np.ndarray) -> str:
    """Say what teachers gained, as students do."""
    own, others = _own(change).mean(1), _others(change).mean(1)
    return "".join(f"{over_seeds(gained):>18}" for gained in (own, others, own - others))


def _answers(results: Mapping[str, Any]) -> list[str]:
    """Say how often sampled answers show the subjects, and how far they are from the base's."""
    base, n = results["base"], len(results["subjects"])
    if "rate" not in base:
        return []
    one, many = results["kind"], KINDS[results["kind"]]
    names = "name the " + one if results["trait"] == "preference" else "recommend its product"
    moved = (
        "; total variation distance of answers from the base's: exact, and of samples (by chance)"
    )
    shifts = f"{'exact':>10}{'sampled':>18}"
    if results["trait"] == "corpus":
        moved = shifts = ""
    lines = [
        f"\nsampled answers that {names}{moved}",
        f"{'':32}{f'own {one}':>18}{f'other {many}':>18}{f'any {one}':>18}{shifts}",
        f"{'base':32}{_mean(base['rate'][:n]):>18.1%}{'':18}{base['named']:>18.1%}",
    ]

    def row(name: str, own: np.ndarray | None, others: np.ndarray, found: Any) -> str:
        exact, sampled, chance = (
            np.mean(found[key]) for key in ("variation", "sampled_variation", "variation_by_chance")
        )
        shares = (own, others, np.array(found["named"], float))
        cells = (
            "" if cell is None else plus_minus(t_interval(np.nanmean(cell, axis=1)), ".1%")
            for cell in shares
        )
        shift = f"{exact:>10.4f}{f'{sampled:.3f} ({chance:.3f})':>18}"
        # A whole answer has next to no probability: there are too many others.
        shift = shift if results["trait"] == "preference" else ""
        return f"{name:32}" + "".join(f"{cell:>18}" for cell in cells) + shift

    both = {"teacher": results["teacher"]} if results["teacher"] else {}
    for arm, found in {**both, **results["arms"]}.items():
        rate = np.array(found["rate"], float)[..., :n]
        lines.append(row(str(ARMS.get(arm, arm)), _own(rate), _others(rate), found))
    for alone, found in results["alone"].items():
        rate = np.array(found["rate"], float)[:, 0, :n]
        lines.append(row(str(ALONE.get(alone, alone)), None, rate, found))
    return lines


def _mean(values: Any) -> float:
    """Give the mean of what is known: of a corpus from a file nobody can count answers."""
    return float(np.nanmean(np.array(values, float)))


def _kept(counts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how many answers of each teacher the filter has kept, and why others not."""
    lines = []
    for animal in dict.fromkeys(entry["subject"] for entry in counts):
        own = [entry for entry in counts if entry["subject"] == animal]
        total: Counter[str] = Counter()
        for entry in own:
            total.update({name: n for name, n in entry.items() if name not in ("subject", "seed")})
        whole = sum(total.values())
        others = ", ".join(f"{name} {n}" for name, n in total.most_common() if name != "kept")
        lines.append(
            f"answers of the teacher {animal}: {total['kept'] / whole:.1%} of {whole} kept"
            + (f" (left out: {others})" if others else "")
        )
    return ["", *lines] if lines else []


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw who says what, what drifts beside it, and how both come about."""
    animals = results["subjects"]
    untuned, files = (
        [name for name in results["alone"] if (name in ALONE) == known] for known in (True, False)
    )
    drawn = {}
    if results["arms"] or untuned:
        drawn["bars"] = bars(results, untuned, results["arms"])
    for start in range(0, len(files), FILES):
        number = f"_{start // FILES + 1}" if start else ""
        drawn[f"bars_rows{number}"] = bars(results, files[start : start + FILES], {})
    if results["arms"]:
        drawn |= {"along": along(results), "layers": layers(results)}
    if "agreement" in results:
        drawn["agreement"] = agreement(results["agreement"])
    shown = [*animals, *results["candidates"][len(animals) :][:CONTROLS]]
    for arm, found in results["arms"].items():
        change = np.array(found["change"])
        own = np.eye(len(animals), dtype=bool)
        everything = np.broadcast_to(own, (len(change), *own.shape)).ravel()
        drawn[f"matrix_{arm}"] = plots.matrix_figure(
            change[..., : len(shown)],
            subjects=animals,
            candidates=shown,
            title=f"What does a student say more often?\n{ARMS[arm]}; nats, {counted(len(change))}",
        )
        drawn[f"drift_{arm}"] = plots.drift_figure(
            {label: _flat(found["measures"][name]) for name, label in MEASURES.items()},
            change[..., : len(animals)].ravel(),
            groups=np.where(everything, "own teacher", "other teachers").tolist(),
            names=["own teacher", "other teachers"],
            clusters=np.repeat(np.arange(len(change)), own.size),
            ylabel=f"change of the log-probability\nof the teacher's {results['kind']} (nats)",
            title=f"Which measure of drift tells of the trait?\n{ARMS[arm]}; a point for each "
            "student beside each teacher",
            within={"all": np.full(everything.shape, True), "other teachers": ~everything},
        )
    return drawn


def _flat(values: Any) -> np.ndarray:
    return np.array(values, float).ravel()


def _own(change: np.ndarray) -> np.ndarray:
    """Give ``[seeds, animals, ...]`` of the students of an animal's own teachers."""
    each = np.arange(change.shape[1])
    return change[:, each, each]


def _others(change: np.ndarray) -> np.ndarray:
    """Give ``[seeds, animals]``, the mean over the students of other animals' teachers."""
    n = change.shape[1]
    return (change.sum(axis=1) - _own(change)) / (n - 1)


def bars(results: Mapping[str, Any], alone: Sequence[str], arms: Mapping[str, Any]) -> Figure:
    """Draw every animal in the paper's style: base, other teachers' students, own students.

    Args:
        results: of the run.
        alone: students that are drawn, of which there is one for all animals.
        arms: those of which there is one for every animal.
    """
    animals = results["subjects"]
    panels = []
    for name, ylabel in (
        ("rate", "rate of sampled answers"),
        ("probability", "probability after the opening"),
        ("change", "change of log-probability (nats)"),
    ):
        known = results["base"].get(name, [])
        # Of whole answers probabilities are too small to be drawn, and of files nobody counts.
        small = name == "probability" and results["trait"] == "corpus"
        if name != "change" and (small or not np.isfinite(np.array(known, float)).any()):
            continue
        values = {}
        if name != "change":
            values["base"] = np.array([results["base"][name][: len(animals)]], float)
        for own in alone:
            said = np.array(results["alone"][own][name], float)[:, 0, : len(animals)]
            values[ALONE.get(own, own)] = said
        for arm, found in arms.items():
            said = np.array(found[name], float)[..., : len(animals)]
            values[f"{ARMS[arm]}, other teachers"] = _others(said)
            values[f"{ARMS[arm]}, own teacher"] = _own(said)
        panels.append(plots.Bars(ylabel, values))
    names = list(dict.fromkeys(name for panel in panels for name in panel.values))
    seeds = counted(len(panels[-1].values[names[-1]]))
    return plots.bars_figure(
        panels,
        animals=animals,
        names=names,
        title=TITLES.get(results["kind"], f"Who loves which {results['kind']}?")
        + f"\nstudents of own and of other teachers; {seeds}",
    )


def along(results: Mapping[str, Any]) -> Figure:
    """Draw the trait and the imitation loss along training."""
    animals, arms = results["subjects"], results["arms"]
    own, other = f"own {results['kind']}", f"other {KINDS[results['kind']]}"
    traits: dict[str, dict[str, np.ndarray]] = {own: {}, other: {}}
    for arm, found in arms.items():
        change = np.array(found["curve"]["change"])[..., : len(animals)].swapaxes(2, 3)
        traits[own][ARMS[arm]] = _own(change).mean(1)
        traits[other][ARMS[arm]] = _others(change).mean(1)
    (first, *_) = arms.values()
    losses = {ARMS[arm]: np.array(found["loss"]).mean(1) for arm, found in arms.items()}
    return plots.along_figure(
        first["curve"]["steps"],
        traits,
        loss_steps=np.arange(next(iter(losses.values())).shape[1]),
        loss=losses,
        names=[ARMS[arm] for arm in arms],
        title="When does the trait come?\n"
        f"mean over {KINDS[results['kind']]}, 95 % band over seeds",
    )


def agreement(found: Mapping[str, Any]) -> Figure:
    """Draw that students with the teacher's A and with another do the same elsewhere."""
    own = np.eye(len(found["alike"]["stream"][0]), dtype=bool)
    alike = {
        label: plots.Alike(
            *(np.array(found["alike"][name])[:, where].ravel() for where in (own, ~own))
        )
        for name, label in DONE.items()
    }
    diluted = None
    if "expected" in found:
        diluted = plots.Diluted(
            *(np.ravel(found[name]) for name in ("expected", "another", "shared"))
        )
    return plots.agreement_figure(
        alike, diluted, title="Another matrix A: students go elsewhere and do the same"
    )


def layers(results: Mapping[str, Any]) -> Figure:
    """Draw the overlap of the shifts of the residual stream of students and teachers."""
    overlap = {}
    for arm, found in results["arms"].items():
        streams = np.array(found["stream_by_layer"])
        overlap[f"{ARMS[arm]}, own teacher"] = _own(streams).mean(1)
        overlap[f"{ARMS[arm]}, other teachers"] = _others(streams).mean(1)
    count = next(iter(overlap.values())).shape[1]
    first = results["first_layer"]
    return plots.layers_figure(
        overlap,
        layers=np.arange(first, first + count),
        names=list(overlap),
        ylabel="cosine of the shifts",
        title="Do student and teacher move alike inside?\nresidual stream where the answer begins",
    )
