import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import drift, trees

SHAPES = {"hidden": {"kernel": (7, 5), "bias": (5,)}, "head": {"kernel": (5, 3), "bias": (3,)}}
FIELDS = drift.Products._fields


def draw(seed, members=()):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=(*members, *shape)).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def products_of(seed):
    student, teacher, init, control = (draw(4 * seed + i) for i in range(4))
    return drift.inner_products(student, teacher, init, control=control)


def assert_close(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_products_are_those_of_the_flattened_layers():
    student, teacher, init, control = map(draw, range(4))
    products = drift.inner_products(student, teacher, init, control=control)
    pairs = {
        "student": (student, student),
        "teacher": (teacher, teacher),
        "student_teacher": (student, teacher),
        "init": (init, init),
        "student_control": (student, control),
    }
    assert pairs.keys() == set(FIELDS)
    for field, (a, b) in pairs.items():
        expected = [flat(a[name]) @ flat(b[name]) for name in trees.layers(student)]
        np.testing.assert_allclose(getattr(products, field), expected, rtol=1e-5, atol=1e-5)


def test_without_a_control_there_is_no_product_with_one():
    products = drift.inner_products(draw(0), draw(1), draw(2))
    assert products.student_control is None
    assert drift.total(products).student_control is None


def test_products_compile_and_give_only_one_number_a_layer():
    student, teacher, init, control = map(draw, range(4))
    compiled = jax.jit(drift.inner_products)(student, teacher, init, control=control)
    assert {product.shape for product in compiled} == {(len(SHAPES),)}
    assert_close(compiled, drift.inner_products(student, teacher, init, control=control))


def test_stacked_members_have_the_products_of_each():
    student, teacher, init = (draw(seed, (3,)) for seed in range(3))
    stacked = jax.vmap(drift.inner_products)(student, teacher, init)
    for member in range(3):
        one = drift.inner_products(*(trees.take(tree, member) for tree in (student, teacher, init)))
        assert_close([p[member] for p in stacked[:4]], one[:4])


def test_the_total_has_the_products_of_the_whole_vectors():
    student, teacher, init, control = map(draw, range(4))
    whole = drift.total(drift.inner_products(student, teacher, init, control=control))
    expected = drift.Products(
        student=flat(student) @ flat(student),
        teacher=flat(teacher) @ flat(teacher),
        student_teacher=flat(student) @ flat(teacher),
        init=flat(init) @ flat(init),
        student_control=flat(student) @ flat(control),
    )
    assert_close(whole, expected)


def test_the_total_keeps_the_axes_of_members_and_steps():
    products = products_of(0)
    stacked = drift.Products(*(np.broadcast_to(p, (4, 6, len(SHAPES))) for p in products))
    whole = drift.total(stacked)
    assert {p.shape for p in whole} == {(4, 6)}
    assert_close([p[2, 3] for p in whole], drift.total(products))


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_the_total_is_added_in_float64(xp):
    layers = xp.asarray([1e8, 1.0, 1.0, 1.0], np.float32)
    for whole in drift.total(drift.Products(layers, layers, layers, layers, layers)):
        assert whole.dtype == np.float64
        assert whole == 1e8 + 3
