"""A run as stages: counts, totals, what lies beside a step, and how it is laid out."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from plans import GIB, a_plan
from programs import described, mesh_mlp, mesh_of

from sublim_jax.errors import InputError
from sublim_jax.plan import (
    Planned,
    RunPlan,
    Stage,
    Stages,
    memory,
    plan,
    plan_stages,
    run_table,
    table,
)
from sublim_jax.plan.stages import StagePlan


def stage(name="train", times=1, **plan):
    given = {"parameters": 1, "available": 16, **plan}
    return StagePlan(name=name, times=times, plan=a_plan(**given))


def run_of(*stages, notes=()):
    return RunPlan(stages=stages, notes=notes)


def test_totals_are_the_sums_of_the_stages():
    run = run_of(stage(times=180_000), stage(times=360_000, flops=8e12))
    # 2 TFLOP at 200 TFLOP/s are 10 ms, but the memory traffic takes 20; 8 TFLOP take 40.
    assert [each.hours for each in run.stages] == [pytest.approx(1), pytest.approx(4)]
    assert run.hours == pytest.approx(5)
    assert run.chip_hours == pytest.approx(5 * 16)
    assert run.flops == 16 * (180_000 * 2e12 + 360_000 * 8e12)
    assert run.fits is True


def test_what_is_not_known_of_one_stage_is_not_known_of_the_run():
    unknown = stage(traffic_bytes=None, collective_bytes=None)
    assert run_of(stage(), unknown).hours is None
    assert run_of(stage(), unknown).chip_hours is None
    assert run_of(stage(), stage(available=None, fits=None)).fits is None
    assert run_of(stage(fits=None), stage(fits=False)).fits is False


def line(text, name):
    found = next(each for each in text.splitlines() if each.startswith(name))
    return " ".join(found.removeprefix(name).split())


def test_a_table_has_a_line_for_every_stage_and_their_total():
    text = run_table(
        run_of(
            stage("train students", times=180_000),
            stage("write", times=36, parameters=20, fits=False, advice="shard them"),
            notes=("assumed are 24 tokens",),
        )
    )
    assert text.startswith(
        "Plan for v5e:4x4: 16 TPU v5e on 4 hosts, mesh data 16, fsdp 1, tensor 1; compiled in 2.5 s"
    )
    assert line(text, "train students") == (
        "1.0 GiB yes 20.0 ms memory 180,000 5.8 EFLOP 1.00 16.00"
    )
    assert line(text, "write") == "20.0 GiB NO 20.0 ms memory 36 1.2 PFLOP <0.01 <0.01"
    assert line(text, "whole run") == "NO 5.8 EFLOP 1.00 16.00"
    assert "A chip has 16.0 GiB." in text
    assert "To make write fit: shard them." in text
    assert "Note: assumed are 24 tokens." in text
    assert max(map(len, text.splitlines())) <= 100


def test_large_numbers_keep_apart_and_notes_come_once():
    noted = stage("write", times=123_456_789, notes=("a loop is counted once",), flops=9.9e16)
    text = run_table(run_of(noted, noted))
    assert "compute 123,456,789 195555.6 ZFLOP " in line(text, "write")
    assert text.count("a loop is counted once") == 1


def test_of_a_machine_of_unknown_speed_operations_are_left():
    unknown = {"peak_flops": None, "bandwidth": None, "network": None}
    text = run_table(run_of(stage(available=None, fits=None, hosts=1, **unknown)))
    assert " on 1 host, " in text
    assert line(text, "train") == "1.0 GiB ? - - 1 32.0 TFLOP - -"
    assert "The speed of these devices is not known" in text
    assert "A chip has" not in text


def test_every_stage_is_compiled_and_counted():
    def build(devices):
        return Stages(
            [
                Stage("train", mesh_mlp(devices, data=4, rows=16), 100),
                Stage("train more", mesh_mlp(devices, data=4, rows=32), 10),
            ],
            ("assumed",),
        )

    run = plan_stages("cpu:4", build)
    alone = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4, rows=16))
    first, second = run.stages
    assert dataclasses.replace(first.plan, compile_seconds=0) == dataclasses.replace(
        alone, compile_seconds=0
    )
    assert second.plan.flops == 2 * first.plan.flops
    assert run.flops == pytest.approx(4 * (100 + 10 * 2) * alone.flops)
    assert (run.hours, run.chip_hours, run.fits) == (None, None, True)
    assert run.notes == ("assumed",)
    assert "whole run" in run_table(run)


@pytest.mark.parametrize("name", ["v5e", "cpu:0", "cpu:2x2", "v5e:4x", "4x4"])
def test_what_is_no_topology_is_refused_in_a_sentence(name):
    with pytest.raises(InputError, match=f"^plan is '{name}'; expected [^.]*$"):
        plan_stages(name, lambda devices: Stages([]))


def test_what_lies_beside_a_step_counts(monkeypatch):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 4 * 2**20)

    def build(devices, size):
        planned = mesh_mlp(devices, data=4)
        return planned._replace(beside=described(mesh_of(devices, data=4), (size,)))

    alone = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    with_some = plan("cpu:4", lambda devices: build(devices, 1000))
    assert with_some.beside_bytes == 4000
    assert with_some.total_bytes == alone.total_bytes + 4000
    assert (alone.fits, with_some.fits) == (True, True)
    too_much = plan("cpu:4", lambda devices: build(devices, 2**18))
    assert too_much.fits is False
    assert "no sharding, accumulation or larger" in too_much.advice


def test_groups_that_do_the_same_do_it_each():
    alone = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    twice = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4)._replace(copies=2))
    assert twice.flops == 2 * alone.flops


def test_what_is_done_once_for_some_turns_is_shared_out():
    weights = jax.ShapeDtypeStruct((64, 64), "float32")
    length = jax.ShapeDtypeStruct((), "int32")
    loop = jax.jit(lambda w, n: jax.lax.fori_loop(0, n, lambda _, w: w @ w, jnp.sin(w)))

    def build(**options):
        return lambda devices: Planned(
            loop, (weights, length), weights, (), {"data": 4}, 1, looped=True, **options
        )

    turn, both, half = (
        plan("cpu:4", build(**options)) for options in ({}, {"turns": 1}, {"turns": 2})
    )
    assert turn.notes
    assert not both.notes
    once = both.traffic_bytes - turn.traffic_bytes
    assert once >= 2 * 64 * 64 * 4
    assert half.traffic_bytes == pytest.approx(turn.traffic_bytes + once / 2)


def test_bytes_beside_are_shown():
    text = table(a_plan(parameters=1, available=16, beside_bytes=GIB))
    assert line(text, "  beside") == "1.0 GiB not touched"
    assert "beside" not in table(a_plan(parameters=1, available=16))
