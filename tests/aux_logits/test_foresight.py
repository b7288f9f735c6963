import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

from sublim_jax import trees
from sublim_jax.aux_logits import AuxLogitsConfig, compile_stages, initialise, member_keys
from sublim_jax.aux_logits.foresight import train
from sublim_jax.nets import mlp
from sublim_jax.training import members

CONFIG = AuxLogitsConfig(
    members=2,
    noise_images=50,
    student_batch_size=16,
    widths=(8, 8),
    student_epochs=2,
    observations=2,
    curve_images=20,
)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("freeze_heads", [False, True])
def test_a_student_in_one_piece_is_the_one_of_the_engine(tiny_images, optimizer, freeze_heads):
    config = dataclasses.replace(CONFIG, optimizer=optimizer, freeze_heads=freeze_heads)
    stages = compile_stages(config, tiny_images, members(jax.devices()[:1]))
    keys, inits = (trees.take(tree, slice(1)) for tree in (member_keys(config), initialise(config)))
    teacher = jax.tree.map(lambda a: 1.3 * a, inits)
    inputs = stages.draw_inputs(keys)
    targets = stages.teacher_logits(teacher, inputs)[..., stages.outputs["auxiliary"]]
    rates = jnp.array([3e-3])
    given = keys, inits, inits, teacher, inputs, targets, rates
    engine = stages.imitate["auxiliary"](*given).params
    one = trees.take((keys, inits, (inputs, targets), rates), 0)
    found = jax.jit(lambda *given: train(mlp(config.net), config, slice(10, 13), *given))(*one)
    chex.assert_trees_all_close(found, trees.take(engine, 0), rtol=1e-5, atol=1e-6)
    assert trees.norm(trees.sub(found, one[1])) > 1e-3
