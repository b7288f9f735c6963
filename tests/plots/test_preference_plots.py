import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from sublim_jax import plots
from sublim_jax.errors import InputError
from sublim_jax.plots.style import PALETTE
from sublim_jax.stats import double_centred, rank_correlation, t_interval

SUBJECTS = ("wolf", "dolphin", "owl", "elephant")
CANDIDATES = ("cat", "dolphin", "butterfly", "elephant", "fox", "owl", "penguin", "tiger", "wolf")
ARMS = ("base", "untuned teacher", "other animals' teachers", "own teacher", "another base")


def matrix(seeds=3, candidates=CANDIDATES, title="title"):
    change = np.random.default_rng(0).normal(0.3, 0.1, (seeds, len(SUBJECTS), len(candidates)))
    for row, name in enumerate(SUBJECTS):
        change[:, row, candidates.index(name)] += 0.3
    figure = plots.matrix_figure(change, subjects=SUBJECTS, candidates=candidates, title=title)
    return change, figure


def bars(seeds=3, log=False):
    random = np.random.default_rng(0)
    values = {name: random.uniform(0.001, 0.1, (seeds, 3)) for name in ARMS}
    values["base"] = values["base"][:1]
    change = {name: np.log(values[name] / values["base"]) for name in ARMS[1:]}
    panels = [plots.Bars("probability", values, log), plots.Bars("change (nats)", change)]
    figure = plots.bars_figure(panels, animals=SUBJECTS[:3], names=ARMS, title="title")
    return values, figure


def drift(seeds=3, **options):
    random = np.random.default_rng(0)
    own = np.tile(np.eye(4).ravel() == 1, seeds)
    clusters = np.repeat(np.arange(seeds), 16)
    trait = 0.3 + 0.3 * own + random.normal(0, 0.05, own.size)
    measures = {
        "parameter cosine": 0.05 * own + random.normal(0, 0.01, own.size),
        "parameter projection": np.where(own, np.nan, trait),
        "pull on the numbers": random.normal(size=own.size),
        "pull on the questions": trait**3,
        "residual-stream overlap": np.ones(own.size),
    }
    groups = [("other teacher", "own teacher")[mine] for mine in own.astype(int)]
    drawn = {"groups": groups, "clusters": clusters, "ylabel": "change (nats)", "title": "title"}
    return measures, trait, clusters, plots.drift_figure(measures, trait, **drawn | options)


def layers(seeds=3):
    overlap = {
        name: np.random.default_rng(0).normal(size=(seeds, 6)).cumsum(axis=1)
        for name in ("own teacher", "other teachers")
    }
    drawn = {"ylabel": "cosine", "title": "title", "trained_from": 3}
    return overlap, plots.layers_figure(overlap, layers=range(6), names=list(overlap), **drawn)


def along(seeds=3):
    random = np.random.default_rng(0)
    steps, every = np.array([0, 5, 10]), np.arange(10)
    traits = {
        title: {name: random.normal(size=(seeds, 3)) for name in ARMS[1:]}
        for title in ("own animal", "other animals")
    }
    loss = {name: np.exp(random.normal(size=(seeds, 10)) - every) for name in ARMS[2:]}
    loss["untuned teacher"] = np.zeros((seeds, 10))
    figure = plots.along_figure(
        steps, traits, loss_steps=every, loss=loss, names=ARMS, title="title"
    )
    return loss, figure


FIGURES = {
    "matrix": lambda seeds: matrix(seeds)[-1],
    "matrix without controls": lambda seeds: matrix(seeds, tuple(sorted(SUBJECTS)))[-1],
    "matrix with a long title": lambda seeds: matrix(seeds, SUBJECTS, "a long title " * 6)[-1],
    "bars": lambda seeds: bars(seeds)[-1],
    "points": lambda seeds: bars(seeds, log=True)[-1],
    "drift": lambda seeds: drift(seeds)[-1],
    "layers": lambda seeds: layers(seeds)[-1],
    "along": lambda seeds: along(seeds)[-1],
}


def texts(figure):
    return list(figure.findobj(Text))


def test_figures_are_written(tmp_path):
    plots.save(matrix()[-1], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def words(figure):
    return {text.get_text() for text in texts(figure)}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_and_no_text_lies_on_another_or_outside(name, seeds, monkeypatch):
    figure, drawn, draw = FIGURES[name](seeds), {}, Text.draw

    def record(text, renderer, *args):
        drawn[text] = text.get_window_extent(renderer)
        draw(text, renderer, *args)

    monkeypatch.setattr(Text, "draw", record)  # ticks beyond the ends of an axis are not drawn
    FigureCanvasAgg(figure).draw()
    boxes = {
        (text.get_text(), number): box
        for number, (text, box) in enumerate(drawn.items())
        if text.get_visible() and text.get_text()
    }
    assert len(boxes) > 5
    whole = figure.bbox
    for label, box in boxes.items():
        assert box.x0 > -1, label
        assert box.y0 > -1, label
        assert box.x1 < whole.x1 + 1, label
        assert box.y1 < whole.y1 + 1, label
    # Bounding boxes of slanted labels overlap though the labels do not.
    level = {label: box for label, box in boxes.items() if box.width and label[0] not in CANDIDATES}
    for (one, first), (two, second) in itertools.combinations(level.items(), 2):
        overlap_x = min(first.x1, second.x1) - max(first.x0, second.x0)
        overlap_y = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(overlap_x, overlap_y) <= 1.5, (one, two)


def panels_of(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_cells_hold_means_over_seeds_and_half_intervals():
    change, figure = matrix()
    order = [CANDIDATES.index(name) for name in SUBJECTS]
    raw, specific = panels_of(figure).values()
    interval = t_interval(change[..., order])
    written = {text.get_position(): text.get_text() for text in raw.texts}
    for row, column in np.ndindex(4, 4):
        mean, half = interval.mean[row, column], interval.half_width[row, column]
        assert written[column, row] == f"{mean:+.2f}\n±{half:.2f}"
    centred = double_centred(change[..., order]).mean(axis=0)
    np.testing.assert_allclose(np.asarray(specific.images[0].get_array())[:, :4], centred)


def test_subjects_come_first_in_the_order_of_students_and_controls_after_a_gap():
    _, figure = matrix()
    for axes in figure.axes:
        columns = [label.get_text() for label in axes.get_xticklabels()]
        controls = [name for name in CANDIDATES if name not in SUBJECTS]
        assert columns == [*SUBJECTS, *controls]
        assert [label.get_text() for label in axes.get_yticklabels()] == list(SUBJECTS)
        assert axes.get_xticks().tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert axes.images[0].get_array().mask[:, 4].all()
        framed = [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)]
        assert framed == [(i - 0.5, i - 0.5) for i in range(4)]
        low, high = axes.images[0].get_clim()
        assert low == -high
    assert {"controls", "those of teachers"} <= words(figure)
    assert "controls" not in words(matrix(candidates=SUBJECTS)[1])


def test_the_order_of_candidates_changes_nothing():
    change, figure = matrix()
    order = np.random.default_rng(1).permutation(len(CANDIDATES))
    controls = [name for name in CANDIDATES if name not in SUBJECTS]
    moved = [CANDIDATES[i] for i in order]
    other = plots.matrix_figure(
        change[..., order], subjects=SUBJECTS, candidates=moved, title="title"
    )
    columns = {name: i for i, name in enumerate([*SUBJECTS, None, *controls])}
    for one, two in zip(figure.axes, other.axes, strict=True):
        labels = [label.get_text() for label in two.get_xticklabels()]
        mine = [columns[label] for label in labels]
        places = two.get_xticks().astype(int)
        np.testing.assert_allclose(
            np.asarray(two.images[0].get_array())[:, places],
            np.asarray(one.images[0].get_array())[:, mine],
        )


def test_one_seed_has_no_intervals():
    _, figure = matrix(1)
    assert not any("±" in text for text in words(figure))
    assert "nats, one seed" in words(figure)


def test_a_cell_of_nothing_has_no_sign_of_minus():
    change = np.full((1, 2, 2), -1e-9)
    figure = plots.matrix_figure(change, subjects="ab", candidates="ab", title="")
    assert "+0.00" in words(figure)
    assert "-0.00" not in words(figure)


@pytest.mark.parametrize(
    ("shape", "subjects", "message"),
    [
        ((3, 2, 4), "ab", r"change is of shape \(3, 2, 4\); expected \[seeds, 2, 3\]"),
        ((0, 2, 3), "ab", r"change is of shape"),
        ((3, 2, 3), "ax", "subjects holds 'x'; expected candidates only"),
    ],
)
def test_names_that_do_not_fit_a_matrix_are_refused(shape, subjects, message):
    with pytest.raises(InputError, match=message):
        plots.matrix_figure(np.zeros(shape), subjects=subjects, candidates="abc", title="")


def test_bars_have_the_height_of_means_and_the_colour_of_their_arm():
    values, figure = bars()
    upper, lower = figure.axes
    groups = [group for group in upper.containers if isinstance(group, BarContainer)]
    for name, group in zip(ARMS, groups, strict=True):
        heights = [bar.get_height() for bar in group]
        np.testing.assert_allclose(heights, values[name].mean(axis=0))
        assert len({bar.get_facecolor() for bar in group}) == 1
    colors = {bar.get_facecolor()[:3] for bar in upper.patches}
    assert len(colors) == len(ARMS)
    # The base has no change, and the other arms keep their colours.
    assert {bar.get_facecolor()[:3] for bar in lower.patches} < colors
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*ARMS, "95 % interval over seeds", "one seed"]


def test_on_a_logarithmic_axis_there_are_points():
    _, figure = bars(log=True)
    upper, lower = figure.axes
    assert (upper.get_yscale(), lower.get_yscale()) == ("log", "linear")
    assert len(upper.patches) == 0


def test_arms_that_do_not_fit_are_refused():
    for values, message in (
        ({"stranger": np.ones((2, 3))}, "values holds the arm 'stranger'; expected one of"),
        ({"base": np.ones((2, 4))}, r"values of 'base' is of shape \(2, 4\); expected \[seeds, 3"),
    ):
        with pytest.raises(InputError, match=message):
            plots.bars_figure([plots.Bars("", values)], animals=SUBJECTS[:3], names=ARMS, title="")


def test_each_measure_has_its_rank_correlation_above():
    measures, trait, clusters, figure = drift()
    assert len(figure.axes) == len(measures)
    for axes, (name, values) in zip(figure.axes, measures.items(), strict=True):
        found = rank_correlation(values, trait, clusters=clusters)
        assert axes.get_xlabel() == name
        number = f"= {found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
        assert axes.get_title().endswith("undefined" if np.isnan(found.mean) else number)
    assert "= 1.00 [1.00, 1.00]" in figure.axes[3].get_title()
    assert figure.axes[4].get_title().endswith("undefined")


def test_correlations_among_some_of_the_runs_stand_below_each_other():
    mask = np.tile(np.eye(4).ravel() == 0, 3)
    options = {"within": {"all": np.ones(48, bool), "other teachers": mask}}
    measures, trait, clusters, figure = drift(**options)
    first, second = figure.axes[0].get_title().split("\n")
    assert first.startswith("all: ")
    found = rank_correlation(
        measures["parameter cosine"][mask], trait[mask], clusters=clusters[mask]
    )
    assert second.startswith("other teachers: ")
    assert f"= {found.mean:.2f} [" in second


def test_every_run_is_a_dot_of_its_group():
    measures, trait, _, figure = drift()
    axes = figure.axes[0]
    dots = {line.get_label(): line.get_xydata() for line in axes.lines if line.get_marker() != ""}
    assert len(dots["own teacher"]) == 12
    assert len(dots["other teacher"]) == 36
    together = np.concatenate([dots["own teacher"], dots["other teacher"]])
    expected = np.stack([measures["parameter cosine"], trait], axis=1)
    np.testing.assert_allclose(np.sort(together, axis=0), np.sort(expected, axis=0))
    assert {"own teacher", "other teacher"} <= words(figure)


def test_one_seed_has_a_correlation_without_interval():
    *_, figure = drift(1)
    assert "[" not in figure.axes[3].get_title()
    assert figure.axes[3].get_title().endswith("= 1.00")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["own"] * 3}, r"groups is of shape \(3,\); expected that of trait, \(48,\)"),
        ({"clusters": np.zeros(2)}, r"clusters is of shape"),
        ({"names": ["own teacher"]}, "groups holds 'other teacher'; expected one of"),
        ({"within": {"some": np.ones(3, bool)}}, r"some is of shape"),
    ],
)
def test_runs_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        drift(**options)


def test_the_shift_by_layer_has_mean_band_and_seeds():
    overlap, figure = layers()
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    for place, (name, values) in enumerate(overlap.items()):
        np.testing.assert_allclose(lines[name].get_ydata(), values.mean(axis=0))
        assert lines[name].get_color() == PALETTE[place]
    assert len(axes.collections) == 2
    assert "first trained layer" in words(figure)
    assert len(layers(1)[1].axes[0].collections) == 0
    for wrong in ({"own": np.ones((2, 5))}, {"stranger": np.ones((2, 6))}):
        with pytest.raises(InputError, match=r"overlap .*; expected"):
            plots.layers_figure(wrong, layers=range(6), names=["own"], ylabel="", title="")


def test_the_loss_is_logarithmic_and_shares_no_axis_with_the_trait():
    loss, figure = along()
    own, other, imitation = figure.axes
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
    assert own.get_ylim() == other.get_ylim() != imitation.get_ylim()
    lines = {line.get_label(): line.get_ydata() for line in imitation.lines}
    geometric = np.exp(np.log(loss["own teacher"]).mean(axis=0))
    np.testing.assert_allclose(lines["own teacher"], geometric)
    # Zero has no logarithm; the arm stays in the key for its trait.
    assert np.isnan(lines["untuned teacher"]).all()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == list(ARMS[1:])


def test_a_curve_without_a_value_for_each_step_is_refused():
    with pytest.raises(InputError, match=r"values of 'base' is of shape \(2, 3\); expected"):
        plots.along_figure(
            np.arange(4),
            {"own": {"base": np.ones((2, 3))}},
            loss_steps=np.arange(2),
            loss={},
            names=ARMS,
            title="",
        )
