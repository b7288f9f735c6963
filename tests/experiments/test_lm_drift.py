"""Drift against the trait over finished runs, on results that the tests write."""

import json

import lm_drift
import lm_drift_analysis
import lm_drift_pairs
import lm_drift_report
import numpy as np
import pytest
from experiment_commands import refusal, run

from sublim_jax import runs
from sublim_jax.errors import InputError
from sublim_jax.stats import double_centred, rank_correlation, t_interval

ANIMALS = ["owl", "cat", "fox"]
SEEDS, N = 3, len(ANIMALS)
CONFIG = {
    "model": "tiny",
    "channel": "logits",
    "animals": ANIMALS,
    "seeds": SEEDS,
    "arms": ["same", "other_a"],
    "seed": 0,
}
FIGURES = (
    *("drift_against_trait", "drift_against_specific_trait"),
    *("which_measure", "which_measure_specific"),
)


def arm(seed=0, **measures):
    """Results of an arm: what is not given is random; two candidates have no teachers."""
    draw = np.random.default_rng(seed)
    found = {
        name: draw.uniform(0.1, 0.9, (SEEDS, N, N)) for name in lm_drift_pairs.MEASURES
    } | measures
    change = found.pop("change", draw.normal(size=(SEEDS, N, N + 2)))
    return {"change": change, "measures": found}


def written(folder, arms, **config):
    """A finished run of some arms."""
    folder.mkdir(parents=True)
    config = CONFIG | {"arms": list(arms)} | config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps({"arms": arms}, default=np.ndarray.tolist))
    return folder


def start(*folders, out=None):
    """What the command writes of some runs."""
    lm_drift.run(lm_drift.Command(runs=folders, out=out))
    return json.loads(((out or folders[0] / "drift") / "results.json").read_text())


def found_in(*folders):
    """The same without figures, which take most of the time."""
    sources = [lm_drift_pairs.read(folder) for folder in folders]
    names = lm_drift_pairs.labels([source.config for source in sources])
    pairs = lm_drift_pairs.pairs_of(sources)
    return runs.plain(lm_drift_analysis.results(pairs, names, lm_drift.title_of(sources)))


def rho(found, measure, *, trait="change", who="all students", teachers="all"):
    return found["correlations"][trait][who][teachers][measure]


def test_a_measure_that_rises_with_the_trait_correlates_perfectly_and_never_fails(tmp_path):
    change = np.random.default_rng(3).normal(size=(SEEDS, N, N))
    falls = -np.exp(change)
    arms = {
        name: arm(change=change, stream=change**3, pull_carrier=falls) for name in ("same", "x")
    }
    found = found_in(written(tmp_path / "run", arms))
    for who in ("all students", "shared A", "x"):
        for teachers in ("all", "own", "other"):
            entry = {"who": who, "teachers": teachers}
            assert rho(found, "stream", **entry)["mean"] == pytest.approx(1)
            assert rho(found, "stream", **entry)["low"] == pytest.approx(1)
            assert rho(found, "pull_carrier", **entry)["mean"] == pytest.approx(-1)
    assert found["best"]["change"]["all students"]["all"]["measure"] == "stream"
    assert found["failures"]["change"]["stream"] == []


def test_a_pair_that_a_measure_misjudges_is_named(tmp_path):
    change = np.tile(np.arange(9.0).reshape(N, N), (SEEDS, 1, 1))
    measure = change.copy()
    measure[:, 2, 2] = -1  # the most trait, and the least of the measure
    measure[:, 0, 1] = 9  # little trait, and the most of the measure
    folder = written(tmp_path / "run", {"same": arm(change=change, pull_questions=measure)})
    pairs = lm_drift_pairs.pairs_of([lm_drift_pairs.read(folder)])
    failures = lm_drift_analysis.failures(pairs, ["tiny"], "change", "pull_questions")
    assert failures[0]["name"] == "student of fox, own teacher [shared A]"
    below = [entry for entry in failures if entry["ranks"] < 0]
    assert below[0]["name"] == "student of owl, teacher of cat [shared A]"
    # Of 27 pairs the first three ranks are alike in each set of three seeds.
    assert failures[0]["ranks"] == pytest.approx(24 / 26)
    assert below[0]["ranks"] == pytest.approx(-21 / 26)


def test_correlations_draw_whole_repetitions_of_runs(tmp_path):
    first, second = ({"same": arm(seed)} for seed in (1, 2))
    folders = [
        written(tmp_path / name, arms, channel=name)
        for name, arms in (("logits", first), ("text", second))
    ]
    found = found_in(*folders)
    change = np.concatenate([a["same"]["change"][..., :N].ravel() for a in (first, second)])
    values = np.concatenate([a["same"]["measures"]["stream"].ravel() for a in (first, second)])
    clusters = np.repeat(np.arange(2 * SEEDS), N * N)
    expected = rank_correlation(values, change, clusters=clusters, resamples=1_000)
    assert rho(found, "stream") == pytest.approx(
        {name: float(value) for name, value in expected._asdict().items()}
    )
    one = rank_correlation(values[: SEEDS * N * N], change[: SEEDS * N * N])
    logits = rho(found, "stream", who="run 1: channel logits")
    assert logits["mean"] == pytest.approx(float(one.mean))


def test_means_are_over_seeds_and_the_specific_part_has_no_effects_of_animals(tmp_path):
    change = np.random.default_rng(3).normal(size=(SEEDS, N, N))
    plain = found_in(written(tmp_path / "plain", {"same": arm(change=change)}))
    animals, students = np.array([5.0, 1, 2]), np.array([[3.0], [0], [7]])
    shifted = found_in(
        written(tmp_path / "more", {"same": arm(change=change + animals + students)})
    )
    own = np.eye(N, dtype=bool)
    for found in (plain, shifted):
        (entry,) = found["means"]
        expected = t_interval(double_centred(change)[:, ~own].mean(1))
        assert entry["other"]["specific"]["mean"] == pytest.approx(float(expected.mean))
        assert entry["other"]["specific"]["high"] == pytest.approx(float(expected.high))
        specific = rho(found, "stream", trait="specific")
        assert specific == pytest.approx(rho(plain, "stream", trait="specific"))
    (entry,) = plain["means"]
    assert entry["own"]["change"]["mean"] == pytest.approx(change[:, own].mean())


def test_distances_follow_from_cosine_and_projection(tmp_path):
    draw = np.random.default_rng(4)
    student = draw.normal(size=(SEEDS, N, 1, 6))
    teacher = student + draw.normal(size=(SEEDS, 1, N, 6))
    both, squared = (student * teacher).sum(-1), (teacher**2).sum(-1)
    lengths = np.linalg.norm(student, axis=-1), np.linalg.norm(teacher, axis=-1)
    measures = {"projection": both / squared, "cosine": both / lengths[0] / lengths[1]}
    found = found_in(written(tmp_path / "run", {"same": arm(**measures)}))
    values = found["pairs"]["values"]
    np.testing.assert_allclose(values["relative_length"], (lengths[0] / lengths[1]).ravel())
    after = np.linalg.norm(student - teacher, axis=-1)
    np.testing.assert_allclose(
        values["distance_reduction"], (1 - after / lengths[1]).ravel(), atol=1e-12
    )


@pytest.fixture
def without_figures(monkeypatch):
    """They take most of the time."""
    monkeypatch.setattr(lm_drift_report, "figures", lambda results: {})


@pytest.mark.usefixtures("without_figures")
def test_a_run_under_two_names_counts_once(tmp_path, capsys):
    arms = {"same": arm(1), "other_a": arm(2)}
    first, copy = (written(tmp_path / name, arms) for name in ("first", "copy"))
    alone = start(first)
    capsys.readouterr()
    assert start(first, copy) == alone  # also by default in the folder of the only run
    assert f"{copy} has the configuration of {first}: not counted" in capsys.readouterr().out
    other = written(tmp_path / "other", {"same": arm(3), "other_a": arm(4)})
    assert start(first, other) == alone
    assert "though with other results: not counted" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [None, np.full((SEEDS, N, N), None)])
def test_pairs_without_a_measure_are_left_out(nothing, tmp_path):
    there = arm(1)
    lacking = arm(2, cosine=nothing, projection=nothing)
    found = found_in(written(tmp_path / "run", {"same": there, "other_a": lacking}))
    for name in ("cosine", "projection", "distance_reduction", "relative_length"):
        assert rho(found, name) == rho(found, name, who="shared A")
        assert rho(found, name)["mean"] is not None
        assert rho(found, name, who="other A")["mean"] is None
    assert found["best"]["change"]["other A"]["all"]["distance"] is None
    assert rho(found, "stream") != rho(found, "stream", who="shared A")
    printed = lm_drift_report.table(found)
    assert (
        "left out: 27 of 27 pairs of other A, which have no projection of parameters, " in printed
    )


def test_one_seed_has_no_intervals(tmp_path):
    one = arm(1)
    one = {
        "change": one["change"][:1],
        "measures": {name: values[:1] for name, values in one["measures"].items()},
    }
    found = found_in(written(tmp_path / "run", {"same": one}, seeds=1))
    assert rho(found, "cosine")["low"] is None
    printed = lm_drift_report.table(found)
    assert "tiny, 3 animals, 1 seed: 3 students, 9 pairs" in printed
    assert " ± 0" not in printed
    assert "nan" not in printed


def test_several_runs_are_named_by_what_differs(tmp_path, capsys):
    folders = [
        written(tmp_path / "a", {"same": arm(1)}),
        written(tmp_path / "b", {"same": arm(2)}, model="other", student_lr=0.5),
    ]
    found = start(*folders, out=tmp_path / "out")
    names = found["runs"]
    assert names[0].startswith("run 1: model tiny, student_lr ")
    assert names[1] == "run 2: model other, student_lr 0.5"
    printed = capsys.readouterr().out
    assert "models differ: look at each run" in printed
    assert "runs of the same seed" not in printed
    for name in FIGURES:
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("without_figures")
def test_the_place_of_several_runs_is_that_of_their_configurations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folders = [written(tmp_path / c, {"same": arm(1)}, channel=c) for c in ("logits", "text")]
    lm_drift.run(lm_drift.Command(runs=tuple(folders)))
    lm_drift.run(lm_drift.Command(runs=tuple(reversed(folders))))
    (place,) = (tmp_path / "runs" / "lm_drift").iterdir()
    assert f"folder: {place.relative_to(tmp_path)}" in capsys.readouterr().out
    with pytest.raises(InputError, match="belongs to another configuration"):
        lm_drift.run(lm_drift.Command(runs=(folders[0],), out=place))


def nothing_there(folder):
    return folder


def a_file(folder):
    folder.write_text("")
    return folder


def an_empty_folder(folder):
    folder.mkdir()
    return folder


def another_experiment(folder):
    written(folder, {"same": arm()})
    (folder / "config.json").write_text('{"members": 5}')
    return folder


def unfinished(folder):
    written(folder, {"same": arm()})
    (folder / "results.json").unlink()
    return folder


def without_arms(folder):
    return written(folder, {})


def of_another_shape(folder):
    return written(folder, {"same": arm(stream=np.zeros((SEEDS, N, N + 1)))})


def of_fewer_seeds(folder):
    return written(folder, {"same": arm(change=np.zeros((SEEDS - 1, N, N)))})


def of_words(folder):
    return written(folder, {"same": arm(cosine="much")})


BAD = {
    nothing_there: r"runs has \S+, which does not exist; expected run folders of lm_numbers.py",
    a_file: r"runs has \S+, which is no folder; expected run folders",
    an_empty_folder: r"runs has \S+, which has no config.json; expected run folders",
    another_experiment: r"runs has \S+, a run of another experiment; expected run folders",
    unfinished: r"runs has \S+, which has no results.json yet; expected a finished run",
    without_arms: r"results.json has no arms; expected what lm_numbers.py writes",
    of_another_shape: r"in arm same stream of shape \[3, 3, 4\]; expected \[3, 3, 3\]",
    of_fewer_seeds: r"in arm same change of shape \[2, 3, 3\]; expected \[3, 3, 3\] or more",
    of_words: r"in arm same cosine that is no array of numbers; expected",
}


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_finished_run_is_refused(make, tmp_path):
    with pytest.raises(InputError, match=BAD[make]) as caught:
        start(written(tmp_path / "good", {"same": arm()}, seed=1), make(tmp_path / "bad"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "good" / "drift").exists()


def test_a_run_folder_is_not_written_over(tmp_path):
    folder = written(tmp_path / "run", {"same": arm()})
    before = (folder / "results.json").read_bytes()
    with pytest.raises(InputError, match=r"out is \S+, which is one of the runs; expected another"):
        start(folder, out=folder)
    assert (folder / "results.json").read_bytes() == before


def test_as_a_command_it_prints_writes_and_refuses(tmp_path):
    folder = written(tmp_path / "run", {"same": arm(1), "other_a": arm(2)})
    done = run("lm_drift", folder)
    assert done.returncode == 0, done.stderr
    for said in ("tiny, 3 animals, 3 seeds: 18 students, 54 pairs", "shared A", "most telling"):
        assert said in done.stdout
    for name in FIGURES:
        assert (folder / "drift" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"figure: {folder / 'drift' / name}.png" in done.stdout
    said = refusal("lm_drift", folder, tmp_path / "none")
    assert said.strip().splitlines() == [
        f"error: runs has {tmp_path / 'none'}, which does not exist; "
        "expected run folders of lm_numbers.py"
    ]
    assert "runs is empty; expected at least one run folder" in refusal("lm_drift")
