"""The figure of students that go elsewhere and do the same."""

import numpy as np
import pytest

from sublim_jax import plots

random = np.random.default_rng(0)
ALIKE = {
    name: plots.Alike(random.uniform(0.9, 1, 6), random.uniform(-0.5, 0.8, 12))
    for name in ("logits", "answers", "stream")
}
DILUTED = plots.Diluted(*(random.uniform(0, top, 6) for top in (0.001, 0.002, 0.05)))


@pytest.mark.parametrize("diluted", [DILUTED, None])
def test_every_pair_and_student_is_drawn(diluted):
    figure = plots.agreement_figure(ALIKE, diluted, title="title")
    axes = figure.axes
    assert len(axes) == 1 + (diluted is not None)
    drawn = [line.get_ydata() for line in axes[0].lines[:-1]]
    for pair, at in zip(ALIKE.values(), range(0, 6, 2), strict=True):
        np.testing.assert_array_equal(drawn[at], pair.same)
        np.testing.assert_array_equal(drawn[at + 1], pair.others)
    assert [label.get_text() for label in axes[0].get_xticklabels()] == list(ALIKE)
    if diluted is not None:
        points, line = axes[1].lines[:2]
        np.testing.assert_array_equal(points.get_xydata().T, [diluted.expected, diluted.found])
        np.testing.assert_array_equal(*line.get_data())
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"students of one teacher", "students of different teachers"} <= texts
    assert ("as expected" in texts) == (diluted is not None)


def test_dots_of_one_column_stay_in_it():
    figure = plots.agreement_figure(ALIKE, None, title="title")
    for place, line in enumerate(figure.axes[0].lines[:-1]):
        assert (np.abs(line.get_xdata() - place // 2) < 0.45).all()
