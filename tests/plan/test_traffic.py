import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import mesh_mlp

from sublim_jax.plan import hlo
from sublim_jax.plan.traffic import traffic_bytes

ARRAY = 256 * 256 * 4
X = jnp.ones((256, 256))


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile()


def moved(program):
    return sum(traffic_bytes(hlo.parse(program.as_text())).counts.values())


def test_an_elementwise_program_reads_and_writes_once():
    assert moved(compiled(lambda x: jnp.tanh(x) * 2 + 1, X)) == 2 * ARRAY


def test_a_product_reads_both_and_writes_one():
    assert moved(compiled(jnp.matmul, X, X + 1)) == 3 * ARRAY


def test_agrees_with_xla_where_there_are_no_loops():
    planned = mesh_mlp(jax.devices()[:4], data=2, fsdp=2, rows=512)
    program = planned.step.lower(*planned.arguments).compile()
    np.testing.assert_allclose(moved(program), program.cost_analysis()["bytes accessed"], rtol=0.1)


@pytest.mark.parametrize("turns", [2, 8])
def test_a_loop_counts_every_turn_but_only_the_slice_that_a_turn_takes(turns):
    stack = jnp.ones((turns, 256, 256))

    def scanned(x, stack):
        return jax.lax.scan(lambda h, w: (jnp.sin(h) @ w, None), x, stack)[0]

    # sin: 2 arrays; product: 3; and at most two copies of slice or carry, whatever the length.
    assert 5 * turns * ARRAY <= moved(compiled(scanned, X, stack)) <= (9 * turns + 2) * ARRAY


def test_an_update_in_place_moves_the_update():
    def update(x, row, i):
        return jax.lax.dynamic_update_slice(x, row, (i, 0))

    program = jax.jit(update, donate_argnums=0).lower(X, jnp.ones((1, 256)), 3).compile()
    assert moved(program) <= 4 * 256 * 4 + 64


TPU = """
HloModule m, num_partitions=1

%fused (p0: f32[8,1024], p1: s32[]) -> f32[1,1024] {
  %p0 = f32[8,1024]{1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  ROOT %s = f32[1,1024]{1,0:T(8,128)S(1)} dynamic-slice(%p0, %p1, %p1), dynamic_slice_sizes={1,1024}
}

ENTRY %main (p0: f32[8,1024], p1: s32[]) -> f32[8,1024] {
  %p0 = f32[8,1024]{1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)S(6)} parameter(1)
  %start = (f32[8,1024]{1,0:T(8,128)S(1)}, f32[8,1024]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p0)
  %done = f32[8,1024]{1,0:T(8,128)S(1)} copy-done(%start)
  %part = ((f32[8,1024]{1,0:T(8,128)}), f32[2,1024]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%p0), slice={[0:2], [0:1024]}
  %got = f32[2,1024]{1,0:T(8,128)S(1)} slice-done(%part)
  %room = f32[8,1024]{1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  %f = f32[1,1024]{1,0:T(8,128)S(1)} fusion(%p0, %p1), kind=kLoop, calls=%fused
  ROOT %out = f32[8,1024]{1,0:T(8,128)} tanh(%done)
}
"""  # noqa: E501


def test_vector_memory_does_not_count_and_slices_count_what_they_take():
    row = 1024 * 4
    copied, sliced, fused, written = 8 * row, 2 * row, row, 8 * row
    assert sum(traffic_bytes(hlo.parse(TPU)).counts.values()) == copied + sliced + fused + written
