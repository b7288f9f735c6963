"""What ``predict_transfer.py`` says of its forecast: results, table, figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from intervals import read_interval
from matplotlib.figure import Figure
from transfer_report import FAMILIES

from sublim_jax import plots, transfer
from sublim_jax.plots import settings as pictures
from sublim_jax.stats import t_interval

MAIN, CONTROL = "student_aux", "other_aux"
PREDICTIONS = {
    "forecast": "forecast: accuracy of the pilot",
    "step_cosine": "cosine of the first step\nwith the teacher's displacement",
    "linear_accuracy": "accuracy of the linearised student\nafter the pilot's steps",
    "logits": "number of auxiliary logits",
}
SEEN, HELD_OUT = "calibrates the forecast", "held out"


def results(
    settings: Sequence[transfer.Setting],
    measured: Sequence[transfer.Point],
    foretold: Sequence[transfer.Point],
    title: str,
) -> dict[str, Any]:
    """Pair pilots with what was measured, calibrate on one half, judge on the other.

    Args:
        settings: what was foretold.
        measured: the grid's points.
        foretold: the pilots' points.
        title: of the data.
    """
    by_name = {(s.factor, s.level): s for s in settings}
    truth = {(p.factor, p.level, p.arm): p.values["accuracy"] for p in measured}
    controls = np.array([np.mean(truth[key]) for key in truth if key[2] == CONTROL])
    pairs = [
        {
            "factor": p.factor,
            "level": p.level,
            "arm": p.arm,
            "held_out": transfer.is_held_out(by_name[p.factor, p.level]),
            "measured": truth[p.factor, p.level, p.arm],
            "forecast": readout(p),
            "step_cosine": p.values["step_cosine"],
            "linear_accuracy": p.values["linear_accuracy"],
            "logits": np.full(len(p.values["accuracy"]), by_name[p.factor, p.level].config.aux),
        }
        for p in foretold
    ]
    acquired = transfer.acquired([pair["measured"] for pair in pairs], controls)
    pairs = [pair | {"acquired": bool(one)} for pair, one in zip(pairs, acquired, strict=True)]
    return {"title": title, "pairs": pairs, **judge(pairs)}


def readout(point: transfer.Point) -> np.ndarray:
    """Read of a pilot what is calibrated into a forecast."""
    return point.values["accuracy"]


def judge(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Calibrate on the seen settings; score every prediction on the others."""

    def means(name: str, *, held_out: bool, arms: Sequence[str]) -> np.ndarray:
        return np.array(
            [np.mean(p[name]) for p in pairs if p["held_out"] == held_out and p["arm"] in arms]
        )

    def half(name: str, *, held_out: bool) -> np.ndarray:
        return means(name, held_out=held_out, arms=(MAIN,))

    calibrate = transfer.calibration(
        half("forecast", held_out=False), half("measured", held_out=False)
    )
    both = {"held_out": True, "arms": (MAIN, CONTROL)}
    transfers = means("acquired", **both).astype(bool)
    scores = {
        name: {
            "rank_correlation": transfer.score(
                half(name, held_out=True), half("measured", held_out=True), transfers[:0]
            ).rank_correlation,
            "auroc": transfer.score(
                means(name, **both), means("measured", **both), transfers
            ).auroc,
        }
        for name in PREDICTIONS
    }
    error = calibrate(half("forecast", held_out=True)) - half("measured", held_out=True)
    constant = half("measured", held_out=False).mean() - half("measured", held_out=True)
    return {
        "scores": scores,
        "calibrated": [float(calibrate(np.array([np.mean(p["forecast"])]))[0]) for p in pairs],
        "error": {
            "mean": error.mean(),
            "mean_absolute": np.abs(error).mean(),
            "of_the_mean_of_the_seen": np.abs(constant).mean(),
        },
        "counts": {
            "seen": len(half("measured", held_out=False)),
            "held_out": len(error),
            "held_out_with_controls": len(transfers),
            "acquired": int(transfers.sum()),
        },
    }


def table(results: Mapping[str, Any]) -> str:
    """Lay out the forecast of every held-out setting, and the scores."""
    lines = [
        f"\n{results['title']}: held-out settings, accuracy (± 95 % interval over members)",
        f"{'':46}{'forecast':>10}{'measured':>16}{'acquired':>10}",
    ]
    rows = zip(results["pairs"], results["calibrated"], strict=True)
    for pair, foretold in sorted(rows, key=lambda row: -row[1]):
        if pair["held_out"] and pair["arm"] == MAIN:
            found = t_interval(np.array(pair["measured"]))
            lines.append(
                f"{name_of(pair):46}{foretold:10.3f}"
                f"{f'{found.mean:.3f} ± {found.half_width:.3f}':>16}"
                f"{'yes' if pair['acquired'] else 'no':>10}"
            )
    counts, error, cost = (results[name] for name in ("counts", "error", "cost"))
    lines.append(
        f"\n{'':50}"
        + f"rank correlation ({counts['held_out']})".rjust(28)
        + f"AUROC ({counts['held_out_with_controls']}, with controls)".rjust(30)
    )
    for name, label in PREDICTIONS.items():
        scores = results["scores"][name]
        cells = [_interval(scores[which]) for which in ("rank_correlation", "auroc")]
        lines.append(f"{label.replace(chr(10), ' '):60}{cells[0]:>18}{cells[1]:>30}")
    lines += [
        f"calibrated forecast: mean error {error['mean']:+.3f}, mean absolute error "
        f"{error['mean_absolute']:.3f} (of the seen settings' mean "
        f"{error['of_the_mean_of_the_seen']:.3f})",
        f"cost: {cost['pilot']:.3f} s beside {cost['student']:.2f} s of the base's student, "
        f"{cost['share']:.1%}",
    ]
    return "\n".join(lines)


def name_of(pair: Mapping[str, Any]) -> str:
    """Name a setting."""
    name = pair["level"] if pair["factor"] == "base" else f"{pair['factor']}: {pair['level']}"
    return name if pair["arm"] == MAIN else f"{name}, other start"


def _interval(written: Mapping[str, float | None]) -> str:
    mean, low, high = read_interval(written)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw what was foretold against what came, for the forecast and beside it the baselines."""
    return {"forecast.png": calibrated(results), "predictions.png": predictions(results)}


def predictions(results: Mapping[str, Any]) -> Figure:
    """Draw every prediction against the measured trait."""
    families = {factor: family for family, factors in FAMILIES.items() for factor in factors}
    dots = [
        pictures.Dot(
            families[pair["factor"]],
            HELD_OUT if pair["held_out"] else SEEN,
            {name: np.array(pair[name], float) for name in PREDICTIONS},
            np.array(pair["measured"], float),
        )
        for pair in sorted(results["pairs"], key=lambda pair: not pair["held_out"])
        if pair["arm"] == MAIN
    ]
    notes = {
        name: f"rank correlation {_interval(scores['rank_correlation'])}\n"
        f"AUROC {_interval(scores['auroc'])}"
        for name, scores in results["scores"].items()
    }
    figure = pictures.clouds(
        dots,
        PREDICTIONS,
        named={},
        notes=notes,
        ylabel="measured accuracy of the student",
        title="Who acquires the trait, told before training?  "
        f"{results['title']}; scores on held-out settings, 95 % intervals",
    )
    figure.axes[-1].set_xscale("log")
    return figure


def calibrated(results: Mapping[str, Any]) -> Figure:
    """Draw the calibrated forecast against the measured trait, and how it misses."""
    figure, (left, right) = plots.panels(
        2, title=f"The forecast, calibrated on the seen settings. {results['title']}"
    )
    rows = [
        (pair, foretold)
        for pair, foretold in zip(results["pairs"], results["calibrated"], strict=True)
        if pair["arm"] == MAIN
    ]
    colors = dict(zip((True, False), plots.colors(2), strict=True))
    for held_out, label in ((False, SEEN), (True, HELD_OUT)):
        chosen = [(pair, x) for pair, x in rows if pair["held_out"] == held_out]
        ys = [t_interval(np.array(pair["measured"])) for pair, _ in chosen]
        left.errorbar(
            [x for _, x in chosen],
            [y.mean for y in ys],
            yerr=[y.half_width for y in ys],
            fmt="o",
            ms=4,
            lw=0.8,
            color=colors[held_out],
            label=label,
        )
    left.plot((0, 1), (0, 1), ":", color="black", label="as foretold")
    left.set(xlabel="forecast accuracy", ylabel="measured accuracy", xlim=(0, 1), ylim=(0, 1))
    left.legend(fontsize=8)
    missed = sorted(
        (
            (float(np.mean(pair["measured"])) - x, name_of(pair))
            for pair, x in rows
            if pair["held_out"]
        ),
        key=lambda row: row[0],
    )
    chosen = missed if len(missed) <= 14 else [*missed[:7], *missed[-7:]]
    right.barh(range(len(chosen)), [error for error, _ in chosen], color=colors[True])
    right.set_yticks(range(len(chosen)), [name for _, name in chosen], fontsize=7)
    right.axvline(0, color="black", lw=0.8)
    right.set_xlabel("measured minus forecast accuracy, the worst")
    return figure
