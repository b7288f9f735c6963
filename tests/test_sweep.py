"""Sweeps: every combination once, failures alone, and one table however it was executed."""

import csv
import dataclasses
import itertools
import json
import random

import pytest
from folders import refusal
from hypothesis import given
from hypothesis import strategies as st
from toy_experiment import Options, Toy, ToyConfig

from sublim_jax.sweep import (
    Sweep,
    Task,
    announced_task,
    grid,
    groups,
    on_ray,
    serial,
    share,
    write_table,
)
from sublim_jax.sweep.table import cell, means, sorting_key
from sublim_jax.training import Preempted

GRID = {"rate": (0.1, 0.2, 0.3), "widths": ((4, 4), (8,))}


@pytest.fixture
def toy(tmp_path):
    """Make a sweep of the toy experiment that can be told to fail, and read its calls."""

    def make(folder="sweep", **options):
        return Sweep(Toy(Options(calls=tmp_path / "calls", **options)), tmp_path / folder)

    return make


def executed(sweep, configs, engine=serial):
    """Run a sweep as the command does; return what became of each rate."""
    finished, units = sweep.pending(sweep.units(configs))
    ended = {point.config: "skipped" for point in finished}
    for outcome in engine(units, sweep.run):
        assert outcome.point.config not in ended
        ended[outcome.point.config] = outcome.reason or outcome.status
    assert set(ended) == set(configs)
    return ended


def table_of(sweep):
    write_table(sweep.folder / "results.csv", sweep.table())
    return (sweep.folder / "results.csv").read_bytes()


values = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(rates=values, limits=values)
def test_a_grid_has_every_combination_once_in_order(rates, limits):
    base = ToyConfig(members=7)
    made = grid(base, {"rate": rates, "limit": limits})
    expected = [
        dataclasses.replace(base, rate=rate, limit=limit)
        for rate, limit in dict.fromkeys(itertools.product(rates, limits))
    ]
    assert made == expected
    assert grid(base, {}) == [base]


@given(st.lists(st.integers(0, 30)), st.integers(1, 5))
def test_groups_part_configurations_by_program(configs, programs):
    found = groups(configs, lambda config: config % programs)
    assert sorted(itertools.chain(*found)) == sorted(configs)
    assert len(found) == len({config % programs for config in configs})
    for group in found:
        assert len({config % programs for config in group}) == 1
        assert group == [config for config in configs if config % programs == group[0] % programs]


def test_a_grid_that_cannot_be_is_refused_by_name():
    assert "vary names rat; expected one of rate, widths" in refusal(
        grid, ToyConfig(), {"rat": [1]}
    )
    assert "no values for rate" in refusal(grid, ToyConfig(), {"rate": []})
    said = refusal(grid, ToyConfig(), {"bias": [False, True], "kind": ["left", "right"]})
    assert "vary combines bias=True, kind=right, which is refused: bias is True" in said


def test_units_share_a_program_and_configurations_with_equal_results_a_folder(toy):
    sweep = toy()
    units = sweep.units(grid(ToyConfig(), GRID))
    assert [len(unit) for unit in units] == [3, 3]
    assert len({point.folder for unit in units for point in unit}) == 6
    ((point,),) = sweep.units([ToyConfig(), ToyConfig(limit=10)])
    assert point.config == ToyConfig()


def test_what_is_finished_is_skipped_and_a_grid_grows(toy, tmp_path):
    sweep = toy()
    assert set(executed(sweep, grid(ToyConfig(), GRID)).values()) == {"done"}
    assert set(executed(sweep, grid(ToyConfig(), GRID)).values()) == {"skipped"}
    longer = executed(sweep, grid(ToyConfig(), GRID | {"rate": (0.4, 0.1)}))
    assert [longer[ToyConfig(rate=rate)] for rate in (0.4, 0.1)] == ["done", "skipped"]
    assert (tmp_path / "calls").read_text().split("\n")[:3] == ["0.1 0.2 0.3"] * 2 + ["0.4"]
    assert len(sweep.table()) == 16
    assert not (sweep.folder / ".scratch").exists()


def test_a_failure_takes_none_along_even_in_its_own_unit(toy, tmp_path):
    sweep = toy(bad=(0.2,), refused=(0.3,))
    ended = executed(sweep, grid(ToyConfig(), GRID))
    for widths in GRID["widths"]:
        assert ended[ToyConfig(rate=0.1, widths=widths)] == "done"
        said = "ArithmeticError: rate 0.2 diverged at step 3"
        assert ended[ToyConfig(rate=0.2, widths=widths)] == said
        said = "rate is 0.3; expected another one"
        assert ended[ToyConfig(rate=0.3, widths=widths)] == said
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["0.1 0.2 0.3", "0.1", "0.2", "0.3"] * 2
    assert {row["rate"] for row in sweep.table()} == {0.1}
    traces = [path.read_text() for path in (sweep.folder / "failures").iterdir()]
    assert len(traces) == 2  # a refusal says it all
    assert all("ArithmeticError: rate 0.2 diverged" in trace for trace in traces)
    cured = toy()
    assert (
        sorted(executed(cured, grid(ToyConfig(), GRID)).values()) == ["done"] * 4 + ["skipped"] * 2
    )
    assert not (sweep.folder / "failures").exists()


def test_a_run_without_results_has_failed(toy):
    class Lazy(Toy):
        def run(self, configs, folders, scratch):
            pass

    sweep = dataclasses.replace(toy(), experiment=Lazy())
    (reason,) = executed(sweep, [ToyConfig()]).values()
    assert "has no results though its run has ended" in reason


def test_an_interrupt_ends_the_sweep_and_the_same_command_goes_on(toy):
    configs = grid(ToyConfig(), GRID | {"kind": ("left", "right")})
    with pytest.raises(KeyboardInterrupt):
        executed(toy(interrupted=(0.2,)), configs)
    uninterrupted = toy("other")
    executed(uninterrupted, configs)
    sweep = toy()
    executed(sweep, configs)
    assert table_of(sweep) == table_of(uninterrupted)


def test_preemption_ends_the_sweep(toy):
    class Asked(Toy):
        def run(self, configs, folders, scratch):
            raise Preempted("student", 3, saved=True)

    with pytest.raises(Preempted):
        executed(dataclasses.replace(toy(), experiment=Asked()), [ToyConfig()])


def test_the_table_is_the_same_however_the_runs_were_executed(toy):
    configs = grid(ToyConfig(), GRID | {"limit": (3, 10)})
    one = toy("serial")
    executed(one, configs)
    expected = table_of(one)
    for seed in range(3):
        sweep = toy(f"array-{seed}")
        units = sweep.units(configs)
        tasks = random.Random(seed).sample(range(seed + 1), seed + 1)
        for index in tasks:
            for unit in share(units, Task(index, len(tasks))):
                executed(sweep, [point.config for point in unit])
            written = table_of(sweep)
        assert written == expected
    rows = list(csv.DictReader(expected.decode().splitlines()))
    assert len(rows) == 24  # of 6 rates and widths, 2 limits, 2 members
    assert list(rows[0]) == [
        *("run", "rate", "widths", "bias", "kind", "limit", "members"),
        *("member", "student.accuracy"),
    ]
    assert {row["widths"] for row in rows} == {"4x4", "8"}
    assert [row["rate"] for row in rows] == sorted(row["rate"] for row in rows)
    assert float(rows[3]["student.accuracy"]) == 0.1 * 2 / 3  # exactly


def test_the_table_has_only_finished_runs_of_the_sweep(toy):
    sweep = toy(bad=(0.2,))
    executed(sweep, [ToyConfig(rate=0.1), ToyConfig(rate=0.2)])
    (sweep.folder / "copy").mkdir()
    for name in ("config.json", "results.json"):
        run = sweep.table()[0]["run"]
        (sweep.folder / "copy" / name).write_bytes((sweep.folder / run / name).read_bytes())
    assert [row["member"] for row in sweep.table()] == [0, 1]
    assert toy("none").table() == []


def test_a_folder_is_claimed_for_one_experiment_and_remembers_its_grids(toy, tmp_path):
    sweep = toy()
    for vary in ({"rate": [0.1]}, {"rate": [0.2]}, {"rate": [0.1]}):
        sweep.claim("toy", ToyConfig(), vary)
    assert [entry["vary"] for entry in sweep.grids("toy")] == [{"rate": [0.1]}, {"rate": [0.2]}]
    assert "of another experiment" in refusal(sweep.claim, "other", ToyConfig(), {})
    (sweep.folder / "sweep.json").write_text("[]")
    assert "of another experiment" in refusal(sweep.grids, "toy")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "holds files but no sweep.json" in refusal(toy("mine").claim, "toy", ToyConfig(), {})
    assert "cannot be read" in refusal(toy("mine/thesis.tex").grids, "toy")


def slurm(task, first, last, step, count):
    names = ("ID", "MIN", "MAX", "STEP", "COUNT")
    numbers = (task, first, last, step, count)
    return {f"SLURM_ARRAY_TASK_{name}": str(n) for name, n in zip(names, numbers, strict=True)}


def grid_engine(task, first, last, step):
    names = ("ID", "FIRST", "LAST", "STEPSIZE")
    numbers = (task, first, last, step)
    return {f"SGE_TASK_{name}": str(n) for name, n in zip(names, numbers, strict=True)}


@pytest.mark.parametrize(
    ("environ", "task"),
    [
        (slurm(7, 1, 9, 2, 5), Task(3, 5)),
        (slurm(4, 4, 4, 1, 1), Task(0, 1)),
        ({"SLURM_ARRAY_TASK_ID": "4"}, Task(4, None)),
        ({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "9"}, Task(4, 9)),
        ({"PBS_ARRAY_INDEX": "2"}, Task(2, None)),
        (grid_engine(5, 1, 9, 4), Task(1, 3)),
        ({"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "8", "LSB_JOBINDEX_STEP": "1"}, Task(2, 8)),
        ({"LSB_JOBINDEX": "3"}, Task(2, None)),
        ({"JOB_COMPLETION_INDEX": "0"}, Task(0, None)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "6"}, Task(3, 6)),
        ({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0", "PBS_ARRAY_INDEX": "1"}, Task(1, None)),
    ],
)
def test_a_batch_system_tells_which_task_this_is(environ, task):
    assert announced_task({"HOME": "/root", **environ}) == task


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "nothing announces a task of an array job; expected index and count, or one of"),
        ({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"}, "nothing announces"),
        ({"PBS_ARRAY_INDEX": "two"}, "PBS_ARRAY_INDEX is 'two'; expected a number"),
        (slurm(7, 3, 7, 1, 2), "SLURM_ARRAY_TASK_ID is 7 in an array whose numbers have gaps"),
        (slurm(4, 1, 9, 2, 5), "numbers have gaps"),
    ],
)
def test_an_environment_that_tells_no_task_is_refused(environ, said):
    assert said in refusal(announced_task, environ)


@given(st.integers(0, 20), st.integers(1, 25))
def test_the_tasks_of_an_array_share_all_units_evenly(units, count):
    shares = [share(range(units), Task(index, count)) for index in range(count)]
    assert sorted(itertools.chain(*shares)) == list(range(units))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_a_count_a_task_has_the_unit_of_its_index():
    assert share("abc", Task(2, None)) == ["c"]
    said = refusal(share, "abc", Task(3, None))
    assert said == "index is 3; expected 0 to 2, a task for each of the 3 units"
    assert "index is 5; expected 0 to 4" in refusal(share, "abc", Task(5, 5))
    assert "index is -1" in refusal(share, "abc", Task(-1, 5))
    assert "count is 0; expected at least 1" in refusal(share, "abc", Task(0, 0))


def test_a_slurm_array_runs_every_unit_whatever_its_numbers():
    for first, last, step in ((0, 5, 1), (1, 6, 1), (10, 30, 10), (5, 5, 1)):
        tasks = range(first, last + 1, step)
        seen = [
            unit
            for task in tasks
            for unit in share("abcdefg", announced_task(slurm(task, first, last, step, len(tasks))))
        ]
        assert sorted(seen) == list("abcdefg")


def test_cells_and_their_order():
    assert [cell(value) for value in (None, (), [64, 32], 1e-05, True, "kl")] == [
        *("", "()", "64x32", "1e-05", "True", "kl")
    ]
    ordered = [None, 1, 1.5, 2, "a", "b", [], [1], [1, 2], [2]]
    assert sorted(random.Random(0).sample(ordered, 10), key=sorting_key) == ordered


def test_means_are_laid_out_for_reading():
    rows = [
        {"run": run, "rate": rate, "kind": "left", "member": member, "loss": rate, "note": "x"}
        for run, rate in (("aa", 0.1), ("bb", 0.2))
        for member in range(3)
    ]
    lines = means(rows).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["run", "rate", "members", "loss"],
        ["aa", "0.1", "3", "0.1"],
        ["bb", "0.2", "3", "0.2"],
    ]
    assert "loss" not in means(rows, width=10)
    assert "0 of 1 results" in means(rows, width=10)
    assert "loss" in means(rows, show=["l*"], width=10)
    assert means([]) == "nothing is finished"


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    said = refusal(lambda: list(on_ray([], print)))
    assert said == "engine is ray, which needs ray; expected `pip install 'sublim_jax[ray]'`"


def test_the_record_is_plain_json(toy):
    sweep = toy()
    sweep.claim("toy", ToyConfig(), {"widths": [(4, 4), (8,)]})
    found = json.loads((sweep.folder / "sweep.json").read_text())
    assert found["experiment"] == "toy"
    assert found["grids"][0]["vary"] == {"widths": [[4, 4], [8]]}
    assert found["grids"][0]["base"]["rate"] == 0.5
