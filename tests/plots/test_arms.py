import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from sublim_jax import plots

ARMS = ("main", "control", "cross")
STEPS = (0, 1, 10)


def values(members):
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.1, 0.9, members) for name in ARMS}


def bars(members):
    return plots.interval_bars(
        values(members),
        published={"main": plots.Published(0.5, 0.02), "elsewhere": plots.Published(0.4, 0.1)},
        published_label="paper",
        xlabel="accuracy",
        title="bars",
        chance=0.1,
    )


def curves(members, panels=3):
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=(members, len(STEPS))) for name in ARMS}
    return plots.curve_panels(
        STEPS,
        [plots.Panel(f"quantity {i}", drawn, {"level": 0.5}) for i in range(panels)],
        names=ARMS,
        xlabel="step",
        title="curves",
    )


def clouds(members, panels=2):
    return plots.scatter_panels(
        [plots.Cloud(f"quantity {i}", values(members)) for i in range(panels)],
        values(members),
        names=ARMS,
        ylabel="accuracy",
        title="clouds",
    )


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize(("draw", "axes"), [(bars, 1), (curves, 3), (clouds, 2)])
def test_a_figure_has_an_axis_for_each_panel_and_is_written(tmp_path, draw, axes, members):
    style = dict(mpl.rcParams)
    figure = draw(members)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == axes
    path = tmp_path / "figures" / "figure.png"
    plots.save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = imread(path).shape
    assert height > 100
    assert width > 100
    assert list(path.parent.iterdir()) == [path]
    assert dict(mpl.rcParams) == style


@pytest.mark.parametrize("panels", [1, 2, 5])
def test_curves_take_any_number_of_panels(panels):
    assert len(curves(2, panels).axes) == panels


def test_every_arm_is_named_once_in_a_legend():
    for figure in (curves(2), clouds(2)):
        (legend,) = figure.legends
        assert sorted(text.get_text() for text in legend.get_texts()) == sorted(ARMS)


def test_undefined_values_are_left_out_without_a_warning(tmp_path):
    curve = np.array([[np.nan, 0.1, 0.2], [np.nan, 0.2, 0.3]])
    figure = plots.curve_panels(
        STEPS, [plots.Panel("cosine", {"main": curve}, {})], names=ARMS, xlabel="step", title=""
    )
    plots.save(figure, tmp_path / "figure.png")


def test_arms_look_different_and_keep_their_look():
    looks = plots.looks(ARMS)
    assert tuple(looks) == ARMS
    assert len({look.color for look in looks.values()}) == len(ARMS)
    assert len({look.marker for look in looks.values()}) == len(ARMS)
    assert plots.looks([*ARMS, "another"])["cross"] == looks["cross"]


def test_more_arms_than_colours_are_refused():
    most = [f"arm {i}" for i in range(len(plots.style.PALETTE))]
    assert len(plots.looks(most)) == len(most)
    with pytest.raises(ValueError, match=rf"{len(most) + 1} names; expected at most {len(most)}"):
        plots.looks([*most, "one more"])
