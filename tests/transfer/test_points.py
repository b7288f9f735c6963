import numpy as np
import pytest

from sublim_jax import transfer
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.stats import t_interval
from sublim_jax.transfer import Point
from sublim_jax.transfer.points import contrast

RANDOM = np.random.default_rng(0)


def point(level, accuracy, *, factor="width", arm="student_aux", **values):
    """A point of five members, everything else about it the same."""
    values = dict.fromkeys(transfer.PREDICTORS, 0.5) | values
    return Point(
        factor,
        level,
        arm,
        {name: np.full(5, value) for name, value in (values | {"accuracy": accuracy}).items()},
    )


def test_correlations_are_over_the_means_of_points():
    points = [point(str(i), 0.1 * i, projection=i**2, cosine=-i) for i in range(6)]
    found = transfer.correlations(points)
    assert found["projection"].mean == pytest.approx(1)
    assert found["cosine"].mean == pytest.approx(-1)
    assert np.isnan(found["relative_length"].mean)


def test_failures_are_named_on_both_sides_the_worst_first():
    points = [point(str(i), i, projection=i) for i in range(10)]
    points += [point("trait alone", 9.5, projection=-1), point("pull alone", -1, projection=9.5)]
    found = transfer.failures(points, "projection", count=4)
    assert [failure.point.level for failure in found][::2] == ["trait alone", "pull alone"]
    assert found[0].ranks > 0.8 > -0.8 > found[2].ranks
    assert found[0].ranks == -found[2].ranks


def test_a_contrast_is_paired():
    common = RANDOM.normal(size=5)
    first = Point("a", "1", "student_aux", {"accuracy": common + 0.1})
    second = Point("a", "2", "student_aux", {"accuracy": common})
    found = contrast("which", first, second)
    assert found.difference.mean == pytest.approx(0.1)
    assert found.difference.half_width < 1e-9
    assert found.first.half_width == pytest.approx(t_interval(common).half_width)


def test_only_questions_whose_points_are_there_are_answered():
    points = [
        point("base", 0.5, factor="base"),
        point("64", 0.3),
        point("digits", 0.2, factor="inputs"),
    ]
    found = {c.question: float(c.difference.mean) for c in transfer.contrasts(points)}
    assert found == pytest.approx(
        {"digits instead of noise, 3 logits": -0.3, "width 64 instead of 256": -0.2}
    )


def test_optimizers_are_compared_at_the_same_imitation_loss():
    # Adam's accuracy is -log10 of its loss; SGD is at a loss between, .1 better.
    adam = [
        point(str(n), n, factor=factor, imitation_loss=10.0**-n)
        for n, factor in ((2, "student epochs"), (1, "base"), (4, "student epochs"))
    ]
    sgd = point("sgd", 3.1, factor="optimizer", imitation_loss=1e-3)
    beyond = point("lion", 3.1, factor="optimizer", imitation_loss=1e-5)
    (found,) = transfer.matched([*adam, sgd, beyond])
    assert found.question.startswith("sgd")
    assert found.second.mean == pytest.approx(3)
    assert found.difference.mean == pytest.approx(0.1)
    assert transfer.matched([sgd]) == []


def test_points_are_read_from_results():
    config = AuxLogitsConfig(arms=("student_aux",))
    members = {
        "accuracy": [0.4, 0.6],
        "distance_ratio": [0.9, 0.8],
        "imitation_loss": [1.0, 2.0],
        "untrained_loss": [4.0, 4.0],
    }
    arm = {name: {"mean": 0.0, "members": values} for name, values in members.items()}
    setting = transfer.Setting("inputs", "digits", config)
    (found,) = transfer.points_of(setting, {"arms": {"student_aux": {"label": "x"} | arm}})
    assert found.name == "inputs: digits"
    np.testing.assert_allclose(found.values["distance_reduction"], [0.1, 0.2])
    np.testing.assert_allclose(found.values["imitation"], [0.75, 0.5])
    assert found.mean("accuracy") == pytest.approx(0.5)
