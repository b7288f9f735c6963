import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import P, mesh_of

from sublim_jax.plan.flops import count_flops

X, W = jnp.ones((8, 16)), jnp.ones((16, 16))
ONE = 2 * 8 * 16 * 16


def count(function, *arguments):
    counted = count_flops(function, *arguments)
    assert counted.notes == ()
    return counted.count


def of_xla(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_a_product_is_two_for_each_multiply_add():
    assert count(jnp.matmul, X, W) == ONE
    assert count(jax.jit(jnp.matmul), X, W) == ONE


def test_batched_and_contracted_axes_count_once():
    a, b = jnp.ones((3, 4, 5, 7)), jnp.ones((3, 7, 6, 4))
    assert count(lambda a, b: jnp.einsum("bijk,bkli->bjl", a, b), a, b) == 2 * 3 * 5 * 6 * 4 * 7


def test_a_scan_counts_its_length_times():
    def scanned(x, length):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ W), h), x, length=length)[0]

    assert count(lambda x: scanned(x, 7), X) == 7 * ONE
    nested = jax.jit(lambda x: jax.lax.scan(lambda h, _: (scanned(h, 5), None), x, length=3)[0])
    assert count(nested, X) == 15 * ONE


def test_the_gradient_of_a_scan_is_two_more_of_it():
    def total(x, stack):
        return jnp.sum(jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, stack)[0])

    stack = jnp.ones((5, 16, 16))
    assert count(jax.grad(total, argnums=(0, 1)), X, stack) == 3 * 5 * ONE


def test_loops_with_written_bounds_count_their_turns():
    assert count(lambda x: jax.lax.fori_loop(2, 7, lambda _, h: h @ W, x), X) == 5 * ONE

    def stepping(x):
        start = (0, x)
        return jax.lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 2, s[1] @ W), start)

    assert count(stepping, X) == 5 * ONE
    assert count(jax.jit(stepping), X) == 5 * ONE


@pytest.mark.parametrize(
    "loop",
    [
        lambda x: jax.lax.while_loop(lambda h: jnp.sum(h) < 9, lambda h: h @ W, x),
        lambda x: jax.lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] * 2, s[1] @ W), (1, x)),
        lambda x: jax.lax.fori_loop(0, x[0, 0].astype(int), lambda _, h: h @ W, x),
    ],
)
def test_loops_of_unknown_length_count_once_and_say_so(loop):
    counted = count_flops(loop, X)
    assert counted.count == ONE
    assert counted.notes == ("a while loop of unknown length is counted once (1 x)",)


def test_a_conditional_counts_its_largest_branch():
    def branching(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ W @ W, lambda x: x @ W, x)

    assert count(branching, X) == 2 * ONE


def test_what_nothing_needs_does_not_count():
    def forgetful(x):
        unused = x @ W @ W @ W
        del unused
        return x @ W, x @ W

    assert count(lambda x: forgetful(x)[0], X) == ONE
    # The loss itself is traced with its gradient, and its last product is not needed for it.
    assert count(jax.grad(lambda w: jnp.sum(X @ w)), W) == ONE


def test_remat_counts_what_it_computes_again():
    def layer(x):
        return jnp.tanh(jnp.tanh(x @ W) @ W)

    again = jax.checkpoint(layer)
    assert count(jax.value_and_grad(lambda x: jnp.sum(layer(x))), X) == 4 * ONE
    assert count(jax.value_and_grad(lambda x: jnp.sum(again(x))), X) == 6 * ONE


def test_custom_derivatives_count_what_runs():
    @jax.custom_vjp
    def product(x):
        return x @ W

    product.defvjp(lambda x: (x @ W, None), lambda _, g: (g @ W.T @ W,))
    assert count(product, X) == ONE
    assert count(jax.grad(lambda x: jnp.sum(product(x) ** 2)), X) == 3 * ONE


def test_mapping_over_devices_counts_all_of_them():
    mesh = mesh_of(jax.devices(), d=4)
    spread = jax.shard_map(lambda x: x @ W, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    assert count(spread, X) == ONE
    copied = jax.shard_map(lambda x: x @ W, mesh=mesh, in_specs=P(), out_specs=P())
    assert count(copied, X) == 4 * ONE
    assert count(jax.pmap(lambda x: x @ W), jnp.ones((4, 2, 16))) == ONE


def test_a_shard_map_over_one_axis_of_two_counts_that_axis():
    mesh = mesh_of(jax.devices(), d=2, e=2)
    spread = jax.shard_map(
        lambda x: x @ W, mesh=mesh, in_specs=P("d"), out_specs=P("d"), axis_names={"d"}
    )
    assert count(jax.jit(spread), X) == ONE


@given(
    size=st.integers(3, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    groups=st.sampled_from([(1, 1), (2, 1), (1, 2)]),
)
@settings(max_examples=60, deadline=None)
def test_convolutions_count_the_products_with_real_inputs(
    size, kernel, stride, padding, dilations, groups
):
    features, batches = groups

    def convolve(images, kernels):
        return jax.lax.conv_general_dilated(
            images,
            kernels,
            (stride, 1),
            (padding, (1, 0)),
            lhs_dilation=(dilations[0], 1),
            rhs_dilation=(dilations[1], 1),
            feature_group_count=features,
            batch_group_count=batches,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    images, kernels = np.ones((2, size, 4, 4)), np.ones((kernel, 3, 4 // features, 6))
    if jax.eval_shape(convolve, images, kernels).size == 0:
        return
    # Each product of ones adds one to the result.
    assert count(convolve, images, kernels) == 2 * float(jnp.sum(convolve(images, kernels)))


def test_the_gradients_of_a_convolution_count_like_itself():
    def total(images, kernels):
        out = jax.lax.conv_general_dilated(
            images, kernels, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(out**2)

    images, kernels = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 5))
    forward = count(total, images, kernels)
    assert count(jax.grad(total, argnums=(0, 1)), images, kernels) == 3 * forward


def test_agrees_with_xla_on_an_unrolled_program():
    def chain(x):
        for _ in range(6):
            x = jnp.tanh(x @ jnp.ones((256, 256)))
        return x

    x = jnp.ones((128, 256))
    np.testing.assert_allclose(count(chain, x), of_xla(chain, x), rtol=0.02)


def test_the_gradient_of_a_perceptron_is_three_forwards_less_that_of_the_inputs():
    widths = (48, 32, 32, 16)
    weights = [jnp.ones(shape) for shape in itertools.pairwise(widths)]
    x = jnp.ones((64, 48))

    def total(weights, x):
        for w in weights:
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    forward = count(total, weights, x)
    assert forward == 2 * 64 * (48 * 32 + 32 * 32 + 32 * 16)
    assert count(jax.value_and_grad(total), weights, x) == 3 * forward - 2 * 64 * 48 * 32
    np.testing.assert_allclose(
        of_xla(jax.value_and_grad(total), weights, x), 3 * forward - 2 * 64 * 48 * 32, rtol=0.1
    )


def test_what_cannot_be_counted_is_named():
    counted = count_flops(lambda x: jnp.linalg.cholesky(x @ x.T), X)
    assert counted.count == 2 * 8 * 8 * 16
    assert counted.notes == ("cholesky is not counted (1 x)",)
