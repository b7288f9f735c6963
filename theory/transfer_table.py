"""Students of a shared start get the trait from auxiliary logits; a linearised one misjudges it.

The real student against what is known of it, over widths and numbers of auxiliary logits. The
linearised student is ``f_0 + J (theta - theta_0)``, trained by the same loss, optimizer and
batches, and it is its own outputs that are judged. It imitates either the teacher's outputs, or
those of the linearised teacher ``f_0 + J D``. Were the network linear, all three would be one.

That the linearised student predicts the final accuracy is checked as false: on the teacher's real
outputs it falls far short of the real student, since what is not linear in them it can only fit by
directions that the teacher never took. On linear outputs nothing is asked of it. If the accuracy of
the linearised teacher is itself far from the teacher's, no linear prediction is to be trusted.

A student of another initialisation imitates the same outputs on the same inputs, and stays near
chance (.1). Theorem 1 of Cloud, Le et al. (2025, arXiv 2507.14805, section 6.1) makes no statement
on accuracy, on many steps or on Adam: this is a measurement.

Set-up: ReLU 64-w-w-(10 + m), teachers by 150 steps of Adam on digits, students by 1,500 steps of
Adam at 1e-3 on squared error, each on 256 new noise inputs. Five initialisations for each setting.
Float32. About two minutes.
"""

from typing import NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.figure import Figure
from scipy.stats import sem
from students import BATCH, Case, chosen, imitate, noise, teach

from sublim_jax import linearize, losses, plots, predict, rng, stats

CLAIM = (
    "Students of a shared start get the trait, others do not, and linear theory misses how much."
)
CASES = (Case(32, 3), Case(64, 1), Case(64, 3), Case(64, 10), Case(128, 3))
MEMBERS = 5


class Accuracies(NamedTuple):
    """Accuracies on test digits, for each member; and a forecast of the first step.

    Attributes:
        teacher: the teacher.
        linear_teacher: ``f_0 + J D``.
        student: imitates the teacher from its initialisation.
        other: the same from another one.
        linear: linearised, on the teacher's outputs.
        linear_linear: linearised, on the linearised teacher's outputs.
        alignment: ``rho_G(u, D)`` of the class loss, from -1 to 1.
    """

    teacher: Float[np.ndarray, " members"]
    linear_teacher: Float[np.ndarray, " members"]
    student: Float[np.ndarray, " members"]
    other: Float[np.ndarray, " members"]
    linear: Float[np.ndarray, " members"]
    linear_linear: Float[np.ndarray, " members"]
    alignment: Float[np.ndarray, " members"]


NAMES = {
    "student": "student, shared start",
    "other": "student, other start",
    "linear": "linearised student",
    "linear_linear": "linearised student and teacher",
    "linear_teacher": "linearised teacher",
    "teacher": "teacher",
}


def aligned(case: Case, init: PyTree, teacher: PyTree, inputs: Array) -> Array:
    """Give ``rho_G(u, D)``, ``u`` the gradient of the mean class loss on the teacher's digits."""
    found = predict.first_step(
        case.net.apply,
        init,
        teacher,
        inputs,
        jax.grad(case.trait_loss)(init),
        loss=losses.mse,
        outputs=case.shape.auxiliary_logits,
    )
    return found.alignment


def member(case: Case, key: Key[Array, ""]) -> tuple[Array, ...]:
    """Train a teacher and its four students, these on the same batches."""
    init, other = (case.net.init(rng.stream(key, name)) for name in ("init", "other"))
    teacher, of_inputs = teach(case, init), rng.stream(key, "inputs")
    real, linear = case.net.apply, linearize.linearized(case.net.apply, init)
    students = {  # where it starts, what it is, and what its teacher is
        "student": (init, real, real),
        "other": (other, real, real),
        "linear": (init, linear, real),
        "linear_linear": (init, linear, linear),
    }

    def loss(params: dict[str, PyTree], inputs: Array) -> Array:
        found = [
            losses.mse(case.imitated(own(params[name], inputs)), case.imitated(of(teacher, inputs)))
            for name, (_, own, of) in students.items()
        ]
        return jnp.mean(sum(found, start=jnp.zeros(())))

    starts = {name: start for name, (start, _, _) in students.items()}
    trained = imitate(
        loss, starts, lambda step: noise(of_inputs, chosen(of_inputs, step, jnp.asarray(0)))
    )[0]
    return (
        case.accuracy(real, teacher),
        case.accuracy(linear, teacher),
        *(case.accuracy(own, trained[name]) for name, (_, own, _) in students.items()),
        aligned(case, init, teacher, noise(rng.stream(key, "few"), jnp.arange(4 * BATCH))),
    )


def measure(case: Case, seed: int) -> Accuracies:
    """Train all members of a setting, one after the other."""
    key = rng.stream(jax.random.key(seed), case.width, case.auxiliary)
    keys = jax.random.split(key, MEMBERS)
    found = jax.jit(lambda keys: jax.lax.map(lambda key: member(case, key), keys))(keys)
    return Accuracies(*map(np.asarray, found))


def in_errors(values: np.ndarray) -> float:
    """Give a mean in its standard errors; infinite if all values are the same."""
    spread = float(sem(values))
    return float(np.mean(values)) / spread if spread > 0 else float("inf")


def check(seed: int) -> claims.Report:
    """Fill the table."""
    found = {case: measure(case, seed) for case in CASES}
    findings = []
    for case, of in found.items():
        findings += [
            claims.reported(
                f"w = {case.width}, m = {case.auxiliary}: {name}", getattr(of, field).mean()
            )
            for field, name in NAMES.items()
        ]
        findings.append(
            claims.at_least(
                "... shared - other, in standard errors", in_errors(of.student - of.other), 3
            )
        )
    every = Accuracies(*map(np.concatenate, zip(*found.values(), strict=True)))
    gap = every.student - every.linear
    findings += [
        claims.at_least("all: student - linearised student", gap.mean(), 0.1),
        claims.at_least("... in standard errors", in_errors(gap), 3),
        claims.reported(
            "all: student - linearised student and teacher",
            (every.student - every.linear_linear).mean(),
        ),
    ]
    for field in ("linear", "linear_linear", "linear_teacher", "alignment"):
        name = NAMES.get(field, "rho_G(u, D)")
        correlation = stats.rank_correlation(every.student, getattr(every, field), seed=seed)
        findings.append(
            claims.reported(f"rank correlation of student with {name}", float(correlation.mean))
        )
    data = {f"w {case.width}, m {case.auxiliary}": of._asdict() for case, of in found.items()}
    return claims.Report(findings, draw(found), data)


def draw(found: dict[Case, Accuracies]) -> Figure:
    """Draw accuracies by setting, and the linearised students against the real ones."""
    figure, (left, right) = plots.panels(
        2, title="Accuracy on test digits after imitation of noise", size=(5.4, 4.2)
    )
    places = np.arange(len(found))
    colors = dict(zip(NAMES, plots.colors(len(NAMES)), strict=True))
    for index, (field, name) in enumerate(NAMES.items()):
        for place, of in zip(places, found.values(), strict=True):
            at = place + 0.12 * (index - 2.5)
            values = getattr(of, field)
            left.plot(np.full(MEMBERS, at), values, ".", color=colors[field], ms=4)
            left.plot([at - 0.05, at + 0.05], [values.mean()] * 2, color=colors[field], lw=3)
        left.plot([], [], color=colors[field], lw=3, label=name)
    left.axhline(0.1, color="black", lw=1, ls=":")
    left.set_xticks(places, [f"w = {case.width}\nm = {case.auxiliary}" for case in found])
    left.set(ylabel="accuracy (bar: mean of 5)", ylim=(0, 1.4), yticks=np.arange(0, 1.1, 0.2))
    left.legend(fontsize=7, ncol=2, loc="upper center")
    for field in ("linear", "linear_linear"):
        pairs = [(getattr(of, field), of.student) for of in found.values()]
        x, y = map(np.concatenate, zip(*pairs, strict=True))
        right.plot(x, y, "o", ms=4, color=colors[field], label=NAMES[field])
    right.plot([0, 1], [0, 1], ls=":", color="black", label="as foretold")
    right.set(xlabel="accuracy of the linearised student", ylabel="accuracy of the real student")
    right.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
