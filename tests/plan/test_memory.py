import jax
import jax.numpy as jnp
import pytest
from programs import P, described, mesh_of

from sublim_jax.plan.memory import chip_bytes, machine_bytes, refusal

GIB = 2**30


def test_arrays_count_what_one_device_holds():
    mesh = mesh_of(jax.devices(), data=1, fsdp=2, tensor=2)
    assert chip_bytes(described(mesh, (8, 16))) == 8 * 16 * 4
    assert chip_bytes(described(mesh, (8, 16), P("fsdp"))) == 4 * 16 * 4
    assert chip_bytes(described(mesh, (8, 16), P("fsdp", "tensor"))) == 4 * 8 * 4
    assert chip_bytes(described(mesh, (8, 16), P(("fsdp", "tensor")), jnp.bfloat16)) == 2 * 16 * 2
    there = jax.device_put(jnp.ones((8, 16)), jax.sharding.NamedSharding(mesh, P("fsdp")))
    assert chip_bytes(there) == 4 * 16 * 4


def test_trees_add_up_and_keys_count_their_data():
    tree = {
        "a": jax.ShapeDtypeStruct((3, 5), jnp.int8),
        "key": jax.random.key(0),
        "keys": jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4)),
        "none": None,
    }
    assert chip_bytes(tree) == 15 + 8 + 32
    assert chip_bytes(()) == 0


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (20.50G) exceeds available HBM (15.75G).",
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.",
    ],
)
def test_a_refusal_gives_its_numbers(message):
    found = refusal(RuntimeError(message))
    assert (found.needed, found.available) == (20.5 * GIB, 15.75 * GIB)
    assert found.message == message


def test_a_refusal_without_numbers_is_one_all_the_same():
    found = refusal(RuntimeError("RESOURCE_EXHAUSTED: not enough HBM"))
    assert (found.needed, found.available) == (None, None)


@pytest.mark.parametrize(
    "message", ["INVALID_ARGUMENT: hbm", "RESOURCE_EXHAUSTED: Used 20M of 16M vmem"]
)
def test_other_faults_are_no_refusals(message):
    assert refusal(RuntimeError(message)) is None


def test_the_machine_has_memory():
    assert machine_bytes() > GIB // 4
