import json

import numpy as np
import pytest
from in_memory import SHAPES, InMemory, draw, moved, times

from sublim_jax import runs
from sublim_jax.drift import files

INIT, MOVE = draw(0), draw(1, scale=0.01)
TEACHER = {**moved(INIT, MOVE), "layers.1.norm.scale": INIT["layers.1.norm.scale"]}
STUDENT = moved(INIT, times(0.3, MOVE))
CONTROLS = [moved(INIT, draw(seed, scale=0.01)) for seed in (10, 11, 12)]


@pytest.fixture(scope="module")
def alone():
    return files.compare(InMemory(INIT), InMemory(TEACHER), InMemory(STUDENT))


@pytest.fixture(scope="module")
def controlled():
    return files.compare(
        *map(InMemory, (INIT, TEACHER, STUDENT)), [InMemory(control) for control in CONTROLS]
    )


def test_a_table_has_a_row_for_each_layer_lonely_tensor_and_total(alone):
    text = files.table(alone)
    labels = [line.split("  ")[0] for line in text.splitlines()]
    assert labels[2:6] == ["layer 0", "layer 1", "embed.weight", "temperature"]
    assert labels[7:10] == ["all", "matrices", "vectors"]
    widths = {len(line) for line in text.splitlines()[:10]}
    assert len(widths) == 1


def test_a_table_shows_the_numbers_and_what_is_undefined(alone):
    whole = files.totals(alone)["all"]
    shown = next(line for line in files.table(alone).splitlines() if line.startswith("all"))
    assert shown.split()[1:] == [
        f"{whole.elements[0]:,}",
        "1.0000",
        *(
            f"{values[0]:.4f}"
            for values in (
                whole.projection,
                whole.cosine,
                whole.relative_length,
                whole.distance_reduction,
            )
        ),
    ]
    still = next(
        line
        for line in files.table(alone, per_tensor=True).splitlines()
        if line.startswith("layers.1.norm.scale")
    )
    assert still.split()[1:] == ["53", "0.0000", "0.0000", "-", "-", "-"]


def test_a_table_of_tensors_has_a_row_for_each(alone):
    text = files.table(alone, per_tensor=True)
    assert [line.split()[0] for line in text.splitlines()[2:8]] == list(SHAPES)


def test_scores_appear_with_controls_only(alone, controlled):
    assert "z cosine" not in files.table(alone)
    shown = next(line for line in files.table(controlled).splitlines() if line.startswith("all"))
    assert shown.split()[-1] == f"{files.totals(controlled)['all'].cosine_z[0]:.1f}"


def test_a_record_is_plain_json_with_null_for_what_is_undefined(controlled):
    found = json.loads(json.dumps(runs.plain(files.record(controlled)), allow_nan=False))
    assert list(found["sources"]) == [
        *("init", "teacher", "student", "control 1", "control 2", "control 3")
    ]
    assert found["sources"]["init"]["tensors"] == {"float32": len(SHAPES)}
    still = next(row for row in found["tensors"] if row["name"] == "layers.1.norm.scale")
    assert still["cosine"] is None
    assert still["projection_share"] == 0
    assert (still["layer"], still["kind"], still["shape"]) == (1, "norm.scale", [53])
    assert [row["label"] for row in found["layers"]][:2] == ["layer 0", "layer 1"]
    assert found["totals"]["all"]["cosine"] == files.totals(controlled)["all"].cosine[0]
    assert len(found["controls"]) == 3
    assert found["notes"] == files.notes(controlled)


def test_shares_of_the_record_add_up(controlled):
    found = files.record(controlled)
    whole = found["totals"]["all"]["projection"]
    for group in ("layers", "tensors"):
        shares = sum(row["projection_share"] for row in found[group])
        assert shares == pytest.approx(whole, rel=1e-12)


def test_a_grid_holds_every_tensor_once(alone):
    grid = files.grid(alone)
    assert grid.rows == ("layer 0", "layer 1", "embed.weight", "temperature")
    assert grid.columns == ("attention.weight", "norm.scale", "tensor")
    assert grid.present.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]
    each = files.measures(alone.sums)
    i = list(SHAPES).index("layers.0.norm.scale")
    assert grid.measures.cosine[0, 1] == pytest.approx(each.cosine[i], rel=1e-12)
    assert np.isnan(grid.measures.cosine[1, 1])
    assert (grid.measures.elements > 0).tolist() == grid.present.tolist()
    assert grid.measures.displacement_share.sum() == pytest.approx(1)
