import numpy as np
import pytest
from folders import refusal
from in_memory import InMemory, bfloat16, draw, moved, plain_numpy
from peft_adapters import factors, merged, write_adapter

from sublim_jax.drift import files

SHAPES = {
    "layers.0.q.weight": (48, 40),
    "layers.0.up.weight": (96, 48),
    "layers.0.norm.weight": (48,),
    "head.weight": (60, 48),
}
BASE = draw(0, shapes=SHAPES)
SOURCE = InMemory(BASE, "base")
LINEAR = [name for name, shape in SHAPES.items() if len(shape) == 2]


def adapted(tmp_path, name, seed, rank, names=LINEAR, replaced=None):
    """An adapter on disk, and the weights with it merged."""
    pairs = {n: factors(seed + i, SHAPES[n], rank) for i, n in enumerate(names)}
    folder = write_adapter(tmp_path / name, pairs, replaced=replaced)
    return files.open_moved(folder, SOURCE), merged(BASE, pairs, replaced=replaced)


def assert_agrees(comparison, expected, rtol=3e-7):
    whole = files.totals(comparison)["all"]
    for name, value in expected.items():
        np.testing.assert_allclose(
            getattr(whole, name)[0], value, rtol=rtol, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("ranks", [(4, 4), (1, 7), (16, 17)], ids=str)
def test_two_adapters_are_compared_like_merged_weights(tmp_path, ranks):
    """With ranks whose product is small from factors alone, otherwise from rows of the product."""
    teacher, full_teacher = adapted(tmp_path, "t", 10, ranks[0])
    student, full_student = adapted(tmp_path, "s", 20, ranks[1])
    comparison = files.compare(SOURCE, teacher, student)
    assert_agrees(comparison, plain_numpy(BASE, full_teacher, full_student))
    merged_on_disk = files.compare(SOURCE, InMemory(full_teacher), InMemory(full_student))
    np.testing.assert_allclose(comparison.sums.matched, merged_on_disk.sums.matched, rtol=3e-7)


@pytest.mark.parametrize("adapter", ["teacher", "student"])
def test_an_adapter_is_compared_with_whole_weights(tmp_path, adapter):
    low_rank, full = adapted(tmp_path, "a", 10, 3)
    other = moved(full, draw(5, scale=0.05, shapes=SHAPES), dtype=np.float32)
    pair = {adapter: low_rank}
    comparison = files.compare(
        SOURCE,
        pair.get("teacher", InMemory(other)),
        pair.get("student", InMemory(other)),
    )
    expected = (full, other) if adapter == "teacher" else (other, full)
    assert_agrees(comparison, plain_numpy(BASE, *expected), rtol=2e-6)


def test_tensors_that_an_adapter_leaves_alone_have_not_moved(tmp_path):
    teacher, full_teacher = adapted(tmp_path, "t", 10, 4)
    student, full_student = adapted(tmp_path, "s", 20, 4, names=LINEAR[1:2])
    comparison = files.compare(SOURCE, teacher, student)
    assert_agrees(comparison, plain_numpy(BASE, full_teacher, full_student))
    assert comparison.sums.toward.student.astype(bool).tolist() == [False, True, False, False]


def test_modules_trained_in_full_are_differences(tmp_path):
    replaced = {"layers.0.norm.weight": draw(7, shapes=SHAPES)["layers.0.norm.weight"]}
    teacher, full_teacher = adapted(tmp_path, "t", 10, 4, replaced=replaced)
    student, full_student = adapted(tmp_path, "s", 20, 4, replaced=replaced)
    comparison = files.compare(SOURCE, teacher, student)
    assert_agrees(comparison, plain_numpy(BASE, full_teacher, full_student))
    vectors = files.totals(comparison)["vectors"]
    assert vectors.cosine == pytest.approx(1, abs=1e-7)


def test_an_adapter_of_another_initialisation_is_compared_from_there(tmp_path):
    elsewhere = InMemory(draw(9, shapes=SHAPES), "elsewhere")
    pairs = {name: factors(30 + i, SHAPES[name], 4) for i, name in enumerate(LINEAR)}
    teacher = files.open_moved(write_adapter(tmp_path / "t", pairs), elsewhere)
    full_teacher = merged(elsewhere.arrays, pairs)
    student, full_student = adapted(tmp_path, "s", 20, 4)
    comparison = files.compare(SOURCE, teacher, student, teacher_init=elsewhere)
    expected = plain_numpy(BASE, full_teacher, full_student, teacher_init=elsewhere.arrays)
    assert_agrees(comparison, expected, rtol=1e-5)


def test_adapters_can_be_controls(tmp_path):
    teacher, full_teacher = adapted(tmp_path, "t", 10, 4)
    student, _ = adapted(tmp_path, "s", 20, 4)
    controls = [adapted(tmp_path, f"c{i}", 30 + 5 * i, 2) for i in range(3)]
    comparison = files.compare(SOURCE, teacher, student, [control for control, _ in controls])
    cosines = [row["cosine"] for row in files.record(comparison)["controls"]]
    expected = [plain_numpy(BASE, full_teacher, full)["cosine"] for _, full in controls]
    np.testing.assert_allclose(cosines, expected, rtol=1e-6)


def test_a_base_in_bfloat16_does_not_round_what_factors_hold(tmp_path):
    base = InMemory(bfloat16(BASE), "base")
    pairs = {name: factors(i, SHAPES[name], 2) for i, name in enumerate(LINEAR)}
    small = {name: (a, np.float32(1e-4) * b) for name, (a, b) in pairs.items()}
    adapter = files.open_moved(write_adapter(tmp_path / "t", small), base)
    comparison = files.compare(base, adapter, adapter)
    assert files.warnings(comparison) == []
    assert files.totals(comparison)["all"].cosine == pytest.approx(1, abs=1e-7)
    assert not comparison.rounding["student"].any()


def test_factors_that_are_no_numbers_are_refused(tmp_path):
    pairs = {name: factors(i, SHAPES[name], 2) for i, name in enumerate(LINEAR)}
    pairs["head.weight"][0][0, 3] = np.nan
    broken = files.open_moved(write_adapter(tmp_path / "t", pairs), SOURCE)
    student, _ = adapted(tmp_path, "s", 20, 4)
    assert refusal(files.compare, SOURCE, broken, student) == (
        f"teacher {tmp_path / 't'} holds 60 NaN or Inf among the 2,880 entries of head.weight; "
        "expected finite numbers"
    )


def test_an_adapter_is_no_initialisation(tmp_path):
    folder = write_adapter(tmp_path / "t", {"head.weight": factors(0, (60, 48), 2)})
    assert refusal(files.open_weights, folder) == f"{folder} is an adapter; expected full weights"
    assert refusal(files.open_moved, f"{folder}::layers", SOURCE) == (
        f"{folder}::layers is an adapter below a prefix; expected its folder alone"
    )
