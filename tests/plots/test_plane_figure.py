import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from sublim_jax import plots
from sublim_jax.errors import InputError
from sublim_jax.plots.plane import Field, Scene, barrier_curves, growing_paths, plane_strip

STEPS = (0, 1, 5, 20)
XS, YS = np.linspace(-0.2, 1.2, 9), np.linspace(-0.5, 0.5, 7)
PATH = np.array([[0, 0], [0.1, 0.05], [0.2, 0.2], [0.5, 0.3]])
ARMS = ("same", "other", "init")


def distance(scale=1.0):
    """A loss that is lowest at the teacher, where it is 0."""
    return scale * ((XS - 1) ** 2 + YS[:, None] ** 2)


def scene(title="plane", *, scale=1.0, **changed):
    fields = [
        Field("loss", distance(scale), log=True),
        Field("accuracy", np.exp(-distance(scale)), good="high", limits=(0.0, 1.0)),
    ]
    return Scene(title, XS, YS, fields, PATH, STEPS)._replace(**changed)


def strip(*scenes):
    return plane_strip(scenes, xlabel="x", ylabel="y", title="planes")


def curves(members=3, points=5):
    a = np.linspace(0, 1, points)
    rng = np.random.default_rng(0)
    loss = {arm: a + rng.normal(0, 0.01, (members, points)) for arm in ARMS}
    panels = [plots.Panel("loss", loss, {}), plots.Panel("accuracy", loss, {"chance": 0.1})]
    return barrier_curves(a, panels, names=ARMS, ends=("start", "teacher"), title="barrier")


@pytest.mark.parametrize(
    "draw", [lambda: strip(scene()), lambda: strip(scene(), scene("other")), curves]
)
def test_a_figure_is_written_and_leaves_the_style_alone(tmp_path, draw):
    style = dict(mpl.rcParams)
    figure = draw()
    assert isinstance(figure, Figure)
    plots.save(figure, tmp_path / "figure.png")
    assert min(imread(tmp_path / "figure.png").shape[:2]) > 100
    assert dict(mpl.rcParams) == style


def lines_of(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def panels_of(figure):
    """Axes of the planes, without those of the colour bars."""
    return [axes for axes in figure.axes if axes.get_aspect() == 1]


def test_every_panel_has_the_three_points_and_the_path():
    figure = strip(scene(), scene("other"))
    panels = panels_of(figure)
    assert len(panels) == 4
    for axes in panels:
        drawn = lines_of(axes)
        np.testing.assert_array_equal(drawn["the student's path"], PATH)
        np.testing.assert_array_equal(drawn["initialisation"], [[0, 0]])
        np.testing.assert_array_equal(drawn["teacher"], [[1, 0]])
        np.testing.assert_array_equal(drawn["student"], PATH[-1:])
        assert [text.get_text() for text in axes.texts] == ["0", "5", "20"]  # 1 is too near
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4


def test_a_quantity_has_the_same_colours_on_all_planes():
    left, right = (
        axes.collections[0] for axes in panels_of(strip(scene(), scene("x", scale=3.0)))[::2]
    )
    assert left.norm.vmin == right.norm.vmin
    assert left.norm.vmax == right.norm.vmax == 3 * distance().max()
    np.testing.assert_array_equal(left.levels, right.levels)
    loss, accuracy = (a.collections[0] for a in panels_of(strip(scene())))
    # Bright is good: a low loss and a high accuracy.
    assert sum(loss.cmap(0.0)) > sum(loss.cmap(1.0))
    assert sum(accuracy.cmap(1.0)) > sum(accuracy.cmap(0.0))
    assert (accuracy.norm.vmin, accuracy.norm.vmax) == (0, 1)


def test_every_point_of_a_logarithmic_plane_has_a_colour():
    # The teacher's own imitation loss is 0, which has no logarithm.
    xs = np.linspace(-1, 1, 9)
    values = (xs**2 + xs[:, None] ** 2) * 1e3
    assert values.min() == 0
    (axes,) = panels_of(
        strip(Scene("plane", xs, xs, [Field("loss", values, log=True)], PATH, STEPS))
    )
    filled = axes.collections[0]
    assert filled.levels[0] > 0
    assert filled.levels[-1] / filled.levels[0] <= 1e4 * (1 + 1e-9)
    inside = [path.contains_point((0.0, 0.0)) for path in filled.get_paths()]
    assert any(inside)


def test_a_movie_grows_the_path_by_a_point_a_frame():
    frames = growing_paths([scene(), scene("other")], xlabel="x", ylabel="y", title="on the way")
    for last, (step, figure) in enumerate(zip(STEPS, frames, strict=True)):
        panels = panels_of(figure)
        assert len(panels) == 2
        for axes in panels:
            drawn = lines_of(axes)
            np.testing.assert_array_equal(drawn["the student's path"], PATH[: last + 1])
            np.testing.assert_array_equal(drawn["student"], PATH[last : last + 1])
            assert len(axes.lines) == 5  # nothing of the frames before is left
        assert figure.get_suptitle().endswith(f"step {step}")
    assert len(figure.legends) == 1


def test_the_curves_have_their_chords_and_their_bands():
    figure = curves()
    for axes in figure.axes:
        means = lines_of(axes)
        for arm in ARMS:
            assert means[arm].shape == (5, 2)
        chords = [line for line in axes.lines if len(line.get_xdata()) == 2]
        for arm in ARMS:
            ends = means[arm][[0, -1]]
            assert any(np.allclose(line.get_xydata(), ends) for line in chords)
        assert len(axes.collections) == len(ARMS)
        look = plots.looks(ARMS)["other"]
        (line,) = [line for line in axes.lines if line.get_label() == "other"]
        assert to_rgba(line.get_color()) == to_rgba(look.color)
        ticks = [text.get_text() for text in axes.get_xticklabels()]
        assert (ticks[0], ticks[-1]) == ("start", "teacher")


def test_a_single_member_has_curves_without_bands(tmp_path):
    plots.save(curves(members=1), tmp_path / "figure.png")


def test_planes_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match=r"fields is .*; expected the same quantities"):
        strip(scene(), scene(fields=scene().fields[:1]))
    with pytest.raises(InputError, match=r"values of loss has shape \(7, 9\); expected \(9, 7\)"):
        strip(scene(xs=YS, ys=XS))
    frames = growing_paths([scene(), scene(steps=(0, 1, 5, 21))], xlabel="x", ylabel="y", title="t")
    with pytest.raises(InputError, match=r"steps is .*; expected the same steps on every plane"):
        next(frames)
