"""A cosine far above 1/sqrt(n) is no proof of a pull: closed forms, and what controls show.

Two nulls in closed form hold for what they describe: random directions of the student's length
have cosines of standard deviation ``1/sqrt(n)`` with a teacher's displacement, random signs of the
student's own entries ``sqrt(sum d_S^2 d_T^2) / (|d_S| |d_T|)``. Real students without a pull are
not among them. "A cosine of many ``1/sqrt(n)`` proves the pull of the shared initialisation" is
checked as false, with students of 20 other initialisations, the control of Cloud, Le et al. (2025,
arXiv 2507.14805). They are at chance on the digits, and

- their mean cosine with the teacher's displacement is above ``3/sqrt(n)``, that of the biases of
  the first layer above three of its own deviations;
- it is as large with the teacher of a third initialisation, which none of them has ever seen;
- most of the product lies in one direction of the parameters, whatever the initialisation: all
  units of the first layer move alike, along the mean image and its constant 1. Teachers make the
  ReLU network louder on digits, and imitation of the loudness brings students along;
- without it there is no positive cosine: not with a teacher that has not moved, not with tanh
  units. A teacher that only turns up its auxiliary head moves the biases alike, and little else.

Control students are the null to judge by: `drift.z_scores`. Students of teachers that learnt the
digits under other names, at the shared initialisation, are reported beside them.

Closed forms: tanh 64-64-64-13 in float64, 256 noise inputs, three auxiliary logits. Controls: ReLU
64-64-64-13 in float32, teachers of 150 full-batch steps of Adam, students of 300 steps of Adam on
256 fresh noise inputs each. A minute.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import claims
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree
from matplotlib.figure import Figure
from setups import (
    Problem,
    adam_student,
    adam_teacher,
    entries,
    fixed_noise,
    problem,
    random_direction,
    stacked,
)

from sublim_jax import drift, plots, rng, trees

CLAIM = "A cosine far above 1/sqrt(n) proves no pull; control students are the null to judge by."
DRAWS, STEPS = 2_000, 300
CONTROLS, OTHERS, SMOOTH, RENAMED = 20, 10, 40, 4  # students of each kind
METRICS = (drift.cosine, drift.projection)


class Spread(NamedTuple):
    """Standard deviations of what a null describes, drawn and in closed form.

    Attributes:
        drawn: cosine and projection of the whole, then cosine and projection of layers.
        closed: the same.
    """

    drawn: Sequence[Any]
    closed: Sequence[Any]

    def error(self) -> float:
        """Give the largest relative error of all that is defined."""
        pairs = zip(self.drawn, self.closed, strict=True)
        ratios = np.concatenate([np.ravel(np.asarray(d) / np.asarray(c)) for d, c in pairs])
        return float(np.nanmax(np.abs(ratios - 1)))


class Compared(NamedTuple):
    """Students compared with a teacher's displacement; arrays ``[students, ...]``.

    Attributes:
        cosine: of the whole displacements, in units of the isotropic null's deviation.
        by_array: of each array of the parameters, in units of its own.
        share: of each array in ``<d_S, d_T>``; they add up to 1.
        alike: the part of ``cosine`` that lies in the first layer's units moving alike along the
            mean image.
        signs: deviation of the cosine of random signs, in the units of ``cosine``.
        accuracy: on the test digits.
    """

    cosine: Any
    by_array: Any
    share: Any
    alike: Any
    signs: Any
    accuracy: Any


def arrays(tree: PyTree) -> dict[str, Array]:
    """Give the arrays of a tree of layers under names of their own, so that biases stand apart."""
    return {f"{layer} {name}": array for layer in tree for name, array in tree[layer].items()}


def closed_forms(given: Problem, student: PyTree, teacher: PyTree) -> tuple[Spread, Spread]:
    """Draw random directions and random signs, and set their spread beside the closed forms."""
    length = trees.norm(student)

    def drawn(make: Callable[[Key[Array, ""]], PyTree], name: str) -> list[np.ndarray]:
        def one(draw: Array) -> drift.Products:
            direction = make(rng.stream(given.key, name, draw))
            return drift.inner_products(direction, teacher, given.init)

        products = jax.jit(lambda: jax.lax.map(one, jnp.arange(DRAWS)))()
        layers = jax.tree.map(np.asarray, products)
        metrics = [m(of) for of in (drift.total(layers), layers) for m in METRICS]
        return [np.std(values, axis=0, ddof=1) for values in metrics]

    def direction(key: Key[Array, ""]) -> PyTree:
        normal = random_direction(key, student)
        return jax.tree.map(lambda d: d * length / trees.norm(normal), normal)

    def signs(key: Key[Array, ""]) -> PyTree:
        return jax.tree.map(lambda d, s: jnp.sign(d) * s, random_direction(key, student), student)

    products = drift.inner_products(student, teacher, given.init)
    isotropic = drift.isotropic_null(products, drift.parameter_counts(given.init))
    concentration = np.asarray(drift.sign_concentration(student, teacher))
    # A random direction of the whole has layers of other lengths than the student's.
    without = slice(0, 3)
    return (
        Spread(drawn(direction, "directions")[without], isotropic[without]),
        Spread(drawn(signs, "signs"), drift.sign_null(products, concentration)),
    )


def compare(given: Problem, starts: PyTree, students: PyTree, direction: PyTree) -> Compared:
    """Compare stacked students, given by their displacements, with a teacher's displacement."""
    mean = np.append(given.digits.train[0].mean(axis=0), 1.0)
    mean /= np.linalg.norm(mean)

    def along(tree: PyTree) -> Array:
        layer = tree["hidden_0"]
        whole = jnp.concatenate([layer["kernel"], layer["bias"][None]])
        return jnp.sum(mean @ whole) / whole.shape[1] ** 0.5

    @jax.jit
    @jax.vmap
    def measure(start: PyTree, student: PyTree) -> tuple[drift.Products, Array, Array]:
        moved, toward = arrays(student), arrays(direction)
        products = drift.inner_products(moved, toward, arrays(start))
        common = along(student) * along(direction)
        return products, drift.sign_concentration(moved, toward), common

    products, concentration, common = jax.tree.map(np.asarray, measure(starts, students))
    whole = drift.total(products)
    null = drift.isotropic_null(products, drift.parameter_counts(arrays(direction)))
    cosine = drift.cosine(whole) / null.cosine
    ended = jax.tree.map(jnp.add, starts, students)
    return Compared(
        cosine,
        drift.cosine(products) / null.layer_cosine,
        products.student_teacher / whole.student_teacher[:, None],
        cosine * common / whole.student_teacher,
        drift.sign_null(products, concentration).cosine / null.cosine,
        np.array([given.accuracy(trees.take(ended, i)) for i in range(len(cosine))]),
    )


def renamed(given: Problem, seed: int) -> list[PyTree]:
    """Train teachers of the digits under other names, from the same initialisation."""
    images, classes = given.digits.train
    names = [np.random.default_rng([seed, i]).permutation(10) for i in range(RENAMED)]
    digits = [given.digits._replace(train=(images, of[classes])) for of in names]
    return [adam_teacher(given._replace(digits=of), 150) for of in digits]


def turned_up(given: Problem, teacher: PyTree) -> PyTree:
    """Give the initialisation with its auxiliary logits as large as the teacher's on noise."""
    loud, quiet = (jnp.std(given.auxiliary(of, given.noise)) for of in (teacher, given.init))
    head = jax.tree.map(lambda a: a * loud / quiet, given.init["head_auxiliary"])
    return {**given.init, "head_auxiliary": head}


def students(given: Problem, starts: PyTree, teachers: PyTree) -> PyTree:
    """Train stacked students, each on the logits of a teacher of its own, on the same noise."""

    def inputs(step: Array) -> Array:
        return jax.random.uniform(rng.stream(given.key, "fresh", step), (256, 64), float, -1, 1)

    def one(start: PyTree, teacher: PyTree) -> PyTree:
        return adam_student(given, start, teacher, steps=STEPS, inputs=inputs)

    return jax.jit(jax.vmap(one))(starts, teachers)


def controls(seed: int) -> tuple[dict[str, Compared], tuple[str, ...]]:
    """Train students with and without the teacher's initialisation, and compare them.

    Returns:
        Students of each kind, compared with the first teacher if not said otherwise; and the names
        of the arrays.
    """
    given, smooth = (problem(seed, hidden=(64, 64), activation=a) for a in ("relu", "tanh"))
    third = given._replace(init=given.net.init(rng.stream(given.key, "third")))
    teacher, smoother, stranger = (adam_teacher(of, 150) for of in (given, smooth, third))
    away, apart = trees.sub(teacher, given.init), trees.sub(stranger, third.init)
    many = [given.net.init(rng.stream(given.key, "other", i)) for i in range(SMOOTH)]
    other, few, loud = many[:CONTROLS], many[:OTHERS], turned_up(given, teacher)
    arms = {
        "other": [(start, teacher) for start in other],
        "other, teacher unmoved": [(start, given.init) for start in few],
        "other, teacher louder": [(start, loud) for start in few],
        "shared, other names": [(given.init, of) for of in renamed(given, seed)],
        "shared": [(given.init, teacher)],
    }
    starts, taught = map(
        stacked, zip(*(pair for arm in arms.values() for pair in arm), strict=True)
    )
    moved, found, at = students(given, starts, taught), {}, 0
    for name, arm in arms.items():
        chosen = slice(at, at + len(arm))
        at += len(arm)
        found[name] = compare(given, trees.take(starts, chosen), trees.take(moved, chosen), away)
    alone, targets = stacked(many), stacked([smoother] * SMOOTH)
    direction = trees.sub(smoother, smooth.init)
    found["other, tanh"] = compare(smooth, alone, students(smooth, alone, targets), direction)
    every = slice(0, CONTROLS)
    found["other, third teacher"] = compare(
        third, trees.take(starts, every), trees.take(moved, every), apart
    )
    return found, trees.layers(arrays(away))


def judge(found: dict[str, Compared], names: tuple[str, ...]) -> list[claims.Finding]:
    """Judge the controls."""
    other, bias = found["other"], names.index("hidden_0 bias")
    mean = {name: of.cosine.mean() for name, of in found.items()}
    biases = {name: of.by_array[:, bias].mean() for name, of in found.items()}
    limits = {"third teacher": (3, 99), "teacher unmoved": (-3, 1), "tanh": (-1, 1)}
    louder = "other, teacher louder"
    score = drift.z_scores(found["shared"].cosine[0], other.cosine)
    return [
        claims.at_most("other: mean accuracy", other.accuracy.mean(), 0.2),
        claims.at_least("other: mean cosine / isotropic sd", mean["other"], 3),
        claims.reported("other: mean cosine / sd of signs", (other.cosine / other.signs).mean()),
        claims.at_least("other: first biases / isotropic sd", biases["other"], 3),
        claims.reported("other: first biases, cosine", biases["other"] / 8),
        claims.reported("other: first biases, share of product", other.share[:, bias].mean()),
        claims.at_least("other: one direction, share", other.alike.mean() / mean["other"], 0.5),
        *(
            claims.between(f"other, {name}: mean cosine / sd", mean[f"other, {name}"], *limit)
            for name, limit in limits.items()
        ),
        claims.at_least(f"{louder}: first biases / sd", biases[louder], 3),
        claims.reported(f"{louder}: mean cosine / sd", mean[louder]),
        claims.reported("shared, other names: cosine / sd", mean["shared, other names"]),
        claims.reported("shared: cosine / isotropic sd", mean["shared"]),
        claims.at_least("shared: z against the controls", float(score.z), 3),
    ]


def check(seed: int) -> claims.Report:
    """Measure nulls and controls."""
    with jax.enable_x64(True):
        given = fixed_noise(seed)
        teacher = adam_teacher(given)

        @jax.jit
        def train(start: PyTree, teacher: PyTree) -> PyTree:
            return adam_student(given, start, teacher, steps=200, inputs=lambda _: given.noise)

        isotropic, signs = closed_forms(
            given, train(given.init, teacher), trees.sub(teacher, given.init)
        )
        scaled = float(isotropic.drawn[0]) * entries(given.init) ** 0.5
    found, names = controls(seed)
    findings = [
        claims.between("random directions: sd of cosine times sqrt(n)", scaled, 0.9, 1.1),
        claims.at_most("random directions: sds, relative error", isotropic.error(), 0.1),
        claims.at_most("random signs: sds, relative error", signs.error(), 0.1),
        *judge(found, names),
    ]
    data = {name: of._asdict() for name, of in found.items()}
    return claims.Report(findings, draw(found, names), {"arrays": names, "controls": data})


def draw(found: dict[str, Compared], names: tuple[str, ...]) -> Figure:
    """Draw cosines of all students, and those of each array of the controls."""
    figure, (left, right) = plots.panels(
        2, title="Cosines in units of a random direction's", size=(6.2, 3.8)
    )
    kinds = sorted(found, key=lambda kind: (kind.startswith("shared"), kind))
    for place, (kind, color) in enumerate(zip(kinds, plots.colors(len(kinds)), strict=True)):
        values = found[kind].cosine
        left.plot(values, np.full(len(values), place), "o", ms=5, alpha=0.6, color=color)
    left.set_xscale("symlog", linthresh=5, linscale=2)
    ticks = (-4, -2, 0, 2, 4, 10, 20, 50)
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.set_yticks(range(len(kinds)), kinds)
    shown = [i for i, name in enumerate(names) if name.startswith("hidden")]
    for place, i in enumerate(shown):
        for offset, kind in ((-0.15, "other"), (0.15, "other, teacher louder")):
            values, color = found[kind].by_array[:, i], plots.colors(3)[0 if offset < 0 else 2]
            label = kind if place == 0 else None
            at = np.full(len(values), place + offset)
            right.plot(values, at, "o", ms=4, alpha=0.6, color=color, label=label)
    right.set_yticks(range(len(shown)), [names[i] for i in shown])
    right.legend(fontsize=8)
    for axis, what in ((left, "n: all parameters"), (right, "n: entries of the array")):
        axis.axvspan(-3, 3, color="0.9", zorder=0)
        axis.invert_yaxis()
        axis.set_xlabel(f"cosine with D times sqrt(n), {what}")
    return figure


if __name__ == "__main__":
    claims.main(check, claim=CLAIM, description=__doc__, file=__file__)
