import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from programs import P, described, mesh_mlp, mesh_of, pmap_mlp

from sublim_jax.errors import InputError
from sublim_jax.plan import Planned, memory, plan, table
from sublim_jax.plan.topology import environment

WEIGHTS = (32 * 64 + 64 * 64 + 64 * 8) * 4
COUNT = 4  # Adam counts its steps
ROWS = 16
FLOPS = 3 * 2 * ROWS * WEIGHTS // 4 - 2 * ROWS * 32 * 64


def test_a_step_on_a_mesh_of_virtual_devices():
    found = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4, rows=ROWS))
    assert (found.topology, found.devices, found.chips, found.hosts) == ("cpu:4", 4, 4, 1)
    assert found.mesh == {"data": 4, "fsdp": 1, "tensor": 1}
    assert found.batch_size == ROWS
    assert found.parameter_bytes == WEIGHTS
    assert found.optimizer_bytes == 2 * WEIGHTS + COUNT
    assert found.data_bytes == ROWS // 4 * (32 + 8) * 4
    assert found.flops == FLOPS / 4
    assert set(found.collective_bytes) == {"all-reduce"}
    assert found.traffic_bytes > 3 * WEIGHTS
    assert (found.fits, found.advice, found.notes) == (True, None, ())
    assert (found.peak_flops, found.step_seconds) == (None, None)


def test_donated_state_counts_once():
    found = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    state = found.parameter_bytes + found.optimizer_bytes
    assert found.other_bytes < 1024
    assert found.total_bytes == pytest.approx(
        state + found.data_bytes + found.temporary_bytes, abs=1024
    )
    assert found.total_bytes < 2 * state


@pytest.mark.parametrize(("fsdp", "tensor"), [(2, 1), (4, 1), (1, 2), (2, 2)])
def test_sharding_shares_out_the_state(fsdp, tensor):
    data = 4 // (fsdp * tensor)
    found = plan("cpu:4", lambda d: mesh_mlp(d, data=data, fsdp=fsdp, tensor=tensor, rows=ROWS))
    assert found.parameter_bytes == WEIGHTS // (fsdp * tensor)
    assert found.optimizer_bytes == 2 * WEIGHTS // (fsdp * tensor) + COUNT
    assert found.data_bytes == ROWS // (data * fsdp) * (32 + 8) * 4
    assert found.flops == FLOPS / 4
    assert found.collective_bytes["all-gather" if fsdp > 1 else "all-reduce"] > 0


def test_pmap_plans_like_the_mesh():
    mapped = plan("cpu:4", lambda devices: pmap_mlp(devices, rows=ROWS))
    meshed = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4, rows=ROWS))
    for name in ("parameter_bytes", "optimizer_bytes", "data_bytes", "flops", "fits"):
        assert getattr(mapped, name) == getattr(meshed, name)
    assert mapped.collective_bytes["all-reduce"] == pytest.approx(
        meshed.collective_bytes["all-reduce"], abs=16
    )
    assert mapped.mesh == {"data": 4}


def test_fewer_devices_than_there_are():
    found = plan("cpu:2", lambda devices: mesh_mlp(devices, data=2))
    assert found.devices == 2


def test_a_plan_is_plain_numbers():
    found = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    assert json.loads(json.dumps(dataclasses.asdict(found)))["chips"] == 4
    assert "Plan for cpu:4" in table(found)


def test_arguments_that_are_not_used_take_nothing():
    def build(devices):
        mesh = mesh_of(devices, data=4)
        weights, unused = described(mesh, (8, 8)), described(mesh, (1000, 8))
        return Planned(jax.jit(lambda w, _: w + 1), (weights, unused), weights, (), {"data": 4}, 1)

    assert plan("cpu:4", build).data_bytes == 0


def test_loops_of_unknown_length_are_noted():
    def build(devices):
        mesh = mesh_of(devices, data=4)
        weights = described(mesh, (8, 8), P("data"))
        loop = lambda w: jax.lax.while_loop(lambda w: w[0, 0] < 1, lambda w: jnp.sin(w @ w), w)  # noqa: E731
        return Planned(jax.jit(loop), (weights,), weights, (), {"data": 4}, 1)

    notes = plan("cpu:4", build).notes
    assert notes[0] == "a while loop of unknown length is counted once (1 x)"
    assert notes[1].startswith("memory traffic and collectives count 1 of the loops once")


def test_too_little_memory_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 4 * 2 * WEIGHTS)
    found = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    assert found.fits is False
    assert found.memory_bytes == 2 * WEIGHTS
    assert found.advice.startswith(
        "parameters and optimizer state take 78.0 KiB of 52.0 KiB: shard"
    )


def refusing(planned, message):
    """A step that lowers like another, and that a compiler refuses."""

    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError(message)

    class Step:
        def __call__(self, *arguments):
            return planned.step(*arguments)

        def lower(self, *arguments):
            return Lowered()

    return planned._replace(step=Step())


def test_a_refusal_leaves_what_needs_no_compiler():
    message = "RESOURCE_EXHAUSTED: Used 1.00M of 512.0K hbm."
    found = plan("cpu:4", lambda devices: refusing(mesh_mlp(devices, data=4), message))
    assert found.parameter_bytes == WEIGHTS
    assert found.total_bytes == 2**20
    assert found.temporary_bytes == 2**20 - 3 * WEIGHTS - COUNT - found.data_bytes
    assert (found.traffic_bytes, found.collective_bytes) == (None, None)
    assert found.flops == FLOPS / 4
    assert found.notes == (f"the compiler says: {message[:-1]}",)


def test_other_faults_of_the_compiler_are_not_hidden():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        plan("cpu:4", lambda devices: refusing(mesh_mlp(devices, data=4), "INTERNAL: oh"))


def test_a_program_that_cannot_be_read_leaves_the_rest(monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "as_text", lambda self: "HloModule of the future")
    found = plan("cpu:4", lambda devices: mesh_mlp(devices, data=4))
    assert found.traffic_bytes is None
    assert found.notes[0].startswith("the compiled program could not be read")
    assert found.fits


def test_errors_of_the_step_pass_through():
    def build(devices):
        raise InputError("fsdp is 3; expected a divisor of 4")

    with pytest.raises(InputError, match="fsdp is 3"):
        plan("cpu:4", build)


TPU = """
import dataclasses, json, sys
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
from programs import mesh_mlp, pmap_mlp
from sublim_jax.errors import InputError
from sublim_jax.plan import plan
name, how, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
build = {"mesh": mesh_mlp, "pmap": pmap_mlp}[how]
try:
    print(json.dumps(dataclasses.asdict(plan(name, lambda devices: build(devices, **options)))))
except InputError as fault:
    print(json.dumps(str(fault)))
"""
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install 'jax[tpu]'"
)


def plan_for_tpu(name, how, **options):
    finished = subprocess.run(
        [sys.executable, "-c", TPU, name, how, json.dumps(options)],
        env={**environment(name), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "how", "options", "expected"),
    [
        ("v5e:4x4", "mesh", {"data": 16, "rows": 256}, ("TPU v5e", 16, 4)),
        ("v5e:4x4", "mesh", {"data": 4, "fsdp": 2, "tensor": 2}, ("TPU v5e", 16, 4)),
        ("v5e:4x4", "pmap", {"rows": 256}, ("TPU v5e", 16, 4)),
        ("v4:2x2x2", "mesh", {"data": 8}, ("TPU v4", 8, 2)),
        ("v5p:2x2x2", "mesh", {"data": 8}, ("TPU v5p", 8, 2)),
        ("v6e:2x2", "mesh", {"data": 4}, ("TPU v6e", 4, 1)),
        ("v5e:1x1", "mesh", {"data": 1}, ("TPU v5e", 1, 1)),
    ],
)
def test_a_step_compiles_for_a_tpu(name, how, options, expected):
    found = plan_for_tpu(name, how, **options)
    shards = options.get("fsdp", 1) * options.get("tensor", 1)
    assert (found["chip"], found["devices"], found["hosts"]) == expected
    assert found["fits"]
    assert found["notes"] == []
    assert found["parameter_bytes"] == WEIGHTS // shards
    assert bool(found["collective_bytes"]) == (found["devices"] > 1)
    assert found["traffic_bytes"] > 0
    assert found["peak_flops"] > 1e14


@needs_libtpu
@pytest.mark.parametrize("name", ["v9:2x2", "v5e:3x3", "v5e:4x4x4x4"])
def test_topologies_that_libtpu_does_not_know_are_refused(name):
    said = plan_for_tpu(name, "mesh", data=1)
    assert said.startswith(f"plan is '{name}', which libtpu refuses (")
    assert said.endswith("; expected a name like v5e:4x4, v4:4x4x4, v5p:2x2x4, v6e:8x8 or cpu:8")


@needs_libtpu
def test_a_step_that_is_too_large_for_a_tpu_is_refused_with_numbers():
    found = plan_for_tpu("v5e:2x2", "mesh", data=4, rows=2**27)
    assert found["fits"] is False
    assert found["total_bytes"] > found["memory_bytes"] > 15 * 2**30
    assert found["advice"]


def test_of_a_loop_over_steps_one_turn_is_counted():
    weights = jax.ShapeDtypeStruct((64, 64), "float32")
    length = jax.ShapeDtypeStruct((), "int32")

    def step(w):
        return w @ w

    def loop(w, steps):
        return jax.lax.fori_loop(0, steps, lambda _, w: step(w), jnp.sin(w))

    def build(function, *arguments, looped):
        return lambda devices: Planned(
            jax.jit(function), arguments, weights, (), {"data": 4}, 1, looped
        )

    alone = plan("cpu:4", build(step, weights, looped=False))
    looped = plan("cpu:4", build(loop, weights, length, looped=True))
    assert looped.flops == alone.flops > 0
    # The loop also moves its counter, and may copy its state.
    assert alone.traffic_bytes <= looped.traffic_bytes < 3 * alone.traffic_bytes
    assert [note.split(" ")[:4] for note in looped.notes] == [["once", "for", "many", "steps"]]
    assert not alone.notes
    with_two = plan("cpu:4", build(lambda w, n: loop(loop(w, n), n), weights, length, looped=True))
    assert with_two.traffic_bytes is None
    assert "2 loops of unknown length" in with_two.notes[0]
