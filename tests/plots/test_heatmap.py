import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sublim_jax import plots
from sublim_jax.plots.heatmap import Heat, heat_maps


def drawn(rows=3, columns=2, *, values=None, present=None, maps=2):
    values = np.random.default_rng(0).normal(size=(rows, columns)) if values is None else values
    return heat_maps(
        [Heat(f"quantity {i}", values, signed=i == 0) for i in range(maps)],
        rows=[f"layer {i}" for i in range(rows)],
        columns=[f"kind {i}" for i in range(columns)],
        title="drift",
        present=present,
    )


def maps_of(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_a_map_for_each_quantity_with_its_labels(tmp_path):
    figure = drawn()
    assert [axes.get_title() for axes in maps_of(figure)] == ["quantity 0", "quantity 1"]
    first = maps_of(figure)[0]
    assert [label.get_text() for label in first.get_yticklabels()] == [
        *("layer 0", "layer 1", "layer 2")
    ]
    assert [label.get_text() for label in first.get_xticklabels()] == ["kind 0", "kind 1"]
    plots.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_colours_are_symmetric_about_zero_for_what_has_a_sign():
    values = np.array([[-0.1, 0.4], [0.2, np.nan]])
    signed, unsigned = (axes.images[0].get_clim() for axes in maps_of(drawn(2, 2, values=values)))
    assert signed == (-0.4, 0.4)
    assert unsigned == (0, 0.4)


@pytest.mark.parametrize(
    ("signed", "extreme", "ends"),
    [(True, 50.0, "max"), (True, -50.0, "min"), (False, 50.0, "max"), (True, 1.5, "neither")],
)
def test_a_cell_that_dwarfs_the_others_may_saturate(signed, extreme, ends):
    values = np.ones((5, 4))
    values[0, 0] = extreme
    labels = {"rows": list("abcde"), "columns": list("wxyz"), "title": ""}
    figure = heat_maps([Heat("share", values, signed, saturated=True)], **labels)
    (axes,) = maps_of(figure)
    assert axes.images[0].get_clim()[1] == min(abs(extreme), 2)
    assert axes.images[0].colorbar.extend == ends
    whole = heat_maps([Heat("share", values, signed)], **labels)
    assert maps_of(whole)[0].images[0].get_clim()[1] == abs(extreme)
    assert maps_of(whole)[0].images[0].colorbar.extend == "neither"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_without_any_size_can_be_drawn(tmp_path, value):
    plots.save(drawn(2, 2, values=np.full((2, 2), value)), tmp_path / "figure.png")


def test_undefined_cells_are_hatched_and_missing_ones_blank():
    values = np.array([[0.1, np.nan], [np.nan, 0.2]])
    present = np.array([[True, True], [False, True]])
    figure = drawn(2, 2, values=values, present=present)
    for axes in maps_of(figure):
        hatched = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()]
        assert [p.get_xy() for p in hatched] == [(0.5, -0.5)]
        assert axes.images[0].get_array().mask.tolist() == [[False, True], [True, False]]
        assert sorted(text.get_text() for text in axes.texts) == ["0.10", "0.20"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["undefined"]


def test_without_undefined_cells_there_is_no_legend():
    assert drawn().legends == []


@pytest.mark.parametrize(("shape", "numbers"), [((3, 4), 12), ((30, 10), 0), ((1, 1), 1)])
def test_numbers_are_written_where_there_is_room(shape, numbers):
    assert len(maps_of(drawn(*shape))[0].texts) == numbers


def test_below_numbers_stand_half_widths_where_they_are_known(tmp_path):
    values, half = np.array([[0.5, -0.25]]), np.array([[0.125, np.nan]])
    heats = [Heat("D", values, signed=True, half=half), Heat("left", values, signed=True)]
    figure = heat_maps(heats, rows=["a"], columns=["b", "c"], title="")
    first, second = ([text.get_text() for text in axes.texts] for axes in maps_of(figure))
    assert first == ["0.50\n±0.12", "-0.25"]
    assert second == ["0.50", "-0.25"]
    plots.save(figure, tmp_path / "figure.png")
    (box, *_) = (text.get_window_extent() for text in maps_of(figure)[0].texts)
    assert box.height < maps_of(figure)[0].get_window_extent().height


@pytest.mark.parametrize("shape", [(3, 2), (30, 10), (120, 12), (7, 1)])
def test_cells_are_large_enough_to_be_seen(shape, tmp_path):
    figure = drawn(*shape, maps=3)
    plots.save(figure, tmp_path / "figure.png")  # lays the figure out
    for axes in maps_of(figure):
        box = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        assert box.width / shape[1] > 0.14
        assert box.height / shape[0] > 0.14
