import json
import os
import subprocess
import sys
import tracemalloc

import jax
import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from safetensors.numpy import save_file

from sublim_jax import commands
from sublim_jax.commands import drift as command
from sublim_jax.drift import files
from sublim_jax.errors import InputError

SHAPES = {
    "layers.0.w.weight": (30, 20),
    "layers.0.norm.weight": (20,),
    "layers.1.w.weight": (30, 20),
    "layers.1.norm.weight": (20,),
    "embed.weight": (50, 20),
}


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {n: (scale * rng.normal(size=s)).astype(np.float32) for n, s in SHAPES.items()}


INIT, MOVE, NOISE = draw(0), draw(1, 0.1), draw(2, 0.1)
TEACHER = {name: INIT[name] + MOVE[name] for name in SHAPES}
STUDENT = {name: INIT[name] + np.float32(0.3) * MOVE[name] + NOISE[name] for name in SHAPES}
CONTROLS = [
    {name: INIT[name] + array for name, array in draw(seed, 0.1).items()} for seed in (3, 4, 5)
]


def npz(folder, name, arrays):
    np.savez(folder / f"{name}.npz", **arrays)
    return str(folder / f"{name}.npz")


def safetensors(folder, name, arrays):
    save_file(arrays, folder / f"{name}.safetensors")
    return str(folder / f"{name}.safetensors")


def shards(folder, name, arrays):
    (folder / name).mkdir()
    names = list(arrays)
    parts = {"model-1.safetensors": names[:2], "model-2.safetensors": names[2:]}
    for file, part in parts.items():
        save_file({n: arrays[n] for n in part}, folder / name / file)
    index = {"weight_map": {n: file for file, part in parts.items() for n in part}}
    (folder / name / "model.safetensors.index.json").write_text(json.dumps(index))
    return str(folder / name)


def gguf(folder, name, arrays):
    from gguf import GGUFWriter

    writer = GGUFWriter(folder / f"{name}.gguf", "llama")
    for tensor, array in arrays.items():
        writer.add_tensor(tensor, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(folder / f"{name}.gguf")


def orbax(folder, name, arrays):
    """A training's checkpoint, whose parameters are below a prefix."""
    params = {n: jax.numpy.asarray(array) for n, array in arrays.items()}
    ocp.save(folder / name, {"params": params, "step": jax.numpy.asarray(3)})
    return f"{folder / name}::{prefix(folder / name)}"


def prefix(folder):
    (name,) = (n for n in files.open_weights(folder).tensors if n.endswith("embed.weight"))
    return name.removesuffix("embed.weight")[:-1]


WRITERS = (npz, safetensors, shards, gguf, orbax)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Paths of the checkpoints, in a folder of their own that is the working directory."""
    monkeypatch.chdir(tmp_path)
    trees = {"init": INIT, "teacher": TEACHER, "student": STUDENT}
    trees |= {f"c{i}": control for i, control in enumerate(CONTROLS)}
    return {name: npz(tmp_path, name, tree) for name, tree in trees.items()}


def options(given, *others, **changed):
    paths = {role: given[role] for role in ("init", "teacher", "student")} | changed
    return [
        "drift",
        *(word for role, path in paths.items() for word in (f"--{role}", str(path))),
        *map(str, others),
    ]


def left(args):
    """The status with which a command ends."""
    with pytest.raises(SystemExit) as caught:
        commands.main(args)
    return caught.value.code


def cosine():
    init, teacher, student = (
        np.concatenate([tree[name].astype(np.float64).ravel() for name in SHAPES])
        for tree in (INIT, TEACHER, STUDENT)
    )
    s, t = student - init, teacher - init
    return s @ t / np.linalg.norm(s) / np.linalg.norm(t)


def test_it_prints_a_table_and_writes_values_and_a_figure(given, tmp_path, capsys):
    commands.main(options(given, "--control", given["c0"], given["c1"], "--control", given["c2"]))
    out, err = capsys.readouterr()
    assert err == ""
    assert "layer 0" in out
    assert "note: 3 controls have projection" in out
    assert out.splitlines()[-1] == "written: drift-student/drift.json, drift-student/drift.png"
    found = json.loads((tmp_path / "drift-student" / "drift.json").read_text())
    assert found["totals"]["all"]["cosine"] == pytest.approx(cosine(), rel=1e-6)
    assert found["sources"]["teacher"] == {
        "path": given["teacher"],
        "form": "npz",
        "tensors": {"float32": 5},
    }
    assert len(found["controls"]) == 3
    assert (tmp_path / "drift-student" / "drift.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_gives_the_same(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paths = {
        name: writer(tmp_path, name, tree)
        for name, tree in (("init", INIT), ("teacher", TEACHER), ("student", STUDENT))
    }
    commands.main(options(paths, "--out", "there", "--quiet"))
    assert capsys.readouterr() == ("", "")
    found = json.loads((tmp_path / "there" / "drift.json").read_text())
    assert found["totals"]["all"]["cosine"] == pytest.approx(cosine(), rel=1e-6)
    form = {npz: "npz", gguf: "GGUF", orbax: "orbax"}.get(writer, "safetensors")
    assert {source["form"] for source in found["sources"].values()} == {form}


def test_formats_and_types_can_be_mixed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in STUDENT.items()}
    paths = {
        "init": gguf(tmp_path, "init", INIT),
        "teacher": npz(tmp_path, "teacher", TEACHER),
        "student": safetensors(tmp_path, "student", half),
    }
    commands.main(options(paths))
    out, err = capsys.readouterr()
    assert "note: stored as different numbers (tensors): init float32 (5)" in out
    assert err == ""
    found = json.loads((tmp_path / "drift-student" / "drift.json").read_text())
    assert found["totals"]["all"]["cosine"] == pytest.approx(cosine(), abs=1e-3)


def test_a_displacement_lost_in_rounding_is_warned_of_on_the_error_stream(tmp_path, capsys):
    trees = {
        "init": INIT,
        "teacher": {n: INIT[n] + np.float32(0.01) * MOVE[n] for n in SHAPES},
        "student": {n: INIT[n] + np.float32(0.01) * NOISE[n] for n in SHAPES},
    }
    paths = {
        name: safetensors(
            tmp_path, name, {n: a.astype(ml_dtypes.bfloat16) for n, a in tree.items()}
        )
        for name, tree in trees.items()
    }
    commands.main(options(paths, "--out", tmp_path / "out", "--quiet"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" is ")[0] for line in err.splitlines()] == [
        "warning: the displacement of the student",
        "warning: the displacement of the teacher",
    ]


def test_a_student_that_is_the_teacher_has_arrived(given, tmp_path):
    commands.main(options(given, "--quiet", student=given["teacher"]))
    found = json.loads((tmp_path / "drift-teacher" / "drift.json").read_text())
    whole = found["totals"]["all"]
    for name in ("projection", "cosine", "distance_reduction", "relative_length"):
        assert whole[name] == pytest.approx(1, abs=1e-7)


def test_a_row_for_every_tensor_and_only_some_tensors(given, capsys):
    commands.main(options(given, "--per-tensor", "--select", r"^layers.*\.w\.", "embed"))
    labels = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert labels[2:5] == ["layers.0.w.weight", "layers.1.w.weight", "embed.weight"]


def test_another_initialisation_of_the_teacher(given, tmp_path):
    commands.main(options(given, "--quiet", "--teacher-init", given["c0"]))
    found = json.loads((tmp_path / "drift-student" / "drift.json").read_text())
    assert found["sources"]["teacher_init"]["path"] == given["c0"]
    assert abs(found["totals"]["all"]["cosine"]) < cosine()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": "nowhere.npz"}, "error: nowhere.npz does not exist; expected "),
        ({"student": "c9.gguf"}, "error: c9.gguf does not exist; expected "),
        ({"out": "init.npz"}, "error: out is init.npz, which cannot be written; expected "),
        ({"select": "xyz"}, "has no tensor of floating-point numbers that matches 'xyz'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(given, capsys, changed, message):
    assert left(options(given, **changed)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not os.path.exists("drift-student")


def test_a_teacher_that_has_not_moved_is_refused(given, capsys):
    assert left(options(given, teacher=given["init"])) == 2
    assert "is the same as init" in capsys.readouterr().err


def test_a_folder_of_another_comparison_is_kept(given, tmp_path, capsys):
    record = tmp_path / "drift-student" / "drift.json"
    commands.main(options(given, "--quiet"))
    kept = record.read_bytes()
    assert left(options(given, teacher=given["c0"])) == 2
    assert capsys.readouterr().err == (
        "error: out is drift-student, which holds the comparison of other files; "
        "expected another folder\n"
    )
    assert record.read_bytes() == kept
    commands.main(options(given, "--quiet"))  # the same one may be made again


def test_an_interruption_ends_with_its_own_status(given, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.files, "compare", interrupted)
    assert left(options(given)) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_leaves_ends_it_quietly(given):
    program = "from sublim_jax.commands import main; main()"
    started = subprocess.Popen(
        [sys.executable, "-c", program, *options(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    started.stdout.close()
    with started.stderr as errors:
        assert errors.read() == ""
    assert started.wait() == 141
    assert os.path.exists("drift-student/drift.png")


def test_a_bug_keeps_its_traceback(given, monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(command.files, "compare", broken)
    with pytest.raises(ZeroDivisionError):
        commands.main(options(given))


def test_the_progress_bar_waits_before_it_shows_and_counts_bytes(given, monkeypatch, capsys):
    monkeypatch.setattr(command, "PATIENCE", 0)
    commands.main(options(given))
    assert "comparing:" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_model(tmp_path):
    entries = 1 << 20
    arrays = {f"layers.{i}.w": np.full(entries, i, ml_dtypes.bfloat16) for i in range(24)}
    paths = [safetensors(tmp_path, "init", arrays)]
    for name in ("teacher", "student"):
        arrays = {n: array + ml_dtypes.bfloat16(1) for n, array in arrays.items()}
        paths.append(safetensors(tmp_path, name, arrays))
    del arrays
    init = files.open_weights(paths[0])
    tracemalloc.start()
    try:
        files.compare(init, *(files.open_moved(path, init) for path in paths[1:]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15e6 < 3 * 24 * 2 * entries / 10


def test_it_runs_as_a_module_and_explains_itself():
    finished = subprocess.run(
        [sys.executable, "-m", "sublim_jax.commands", "drift", "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "100"},
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    for word in ("--teacher-init", "safetensors", "GGUF", "orbax", "PATH::PREFIX", "t-lora/"):
        assert word in finished.stdout


@pytest.mark.parametrize("args", [[], ["nothing"], ["drift", "--init", "a"]])
def test_a_wrong_command_line_is_refused(args, capsys):
    assert left(args) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"sources": [1]}', "[]"])
def test_a_folder_with_something_else_in_it_is_kept(given, tmp_path, content):
    (tmp_path / "drift-student").mkdir()
    (tmp_path / "drift-student" / "drift.json").write_text(content)
    with pytest.raises(InputError, match="other files"):
        command.Drift(**{role: given[role] for role in ("init", "teacher", "student")}).run()
    assert (tmp_path / "drift-student" / "drift.json").read_text() == content


def test_the_folder_is_named_after_the_student(given, tmp_path):
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "run" / "a.v2.npz", **{f"w/{name}": a for name, a in STUDENT.items()})
    commands.main(options(given, "--quiet", student="run/a.v2.npz::w"))
    assert (tmp_path / "drift-a.v2" / "drift.json").exists()
