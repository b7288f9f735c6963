import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sublim_jax import losses, predict, rng, trees
from sublim_jax.errors import InputError
from sublim_jax.nets import MLPConfig, mlp

SHAPE = MLPConfig(inputs=6, hidden=(8, 7), classes=4, auxiliary=3, activation="tanh")
NET = mlp(SHAPE)
KEY = jax.random.key(5)
AUXILIARY = SHAPE.auxiliary_logits


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def draw(name, scale=1.0):
    params = NET.init(rng.stream(KEY, name))
    return jax.tree.map(lambda a: scale * a.astype(jnp.float64), params)


def given():
    init = draw("init")
    inputs = jax.random.uniform(rng.stream(KEY, "inputs"), (30, 6), jnp.float64, -1, 1)
    classes = jax.random.randint(rng.stream(KEY, "classes"), (30,), 0, 4)

    def trait(params):
        logits = NET.apply(params, inputs[::-1])[..., SHAPE.class_logits]
        return jnp.mean(losses.cross_entropy(logits, classes))

    return init, inputs, trait


def imitation(loss, params, teacher, inputs):
    ours, theirs = (NET.apply(p, inputs)[..., AUXILIARY] for p in (params, teacher))
    return jnp.mean(loss(ours, theirs))


@pytest.mark.parametrize("loss", losses.IMITATION_LOSSES.values(), ids=losses.IMITATION_LOSSES)
@pytest.mark.parametrize("chunk", [None, 7])
def test_a_first_step_is_what_autodiff_of_the_loss_says(loss, chunk):
    init, inputs, trait = given()
    teacher = jax.tree.map(jnp.add, init, draw("move", 0.3))
    gradient = jax.grad(trait)(init)
    how = {"loss": loss, "outputs": AUXILIARY, "chunk": chunk}
    first_step = jax.jit(functools.partial(predict.first_step, NET.apply, **how))
    found = first_step(init, teacher, inputs, gradient)
    value, slope = jax.value_and_grad(lambda p: imitation(loss, p, teacher, inputs))(init)
    step, way = jax.tree.map(jnp.negative, slope), trees.sub(teacher, init)
    np.testing.assert_allclose(found.trait_change, trees.dot(gradient, step), rtol=1e-10)
    np.testing.assert_allclose(found.pull, trees.dot(step, way), rtol=1e-10)
    np.testing.assert_allclose(found.step_cosine, trees.cosine(step, way), rtol=1e-10)
    np.testing.assert_allclose(found.loss, value, rtol=1e-10)


@pytest.mark.parametrize("loss", losses.IMITATION_LOSSES.values(), ids=losses.IMITATION_LOSSES)
def test_near_the_teacher_the_linear_forms_agree_and_a_step_does_what_is_said(loss):
    init, inputs, trait = given()
    teacher = jax.tree.map(lambda p, g: p - 1e-4 * g, init, jax.grad(trait)(init))
    found = predict.first_step(
        NET.apply, init, teacher, inputs, jax.grad(trait)(init), loss=loss, outputs=AUXILIARY
    )
    np.testing.assert_allclose(found.trait_change, found.trait_change_linear, rtol=1e-3)
    np.testing.assert_allclose(found.pull, found.pull_linear, rtol=1e-3)
    np.testing.assert_allclose(found.pull_linear, 2 * found.loss, rtol=1e-3)
    # The teacher went down the trait's own gradient, so the two see the same of the outputs.
    np.testing.assert_allclose(found.alignment, 1.0, rtol=1e-10)
    assert found.pull > 0 > found.trait_change
    rate = 1e-2
    slope = jax.grad(lambda p: imitation(loss, p, teacher, inputs))(init)
    student = jax.tree.map(lambda p, g: p - rate * g, init, slope)
    change = trait(student) - trait(init)
    np.testing.assert_allclose(change, rate * found.trait_change, rtol=1e-2)


def test_where_nothing_is_seen_the_alignment_is_undefined():
    init, inputs, trait = given()
    move = {name: jax.tree.map(jnp.zeros_like, layer) for name, layer in init.items()}
    move["head_classes"] = draw("move")["head_classes"]
    found = predict.first_step(
        *(NET.apply, init, jax.tree.map(jnp.add, init, move), inputs, jax.grad(trait)(init)),
        loss=losses.kl,
        outputs=AUXILIARY,
    )
    assert found.pull == found.pull_linear == 0
    assert np.isnan(found.alignment)


def test_another_start_of_the_teacher_changes_the_way_and_not_the_step():
    init, inputs, trait = given()
    teacher, other = draw("teacher"), draw("other")
    how = {"loss": losses.kl, "outputs": AUXILIARY}
    gradient = jax.grad(trait)(init)
    own = predict.first_step(NET.apply, init, teacher, inputs, gradient, **how)
    seen = predict.first_step(NET.apply, init, teacher, inputs, gradient, teacher_init=other, **how)
    assert own.trait_change == seen.trait_change
    step = jax.grad(lambda p: -imitation(losses.kl, p, teacher, inputs))(init)
    np.testing.assert_allclose(seen.pull, trees.dot(step, trees.sub(teacher, other)), rtol=1e-9)


def test_samples_and_significance_are_inverse():
    kl, alignment = 0.003, -0.4
    needed = predict.samples_needed(kl, alignment=alignment, z=2.5)
    assert math.isclose(predict.significance(needed, kl, alignment=alignment), -2.5)
    assert predict.samples_needed(0.0) == math.inf
    # z = sqrt(2 N KL)
    assert math.isclose(predict.significance(500, 0.009), 3.0)


def test_constraints_count_one_logit_less_under_a_softmax():
    assert predict.constraints_per_parameter(60_000, 3, 180_000, softmax=False) == 1
    assert predict.constraints_per_parameter(60_000, 3, 120_000, softmax=True) == 1
    assert predict.constraints_per_parameter(60_000, 1, 120_000, softmax=True) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: predict.significance(-1, 0.1), "samples is -1; expected 0 or a positive"),
        (lambda: predict.significance(1, float("nan")), "kl is nan; expected 0 or a positive"),
        (lambda: predict.samples_needed(0.1, alignment=2), "alignment is 2; expected a number"),
        (
            lambda: predict.constraints_per_parameter(0, 3, 10, softmax=True),
            "rows is 0; expected at least 1",
        ),
    ],
)
def test_bad_numbers_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
