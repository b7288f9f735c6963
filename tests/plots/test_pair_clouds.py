import numpy as np

from sublim_jax import plots
from sublim_jax.plots.pairs import IN_A_ROW, Dots, pair_clouds

RANDOM = np.random.default_rng(0)


def figure(kinds, quantities=2):
    names = {f"q{i}": f"quantity {i}" for i in range(quantities)}
    dots = [
        Dots(group, kind, own, {q: RANDOM.normal(size=4) for q in names}, RANDOM.normal(size=4))
        for kind in kinds
        for group in ("shared", "other")
        for own in (True, False)
    ]
    dots[0].x["q0"][1] = np.nan
    return pair_clouds(
        dots,
        names,
        notes={"q0": "two\nlines"},
        filled=("own teacher", "another teacher"),
        ylabel="nats",
        title="title",
    )


def legend(figure):
    (found,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    return [text.get_text() for text in found.get_texts()]


def test_the_keys_say_colours_fillings_and_where_there_are_several_markers():
    keys = ["shared", "other", "own teacher", "another teacher"]
    assert legend(figure(["run"])) == keys
    assert legend(figure(["run 1", "run 2"])) == [*keys, "run 1", "run 2"]


def test_ten_kinds_have_ten_markers(tmp_path):
    drawn = figure([f"run {i}" for i in range(10)])
    markers = [line.get_marker() for line in drawn.axes[0].lines if line.get_marker() != "None"]
    assert len(set(markers)) == 10
    plots.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_every_quantity_has_a_panel_beside_the_keys():
    for count in (1, IN_A_ROW - 1, IN_A_ROW):
        drawn = figure(["run"], count)
        labels = [axes.get_xlabel() for axes in drawn.axes if axes.get_xlabel()]
        assert labels == [f"quantity {i}" for i in range(count)]
        assert drawn.axes[0].get_title() == "two\nlines"
