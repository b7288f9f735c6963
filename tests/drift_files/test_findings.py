import numpy as np
import pytest
from in_memory import InMemory, bfloat16, draw, moved, times

from sublim_jax.drift import files
from sublim_jax.drift.files.precision import ROUNDING, rounding_of

SHAPES = {"layers.0.w": (400, 300), "layers.1.w": (400, 300), "layers.1.b": (300,)}
INIT = draw(0, shapes=SHAPES, scale=0.05, dtype=np.float64)
# Directions with a cosine of .287, as in the theory.
A, B = (draw(seed, shapes=SHAPES, scale=0.05, dtype=np.float64) for seed in (1, 2))
TOWARD = {name: 0.287 * A[name] + np.sqrt(1 - 0.287**2) * B[name] for name in SHAPES}


def compared(size, kind=lambda tree: tree, stored=None, **given):
    """A student and a teacher that move by ``size`` of the weights."""
    teacher, student = moved(INIT, times(size, A)), moved(INIT, times(size, TOWARD))
    trees = {"init": INIT, "teacher": teacher, "student": student} | given
    sources = {role: InMemory(kind(tree), role) for role, tree in trees.items()}
    if stored:
        for source in sources.values():
            source.tensors = {n: i._replace(stored=stored) for n, i in source.tensors.items()}
    controls = [sources[role] for role in given if role.startswith("c")]
    return files.compare(sources["init"], sources["teacher"], sources["student"], controls)


def as_type(dtype):
    return lambda tree: {name: array.astype(dtype) for name, array in tree.items()}


def cosine(comparison):
    return files.totals(comparison)["all"].cosine[0]


@pytest.mark.parametrize("size", [0.1, 0.03])
def test_bfloat16_is_fine_for_large_displacements(size):
    comparison = compared(size, bfloat16)
    assert files.warnings(comparison) == []
    assert cosine(comparison) == pytest.approx(0.287, abs=0.015)


@pytest.mark.parametrize(("size", "spurious"), [(1e-3, 0.393), (1e-4, 0.404)])
def test_bfloat16_is_warned_of_where_it_makes_cosines(size, spurious):
    comparison = compared(size, bfloat16)
    # The theory's numbers, which the warning is about.
    assert cosine(comparison) == pytest.approx(spurious, abs=0.02)
    teacher, student = sorted(files.warnings(comparison), reverse=True)
    assert student.startswith("the displacement of the student is 0.00")
    assert teacher.startswith("the displacement of the teacher is 0.00")
    for warning in (student, teacher):
        assert "less than 10 times the 0.0017 by which bfloat16 rounds them (" in warning
        assert "of 3 tensors)" in warning


def test_the_initialisation_alone_in_bfloat16_is_warned_of():
    mixed = {"init": {n: a.astype(np.float64) for n, a in bfloat16(INIT).items()}}
    assert files.warnings(compared(1e-3, **mixed)) == []  # nothing says that it was rounded
    comparison = files.compare(
        InMemory(bfloat16(INIT)),
        InMemory(moved(INIT, times(1e-3, A))),
        InMemory(moved(INIT, times(1e-3, TOWARD))),
    )
    assert len(files.warnings(comparison)) == 2
    assert files.notes(comparison)[0] == (
        "stored as different numbers (tensors): init bfloat16 (3); teacher float64 (3); student "
        "float64 (3)"
    )


@pytest.mark.parametrize(
    ("dtype", "fine", "warned"), [(np.float16, 3e-3, 1e-3), (np.float32, 1e-6, 1e-7)]
)
def test_other_types_are_warned_of_where_they_matter(dtype, fine, warned):
    assert files.warnings(compared(fine, as_type(dtype))) == []
    assert len(files.warnings(compared(warned, as_type(dtype)))) == 2


def test_a_control_is_warned_of_by_its_number():
    control = moved(INIT, times(1e-3, draw(4, shapes=SHAPES, scale=0.05)))
    (warning,) = files.warnings(compared(0.1, bfloat16, c1=control))
    assert warning.startswith("the displacement of control 1 is 0.0019 of the weights")


def test_tensors_that_have_not_moved_are_not_counted():
    still = {"layers.1.w": INIT["layers.1.w"], "layers.1.b": INIT["layers.1.b"]}
    student = {**moved(INIT, times(1e-3, TOWARD)), **still}
    (warning,) = files.warnings(compared(0.1, bfloat16, student=student))
    assert "(1 of 1 tensors)" in warning


def test_quantised_weights_are_always_warned_of():
    for warning in files.warnings(compared(0.5, as_type(np.float32), stored="Q4_1")):
        assert "is a difference of quantised weights (Q4_1)" in warning
    assert len(files.warnings(compared(0.5, as_type(np.float32), stored="Q8_0"))) == 2


@pytest.mark.parametrize("name", [name for name in ROUNDING if name != "float64"])
def test_the_rounding_of_a_type_is_what_is_measured(name):
    import ml_dtypes

    dtype = getattr(ml_dtypes, name, None) or np.dtype(name)
    weights = np.random.default_rng(0).normal(size=100_000)
    error = weights.astype(dtype).astype(np.float64) - weights
    measured = np.linalg.norm(error) / np.linalg.norm(weights)
    assert rounding_of(name) == pytest.approx(measured, rel=0.05)


def test_a_student_that_has_not_moved_is_told():
    (warning,) = files.warnings(compared(0.1, student=INIT))
    assert warning == (
        "the student is the same as its initialisation in every tensor: its projection is 0 and "
        "its cosine is undefined"
    )


def test_notes_tell_what_chance_would_do():
    single, chance, controls = files.notes(
        compared(0.1, teacher={**moved(INIT, A), "layers.1.b": INIT["layers.1.b"]})
    )
    assert single.startswith("the teacher has not moved in 1 of 3 tensors")
    assert "the cosine would be 0 ± 0.002 in a random direction" in chance
    assert "lower bounds, for biases and shared statistics give positive cosines" in chance
    assert controls == "no controls; expected 20 or more to judge by"


def test_notes_count_controls():
    controls = {f"c{i}": moved(INIT, draw(10 + i, shapes=SHAPES, scale=0.01)) for i in range(3)}
    *_, one = files.notes(compared(0.1, c1=controls["c1"]))
    assert one == "1 control; expected 20 or more to judge by"
    *_, three = files.notes(compared(0.1, **controls))
    assert three.startswith("3 controls have projection ")
    assert three.endswith("; 20 or more are recommended")
