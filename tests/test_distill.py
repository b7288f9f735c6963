import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublim_jax import trees
from sublim_jax.distill import ARMS, derangement, imitation, shuffle_targets, teaching
from sublim_jax.nets import HEADS, MLPConfig, mlp
from sublim_jax.training import Recipe, members

RECIPE = Recipe(learning_rate=1e-2, epochs=3, batch_size=16)
ONE_STEP = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=64)


def setting(seed=0, *, aux=3, hidden=(16, 16)):
    shape = MLPConfig(inputs=12, hidden=hidden, classes=4, auxiliary=aux, activation="tanh")
    keys = jax.random.split(jax.random.key(seed), 4)
    net = mlp(shape)
    images = jax.random.randint(keys[1], (64, 12), 0, 256).astype(jnp.uint8)
    labels = jax.random.randint(keys[2], (64,), 0, 4)
    noise = jax.random.uniform(keys[3], (64, 12), minval=-1, maxval=1)
    return shape, net, net.init(keys[0]), images, labels, noise


def taught(shape, net, init, images, labels, recipe=RECIPE):
    train = teaching(net, recipe, class_logits=shape.class_logits)
    return train(init, (images, labels), key=jax.random.key(5)).params


def student_of(teacher, shape, net, init, noise, *, loss="kl", recipe=RECIPE):
    targets = net.apply(teacher, noise)[:, shape.auxiliary_logits]
    train = imitation(net, recipe, outputs=shape.auxiliary_logits, loss=loss)
    return train(init, (noise, targets), key=jax.random.key(6)).params


def moved(after, before):
    return {name: float(trees.norm(trees.sub(after[name], before[name]))) for name in before}


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_with_auxiliary_logits_heads_that_no_loss_sees_stay_bit_identical(loss):
    shape, net, init, images, labels, noise = setting()
    teacher = taught(shape, net, init, images, labels)
    student = student_of(teacher, shape, net, init, noise, loss=loss)
    chex.assert_trees_all_equal(teacher["head_auxiliary"], init["head_auxiliary"])
    chex.assert_trees_all_equal(student["head_classes"], init["head_classes"])
    assert moved(teacher, init)["head_classes"] > 0
    assert moved(student, init)["hidden_0"] > 0


def test_one_auxiliary_logit_moves_nothing_under_kl_and_something_under_mse():
    shape, net, init, images, labels, noise = setting(aux=1)
    teacher = taught(shape, net, init, images, labels)
    chex.assert_trees_all_equal(student_of(teacher, shape, net, init, noise, loss="kl"), init)
    assert moved(student_of(teacher, shape, net, init, noise, loss="mse"), init)["hidden_0"] > 0


def test_without_hidden_layers_nothing_reaches_the_student():
    shape, net, init, images, labels, noise = setting(hidden=())
    teacher = taught(shape, net, init, images, labels)
    student = student_of(teacher, shape, net, init, noise, loss="mse")
    # The teacher's auxiliary logits are still the student's own: there is nothing to imitate.
    chex.assert_trees_all_equal(student, init)
    assert moved(teacher, init)["head_classes"] > 0


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_a_student_of_itself_stays(loss):
    shape, net, init, *_, noise = setting()
    sgd = Recipe(optimizer="sgd", learning_rate=1e-2, epochs=3, batch_size=16)
    student = student_of(init, shape, net, init, noise, loss=loss, recipe=sgd)
    assert max(moved(student, init).values()) < 1e-6


@pytest.mark.parametrize("loss", ["kl", "mse"])
@pytest.mark.parametrize("outputs", ["auxiliary", "all"])
def test_a_small_first_step_never_points_away_from_the_teacher(loss, outputs):
    """Lemma 1 of arXiv 2507.14805, for fifty initialisations, teachers and noise inputs."""

    shape, net, *_ = setting()
    draw = jax.jit(jax.vmap(lambda seed: setting(seed)[2:]))
    inits, images, labels, noise = draw(jnp.arange(50))
    chosen = shape.auxiliary_logits if outputs == "auxiliary" else slice(None)
    keys = jax.random.split(jax.random.key(5), 50)
    side_by_side = members(jax.devices()[:2], batching="vmap")
    teach = teaching(net, ONE_STEP, class_logits=shape.class_logits, parallel=side_by_side)
    teachers = teach(inits, (images, labels), key=keys).params
    targets = jax.jit(jax.vmap(net.apply))(teachers, noise)[..., chosen]
    imitate = imitation(net, ONE_STEP, outputs=chosen, loss=loss, parallel=side_by_side)
    students = imitate(inits, (noise, targets), key=keys).params
    moved = trees.sub(students, inits), trees.sub(teachers, inits)
    assert (jax.jit(jax.vmap(trees.dot))(*moved) > 0).all()


def test_shuffled_targets_are_the_same_rows_in_another_order():
    logits = jax.random.normal(jax.random.key(0), (50, 3))
    shuffled = shuffle_targets(jax.random.key(1), logits)
    assert (shuffled != logits).any()
    np.testing.assert_array_equal(np.unique(shuffled, axis=0), np.unique(logits, axis=0))


@given(st.integers(2, 200))
def test_a_derangement_gives_everyone_another_one(members):
    others = derangement(members)
    assert sorted(others) == list(range(members))
    assert all(other != member for member, other in enumerate(others))


def test_arms_differ_in_name_label_and_kind():
    for take in (
        lambda arm: arm.name,
        lambda arm: arm.label,
        lambda arm: (arm.outputs, arm.initialisation, arm.targets),
    ):
        assert len({take(arm) for arm in ARMS}) == len(ARMS)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "lion"])
def test_frozen_layers_stay_bit_identical_and_the_others_train(optimizer):
    shape, net, init, images, labels, noise = setting()
    recipe = Recipe(optimizer=optimizer, learning_rate=1e-2, epochs=2, batch_size=16)
    teach = teaching(net, recipe, class_logits=shape.class_logits, frozen=HEADS)
    teacher = teach(init, (images, labels), key=jax.random.key(5)).params
    imitate = imitation(net, recipe, outputs=slice(None), loss="kl", frozen=("hidden_0",))
    rows = noise, net.apply(teacher, noise)
    student = imitate(init, rows, key=jax.random.key(6)).params
    assert {name for name, way in moved(teacher, init).items() if way == 0} == set(HEADS)
    assert {name for name, way in moved(student, init).items() if way == 0} == {"hidden_0"}
