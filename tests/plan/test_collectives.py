import jax
import jax.numpy as jnp
import pytest
from programs import P, described, mesh_mlp, mesh_of, pmap_mlp

from sublim_jax.plan import hlo
from sublim_jax.plan.collectives import collective_bytes, group_size, missed_collectives
from sublim_jax.plan.traffic import traffic_bytes

SIZE = 64 * 64 * 4  # bytes of the array that moves
PARAMETERS = (32 * 64 + 64 * 64 + 64 * 8) * 4


def compiled(function, *arguments):
    return hlo.parse(jax.jit(function).lower(*arguments).compile().as_text())


def sent(program):
    total = collective_bytes(program)
    assert total.unknown_loops == 0
    assert missed_collectives(program, total.reached) == 0
    return dict(total.counts)


def mapped(function):
    mesh = mesh_of(jax.devices(), d=4)
    spread = jax.shard_map(function, mesh=mesh, in_specs=P("d"), out_specs=P("d"), check_vma=False)
    return spread, mesh


def test_a_program_of_one_device_sends_nothing():
    assert sent(compiled(lambda x: x @ x, jnp.ones((64, 64)))) == {}


@pytest.mark.parametrize(
    ("kind", "function", "rows", "expected"),
    [
        ("all-reduce", lambda x: jax.lax.psum(x, "d"), 256, 2 * 3 / 4 * SIZE),
        ("all-gather", lambda x: jax.lax.all_gather(x, "d", tiled=True), 64, 3 / 4 * SIZE),
        (
            "reduce-scatter",
            lambda x: jax.lax.psum_scatter(x, "d", tiled=True),
            256,
            3 / 4 * SIZE,
        ),
        (
            "all-to-all",
            lambda x: jax.lax.all_to_all(x, "d", 0, 0, tiled=True),
            256,
            3 / 4 * SIZE,
        ),
        (
            "collective-permute",
            lambda x: jax.lax.ppermute(x, "d", [(i, (i + 1) % 4) for i in range(4)]),
            256,
            SIZE,
        ),
    ],
)
def test_each_kind_sends_what_a_ring_sends(kind, function, rows, expected):
    spread, mesh = mapped(function)
    assert sent(compiled(spread, described(mesh, (rows, 64), P("d")))) == {kind: expected}


def test_groups_smaller_than_the_machine_count_their_own_size():
    mesh = mesh_of(jax.devices(), d=2, e=2)
    spread = jax.shard_map(
        lambda x: jax.lax.psum(x, "e"), mesh=mesh, in_specs=P("d", "e"), out_specs=P("d")
    )
    argument = described(mesh, (128, 128), P("d", "e"))
    assert sent(compiled(spread, argument)) == {"all-reduce": 2 * 1 / 2 * SIZE}


@pytest.mark.parametrize("turns", [1, 3, 10])
def test_a_collective_in_a_loop_counts_every_turn(turns):
    def repeated(x):
        return jax.lax.scan(
            lambda h, _: (jax.lax.psum(jnp.tanh(h @ h), "d"), None), x, length=turns
        )[0]

    spread, mesh = mapped(repeated)
    counted = sent(compiled(spread, described(mesh, (256, 64), P("d"))))
    assert counted == {"all-reduce": turns * 2 * 3 / 4 * SIZE}


def test_loops_in_loops_multiply():
    def inner(x):
        return jax.lax.fori_loop(0, 3, lambda _, h: jax.lax.psum(jnp.tanh(h @ h), "d"), x)

    spread, mesh = mapped(lambda x: jax.lax.fori_loop(0, 5, lambda _, h: inner(h), x))
    counted = sent(compiled(spread, described(mesh, (256, 64), P("d"))))
    assert counted == {"all-reduce": 15 * 2 * 3 / 4 * SIZE}


def test_a_conditional_counts_its_largest_branch():
    def branching(x):
        once = lambda x: jax.lax.psum(x, "d")  # noqa: E731
        twice = lambda x: once(jnp.tanh(once(x)))  # noqa: E731
        return jax.lax.cond(jax.lax.psum(x[0, 0], "d") > 0, twice, once, x)

    spread, mesh = mapped(branching)
    counted = sent(compiled(spread, described(mesh, (256, 64), P("d"))))
    assert counted["all-reduce"] == pytest.approx(4 * 3 / 4 * SIZE, abs=16)


def test_a_loop_of_unknown_length_counts_once_and_says_so():
    def until(x):
        return jax.lax.while_loop(
            lambda h: h[0, 0] < 1, lambda h: jax.lax.psum(jnp.tanh(h @ h), "d"), x
        )

    spread, mesh = mapped(until)
    total = collective_bytes(compiled(spread, described(mesh, (256, 64), P("d"))))
    assert total.unknown_loops == 1
    assert total.counts["all-reduce"] == 2 * 3 / 4 * SIZE


@pytest.mark.parametrize("build", [lambda d: mesh_mlp(d, data=4), pmap_mlp])
def test_data_parallelism_reduces_one_gradient(build):
    planned = build(jax.devices()[:4])
    program = hlo.parse(planned.step.lower(*planned.arguments).compile().as_text())
    assert sent(program)["all-reduce"] == pytest.approx(2 * 3 / 4 * PARAMETERS, abs=64)


def test_what_could_not_be_reached_is_counted():
    text = """
HloModule m, num_partitions=4

%elsewhere (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  ROOT %r = f32[4]{0} all-reduce(%a), replica_groups={{0,1,2,3}}, to_apply=%add
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  ROOT %r = f32[4]{0} novelty(%a), function=%elsewhere
}
"""
    program = hlo.parse(text)
    total = collective_bytes(program)
    assert dict(total.counts) == {}
    assert missed_collectives(program, total.reached) == 1


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,2},{1,3}}, to_apply=%add", 2),
        ("replica_groups=[2,4]<=[8], dimensions={0}", 4),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 2),
        ("replica_groups={}, to_apply=%add", 8),
        ("replica_groups=mesh['a'=8,'b'=1] {'a','b'}, to_apply=%add", 8),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}, dimensions={1}", 4),
        ("replica_groups=mesh['a'=8] {'a':(2)4}", 4),
    ],
)
def test_group_sizes_in_every_spelling(groups, size):
    assert group_size(f", channel_id=1, {groups}", 8) == size


SPREAD = """
HloModule m, num_partitions=4

%begins (a: bf16[8,64]) -> (bf16[8,64], bf16[32,64]) {
  %a = bf16[8,64]{1,0} parameter(0)
  %g = bf16[32,64]{1,0} all-gather(%a), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %c = (bf16[8,64]{1,0}, bf16[32,64]{1,0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (a: bf16[8,64], b: bf16[32,64], x: f32[16]) -> (f32[16], bf16[8,64], bf16[32,64]) {
  %a = bf16[8,64]{1,0} parameter(0)
  %b = bf16[32,64]{1,0} parameter(1)
  %x = f32[16]{0} parameter(2)
  %y = f32[16]{0} negate(%x)
  %g = bf16[32,64]{1,0} all-gather(%a), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %t = (f32[16]{0}, bf16[8,64]{1,0}, bf16[32,64]{1,0}) tuple(%y, %a, %g)
}

%ends (a: bf16[8,64], b: bf16[32,64]) -> bf16[32,64] {
  %a = bf16[8,64]{1,0} parameter(0)
  %b = bf16[32,64]{1,0} parameter(1)
  %g = bf16[32,64]{1,0} all-gather(%a), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %c = bf16[32,64]{1,0} custom-call(%a, %b, %g), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (a: bf16[8,64], x: f32[16]) -> bf16[32,64] {
  %a = bf16[8,64]{1,0} parameter(0)
  %x = f32[16]{0} parameter(1)
  %s = (bf16[8,64]{1,0}, bf16[32,64]{1,0}) fusion(%a), kind=kCustom, calls=%begins
  %s0 = bf16[8,64]{1,0} get-tuple-element(%s), index=0
  %s1 = bf16[32,64]{1,0} get-tuple-element(%s), index=1
  %m = (f32[16]{0}, bf16[8,64]{1,0}, bf16[32,64]{1,0}) fusion(%s0, %s1, %x), kind=kCustom, calls=%async_collective_fusion.1
  %m1 = bf16[8,64]{1,0} get-tuple-element(%m), index=1
  %m2 = bf16[32,64]{1,0} get-tuple-element(%m), index=2
  ROOT %r = bf16[32,64]{1,0} fusion(%m1, %m2), kind=kCustom, calls=%ends
}
"""  # noqa: E501


def test_a_collective_that_is_spread_over_fusions_counts_once():
    program = hlo.parse(SPREAD)
    own, gathered, beside = 8 * 64 * 2, 32 * 64 * 2, 16 * 4
    total = collective_bytes(program)
    assert dict(total.counts) == {"all-gather": gathered - own}
    assert missed_collectives(program, total.reached) == 0
    # It reads its share, hands it on and writes the whole; what runs beside it reads and writes.
    assert traffic_bytes(program).counts["bytes"] == 2 * own + gathered + 2 * beside
