"""Lines of a forest plot that have a value in some panels alone."""

import numpy as np

from sublim_jax.plots.forest import Panel, forest_figure


def test_a_line_without_a_value_stays_empty():
    two = {"written": np.array([1.0, 2.0]), "shuffled": np.array([0.5, 0.75])}
    panels = [Panel("difference", two), Panel("less than written", {"shuffled": np.array([1, 2])})]
    whole, part = forest_figure(panels, main="teacher", title="Rows").axes
    assert [label.get_text() for label in whole.get_yticklabels()] == ["written", "shuffled"]
    assert [len(axes.containers) for axes in (whole, part)] == [2, 1]
    (line,) = (container.lines[0] for container in part.containers)
    np.testing.assert_allclose(line.get_xydata(), [[1.5, 1]])
