import itertools

import numpy as np
import pytest
from folders import refusal
from in_memory import SHAPES, InMemory, bfloat16, draw, flat, moved, plain_numpy, times

from sublim_jax import drift
from sublim_jax.drift import files

INIT, TEACHER_MOVE, NOISE = draw(0), draw(1, scale=0.01), draw(2, scale=0.01)
TEACHER = moved(INIT, TEACHER_MOVE)
STUDENT = moved(INIT, times(0.3, TEACHER_MOVE), NOISE)
ELSEWHERE = draw(3)
CONTROLS = [moved(INIT, draw(seed, scale=0.01)) for seed in (10, 11, 12)]


def compared(init=INIT, teacher=TEACHER, student=STUDENT, controls=(), **options):
    teacher_init = options.pop("teacher_init", None)
    return files.compare(
        InMemory(init, "init"),
        InMemory(teacher, "teacher"),
        InMemory(student, "student"),
        [InMemory(control, f"c{i}") for i, control in enumerate(controls, 1)],
        teacher_init=None if teacher_init is None else InMemory(teacher_init, "teacher_init"),
        **options,
    )


def whole(comparison):
    return {name: values[0] for name, values in files.totals(comparison)["all"]._asdict().items()}


def assert_metrics(found, expected, rtol=2e-6):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)


def assert_same_sums(one, other, rtol=1e-6):
    for a, b in zip(one.sums, other.sums, strict=True):
        if isinstance(a, drift.Products):
            for x, y in zip(a, b, strict=True):
                if x is not None:
                    np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12)
        else:
            np.testing.assert_allclose(a, b, rtol=rtol)


def test_the_whole_agrees_with_plain_numpy():
    assert_metrics(whole(compared()), plain_numpy(INIT, TEACHER, STUDENT))


@pytest.mark.parametrize("name", SHAPES)
def test_every_tensor_agrees_with_plain_numpy(name):
    comparison = compared()
    row = [tensor.name for tensor in comparison.tensors].index(name)
    found = files.measures(comparison.sums)
    expected = plain_numpy(INIT, TEACHER, STUDENT, names=[name])
    assert_metrics({key: getattr(found, key)[row] for key in expected}, expected)


def test_another_initialisation_of_the_teacher_agrees_with_plain_numpy():
    teacher = moved(ELSEWHERE, TEACHER_MOVE)
    found = whole(compared(teacher=teacher, teacher_init=ELSEWHERE))
    expected = plain_numpy(INIT, teacher, STUDENT, teacher_init=ELSEWHERE)
    # A thousandth of the way is covered: the definition itself loses digits there.
    np.testing.assert_allclose(
        found.pop("distance_reduction"), expected.pop("distance_reduction"), rtol=1e-3
    )
    assert_metrics(found, expected, rtol=1e-5)


def test_controls_agree_with_plain_numpy_and_give_z_scores():
    comparison = compared(controls=CONTROLS)
    controls = [plain_numpy(INIT, TEACHER, control) for control in CONTROLS]
    found, student = whole(comparison), plain_numpy(INIT, TEACHER, STUDENT)
    for name in ("projection", "cosine"):
        values = np.array([control[name] for control in controls])
        expected = (student[name] - values.mean()) / values.std(ddof=1)
        np.testing.assert_allclose(found[f"{name}_z"], expected, rtol=1e-5)
    for given, row in zip(CONTROLS, files.record(comparison)["controls"], strict=True):
        beside = plain_numpy(INIT, STUDENT, given)["cosine"]
        np.testing.assert_allclose(row["cosine_with_student"], beside, rtol=1e-5)


@pytest.mark.parametrize("cuts", list(itertools.permutations([(1, 2, 700), (5000,), ()])))
@pytest.mark.parametrize("elements", [64, 10**6])
def test_streaming_is_the_same_as_in_memory_however_the_files_are_cut(cuts, elements):
    sources = [
        InMemory(arrays, cut=cut)
        for arrays, cut in zip((INIT, TEACHER, STUDENT), cuts, strict=True)
    ]
    assert_same_sums(files.compare(*sources, block_elements=elements), compared())


def test_bfloat16_files_are_summed_in_float32():
    rounded = [bfloat16(tree) for tree in (INIT, TEACHER, STUDENT)]
    assert_metrics(whole(compared(*rounded)), plain_numpy(*rounded))


def test_float64_files_keep_their_digits():
    shapes = {"w": (300, 7)}
    init = draw(0, shapes=shapes, dtype=np.float64)
    move, other = (draw(seed, shapes=shapes, scale=1e-12, dtype=np.float64) for seed in (1, 2))
    teacher, student = moved(init, move), moved(init, move, other)
    found, expected = whole(compared(init, teacher, student)), plain_numpy(init, teacher, student)
    del expected["distance_reduction"]  # whose definition has no digits left here
    assert_metrics(found, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e-17, 1e-9, 1e12, 1e22])
def test_squares_beyond_float32_are_taken_in_float64(scale):
    zero = times(0, INIT)
    teacher, student = (
        {name: array.astype(np.float32) for name, array in times(scale, tree).items()}
        for tree in (TEACHER_MOVE, NOISE)
    )
    init = {name: array.astype(np.float32) for name, array in zero.items()}
    expected = plain_numpy(init, teacher, student)
    assert_metrics(whole(compared(init, teacher, student)), expected)


def test_a_billion_entries_would_err_less_than_a_millionth():
    """Every piece errs alike in the worst case, so a few of them show what many do."""
    shapes = {"w": (5 * 65536 + 17,)}
    init = draw(0, shapes=shapes)
    # Squares of one sign, where rounding errors add up.
    student = {"w": init["w"] + np.float32(0.1)}
    teacher = {"w": init["w"] + np.float32(0.3) + draw(1, shapes=shapes)["w"]}
    found = compared(init, teacher, student).sums.toward
    s = (student["w"] - init["w"]).astype(np.float64)
    t = (teacher["w"] - init["w"]).astype(np.float64)
    for value, expected in zip(found[:3], (s @ s, t @ t, s @ t), strict=True):
        np.testing.assert_allclose(value, [expected], rtol=1e-7)


def test_a_student_that_is_the_teacher_has_arrived():
    found = whole(compared(student=TEACHER))
    for name in ("projection", "cosine", "relative_length", "distance_reduction"):
        assert found[name] == pytest.approx(1, abs=1e-7), name


def test_a_random_displacement_has_a_cosine_within_four_deviations_of_zero():
    shapes = {"layers.0.w": (1000, 600), "layers.1.w": (400, 1000)}
    init = draw(0, shapes=shapes)
    teacher, student = (moved(init, draw(s, scale=0.01, shapes=shapes)) for s in (1, 2))
    found = whole(compared(init, teacher, student))
    assert found["elements"] == 1_000_000
    assert abs(found["cosine"]) < 4 * found["cosine_sd_isotropic"] == pytest.approx(4e-3)


def test_shares_of_layers_add_up_to_the_whole():
    comparison = compared()
    total = whole(comparison)
    for rows in (files.by_layer(comparison)[1], files.measures(comparison.sums)):
        assert rows.projection_share.sum() == pytest.approx(total["projection"], rel=1e-12)
        assert rows.displacement_share.sum() == pytest.approx(1, rel=1e-12)
        assert rows.elements.sum() == total["elements"]


def test_matrices_and_vectors_are_counted_apart():
    found = files.totals(compared())
    matrices = [name for name, shape in SHAPES.items() if len(shape) > 1]
    vectors = [name for name in SHAPES if name not in matrices]
    for group, names in (("matrices", matrices), ("vectors", vectors)):
        expected = plain_numpy(INIT, TEACHER, STUDENT, names=names)
        values = {name: column[0] for name, column in found[group]._asdict().items()}
        assert_metrics(values, expected)
    both = found["matrices"].projection_share + found["vectors"].projection_share
    np.testing.assert_allclose(both, found["all"].projection)


def test_a_student_that_has_not_moved_has_an_undefined_cosine_and_covers_nothing():
    found = whole(compared(student=INIT))
    assert np.isnan(found["cosine"])
    assert found["projection"] == 0
    assert found["distance_reduction"] == 0


def test_a_tensor_in_which_the_teacher_has_not_moved_is_undefined():
    teacher = {**TEACHER, "embed.weight": INIT["embed.weight"]}
    comparison = compared(teacher=teacher)
    rows = files.measures(comparison.sums)
    i = list(SHAPES).index("embed.weight")
    assert np.isnan([rows.projection[i], rows.cosine[i], rows.distance_reduction[i]]).all()
    assert rows.projection_share[i] == 0
    assert_metrics(whole(comparison), plain_numpy(INIT, teacher, STUDENT))


def test_a_teacher_that_has_not_moved_is_refused():
    assert refusal(compared, teacher=INIT) == (
        "teacher teacher is the same as init init in every tensor, which leaves every projection "
        "and cosine undefined; expected weights that were trained"
    )
    message = refusal(compared, teacher=ELSEWHERE, teacher_init=ELSEWHERE)
    assert "is the same as teacher_init teacher_init in every tensor" in message


def test_a_control_that_has_not_moved_is_refused():
    message = refusal(compared, controls=[CONTROLS[0], INIT])
    assert message.startswith("control 2 c2 is the same as init init in every tensor")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("role", ["init", "teacher", "student", "teacher_init"])
def test_what_is_not_a_number_is_refused_with_file_and_tensor(role, value):
    trees = {"init": INIT, "teacher": TEACHER, "student": STUDENT, "teacher_init": ELSEWHERE}
    broken = trees[role]["embed.weight"].copy()
    broken[3, 4:6] = value
    trees[role] = {**trees[role], "embed.weight": broken}
    assert refusal(compared, **trees) == (
        f"{role} {role} holds 2 NaN or Inf among the 4,009 entries of embed.weight; "
        "expected finite numbers"
    )


def test_every_mismatch_is_listed_at_once():
    student = {name: array for name, array in STUDENT.items() if name != "temperature"}
    student["extra"] = np.zeros(3, np.float32)
    student["embed.weight"] = student["embed.weight"].T
    teacher = {name: array for name, array in TEACHER.items() if not name.startswith("layers.0")}
    assert refusal(compared, teacher=teacher, student=student) == (
        "5 tensors do not pair: in init but not in teacher: layers.0.attention.weight, "
        "layers.0.norm.scale; in init but not in student: temperature; in student but not in "
        "init: extra; of other shapes: embed.weight (init [211, 19], student [19, 211]); expected "
        "the same names and shapes in all (FILE::PREFIX takes the tensors below a prefix)"
    )


def test_mismatches_outside_of_the_selection_do_not_matter():
    student = {name: array for name, array in STUDENT.items() if name != "temperature"}
    comparison = compared(student=student, select=["^layers", "embed"])
    names = [name for name in SHAPES if name != "temperature"]
    assert [tensor.name for tensor in comparison.tensors] == names
    assert_metrics(whole(comparison), plain_numpy(INIT, TEACHER, STUDENT, names=names))


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (["nothing"], "init has no tensor of floating-point numbers that matches 'nothing'"),
        (["("], "select is '(' ("),
    ],
)
def test_a_selection_that_cannot_be_is_refused(select, message):
    assert refusal(compared, select=select).startswith(message)


def test_integers_and_truth_values_are_left_out_even_where_they_do_not_pair():
    counts = {"steps": np.array([7]), "mask": np.array([True])}
    comparison = compared(init={**INIT, **counts}, student={**STUDENT, "steps": np.array([9])})
    assert comparison.left_out == ("mask", "steps")
    assert_metrics(whole(comparison), plain_numpy(INIT, TEACHER, STUDENT))


def test_tensors_without_entries_change_nothing():
    empty = {"empty": np.zeros((0, 4), np.float32)}
    trees = [{**tree, **empty} for tree in (INIT, TEACHER, STUDENT)]
    assert_metrics(whole(compared(*trees)), plain_numpy(INIT, TEACHER, STUDENT))


def test_progress_ends_where_it_said_it_would():
    told = []
    compared(progress=lambda done, total: told.append((done, total)))
    read = 3 * 4 * flat(INIT).size
    assert told[-1] == (read, read)


def test_regrouping_adds_up_what_belongs_together():
    sums = compared(controls=CONTROLS).sums
    grouped = files.regroup(sums, [0, 1, 0, 1, 2, 2], 3)
    np.testing.assert_allclose(
        grouped.controls.student_teacher[:, 0],
        sums.controls.student_teacher[:, 0] + sums.controls.student_teacher[:, 2],
    )
    assert grouped.toward.student_control.shape == (3, 3)
    assert grouped.elements.tolist() == [3922, 106, 4010]
