import numpy as np
import pytest

from sublim_jax import plots
from sublim_jax.plots import settings
from sublim_jax.stats import Interval

RANDOM = np.random.default_rng(0)


def clouds(members):
    dots = [
        settings.Dot(group, kind, {"a": RANDOM.normal(size=members)}, RANDOM.uniform(size=members))
        for group in ("inputs", "size")
        for kind in ("main", "control")
    ]
    return settings.clouds(
        dots,
        {"a": "a distance"},
        named={"a": [settings.Named(0.1, 0.5, "a failure")]},
        notes={"a": "a note"},
        ylabel="accuracy",
        title="title",
    )


def factors(members):
    look = plots.looks(["main"])["main"]
    line = settings.Line("main", look, [RANDOM.uniform(size=members), None])
    panels = [settings.Factor(f"factor {i}", ["one", "another level"], [line]) for i in range(5)]
    return settings.factor_panels(panels, ylabel="accuracy", title="title")


def ranking(members):
    del members
    found = {"good": Interval(0.9, 0.8, 1.0), "undefined": Interval(np.nan, np.nan, np.nan)}
    return settings.ranking({"all": found}, xlabel="rho", title="title", notes=["a note"])


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("draw", [clouds, factors, ranking])
def test_a_figure_is_drawn_and_written(draw, members, tmp_path):
    plots.save(draw(members), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_names_notes_and_keys_are_there():
    assert {"a failure", "a note", "inputs", "size", "main", "control"} <= texts(clouds(3))
    assert {"factor 4", "another level", "main"} <= texts(factors(3))
    assert {"good", "undefined", "all", "a note"} <= texts(ranking(3))


def test_the_best_predictor_stands_on_top():
    found = {"worse": Interval(0.2, 0, 1), "best": Interval(0.9, 0, 1), "bad": Interval(-1, -1, 0)}
    figure = settings.ranking({"all": found}, xlabel="rho", title="title")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["best", "worse", "bad"]
    assert figure.axes[0].yaxis_inverted()
