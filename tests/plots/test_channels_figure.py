"""Figures of channels: what stands at the axis."""

import numpy as np
import pytest

from sublim_jax.plots.channels import Curve, Panel, channels_figure


def curve(*x):
    return Curve(np.array(x, float), np.arange(2.0 * len(x)).reshape(len(x), 2))


def ticks(panel):
    axes = channels_figure([panel], title="t").axes[0]
    return [label.get_text() for label in axes.get_xticklabels()], axes


def test_a_few_counts_stand_at_the_axis_those_of_all_curves():
    labels, axes = ticks(Panel({"a": curve(1, 4), "b": curve(4, 1024)}, "rows", "nats"))
    assert labels == ["1", "4", "1,024"]
    assert axes.get_xscale() == "log"
    assert not len(axes.get_xticks(minor=True))


@pytest.mark.parametrize("x", [(4.3, 8.5), tuple(range(1, 12))])
def test_what_is_no_count_and_many_counts_have_powers_of_ten(x):
    labels, _ = ticks(Panel({"a": curve(*x)}, "z", "nats"))
    assert all("10^" in label for label in labels if label)
    assert any(labels)


def test_points_above_each_other_are_set_apart():
    _, axes = ticks(Panel({"a": curve(1, 4), "b": curve(1, 4)}, "rows", "nats"))
    first, second = (container.lines[0].get_xdata() for container in axes.containers)
    np.testing.assert_allclose(second, first * 1.04)
