"""What has to be known to read a comparison: warnings, and notes on chance."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from sublim_jax.drift.files.compare import Comparison
from sublim_jax.drift.files.displacements import STUDENT, TEACHER
from sublim_jax.drift.files.measures import totals
from sublim_jax.drift.files.precision import MARGIN, rounding_of
from sublim_jax.drift.metrics import cosine, projection
from sublim_jax.drift.nulls import z_scores
from sublim_jax.drift.products import total

RECOMMENDED = 20


def warnings(comparison: Comparison) -> list[str]:
    """Say what makes the numbers of a comparison doubtful, a sentence each."""
    found = []
    if not comparison.sums.toward.student.any():
        found.append(
            "the student is the same as its initialisation in every tensor: its projection is 0 "
            "and its cosine is undefined"
        )
    lengths = {STUDENT: comparison.sums.toward.student, TEACHER: comparison.sums.toward.teacher}
    controls = comparison.sums.controls.student
    lengths |= {f"control {i}": squares for i, squares in enumerate(controls, 1)}
    found += [
        sentence
        for role, squares in lengths.items()
        if (sentence := _rounded(comparison, role, squares))
    ]
    return found


def _rounded(comparison: Comparison, role: str, squares: np.ndarray) -> str:
    """Warn of a displacement that is not far above the rounding of the weights."""
    errors, init = comparison.rounding[role], comparison.sums.toward.init
    counts = (squares > 0) & (errors > 0)
    if not counts.any():
        return ""
    whose = role if role.startswith("control") else f"the {role}"
    kept = dict.fromkeys(("init", "teacher_init", role))
    numbers = Counter(
        name
        for key in kept
        for name, counted in zip(comparison.stored.get(key, ()), counts, strict=False)
        if counted and name
    )
    if np.isinf(errors[counts]).any():
        quantised = ", ".join(sorted(name for name in numbers if np.isinf(rounding_of(name))))
        return (
            f"the displacement of {whose} is a difference of quantised weights ({quantised}): "
            "the error of quantisation is common to both ends and not known, so no projection or "
            "cosine is to be trusted; expected float32 weights"
        )
    moved = np.sqrt(squares[counts].sum() / init[counts].sum()) if init[counts].any() else np.inf
    error = np.sqrt((errors**2 * init)[counts].sum() / max(init[counts].sum(), 1e-300))
    if not moved < MARGIN * error:
        return ""
    below = int(np.sum(squares[counts] < (MARGIN * errors[counts]) ** 2 * init[counts]))
    coarse = max(numbers, key=rounding_of)
    return (
        f"the displacement of {whose} is {moved:.2g} of the weights that moved, less than "
        f"{MARGIN:.0f} times the {error:.2g} by which {coarse} rounds them ({below} of "
        f"{int(counts.sum())} tensors): rounding lengthens displacements, and that of the "
        "initialisation, common to all, adds a positive cosine of up to 0.4 that no pull has "
        "made; expected float32 weights"
    )


def notes(comparison: Comparison) -> list[str]:
    """Say what was compared and how to judge it, a sentence each."""
    found = []
    numbers: Mapping[str, Counter[str]] = {
        role: Counter(name for name in names if name) for role, names in comparison.stored.items()
    }
    if len({name for counted in numbers.values() for name in counted}) > 1:
        told = "; ".join(
            f"{role} {', '.join(f'{name} ({n})' for name, n in counted.most_common())}"
            for role, counted in numbers.items()
            if counted
        )
        found.append(f"stored as different numbers (tensors): {told}")
    if comparison.left_out:
        count = len(comparison.left_out)
        found.append(f"left out: {count} tensor{'s' * (count > 1)} of integers or truth values")
    still = int(np.sum(comparison.sums.toward.teacher == 0))
    if still:
        found.append(
            f"the teacher has not moved in {still} of {len(comparison.tensors)} tensors, whose "
            "projection and cosine are undefined"
        )
    return [*found, *_chance(comparison)]


def _chance(comparison: Comparison) -> list[str]:
    whole = totals(comparison)["all"]
    found = []
    if np.isfinite(whole.cosine[0]):
        found.append(
            f"without a pull the cosine would be 0 ± {whole.cosine_sd_isotropic[0]:.2g} in a "
            f"random direction and 0 ± {whole.cosine_sd_signs[0]:.2g} with random signs (one "
            "standard deviation); both are lower bounds, for biases and shared statistics give "
            "positive cosines without a pull"
        )
    count = len(comparison.sums.controls.student)
    if count < 2:
        found.append(
            f"{('no controls', '1 control')[count]}; expected {RECOMMENDED} or more to judge by"
        )
        return found
    controls = total(comparison.sums.controls)
    parts = []
    for name, metric in (("projection", projection), ("cosine", cosine)):
        scored = z_scores(metric(total(comparison.sums.toward)), metric(controls))
        parts.append(f"{name} {scored.mean:.4g} ± {scored.sd:.2g} (z {scored.z:.3g})")
    few = "" if count >= RECOMMENDED else f"; {RECOMMENDED} or more are recommended"
    found.append(f"{count} controls have {' and '.join(parts)}{few}")
    return found
