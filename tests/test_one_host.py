"""What is said to several hosts, on the only one; two of them are in `processes`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from sublim_jax import hosts
from sublim_jax.errors import InputError


@pytest.fixture
def joined(monkeypatch):
    """What JAX's own runtime is asked for."""
    calls = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **how: calls.append((args, how))
    )
    return calls


def sharding(spec, devices=4):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("x",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"coordinator": "a:1"}, "process_id and process_count"),
        ({"process_id": 0}, "coordinator and process_count"),
        ({"coordinator": "a:1", "process_count": 2}, "process_id"),
        ({"coordinator": "a:1", "process_id": 0}, "process_count"),
    ],
)
def test_half_an_address_is_refused(given, missing, joined):
    with pytest.raises(InputError, match=f"^{missing} not given; expected all of"):
        hosts.connect(hosts.Cluster(**given))
    assert not joined


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coordinator": "here"}, "coordinator is 'here'; expected host:port"),
        ({"process_count": 0}, "process_count is 0; expected at least 1"),
        ({"process_id": 2}, "process_id is 2; expected 0 to 1"),
        ({"process_id": -1}, "process_id is -1; expected 0 to 1"),
    ],
)
def test_an_address_out_of_range_is_refused(change, said, joined):
    with pytest.raises(InputError, match=f"^{said}$"):
        hosts.connect(
            hosts.Cluster(**({"coordinator": "a:1", "process_id": 1, "process_count": 2} | change))
        )
    assert not joined


def test_a_whole_address_is_passed_on(joined):
    hosts.connect(hosts.Cluster(coordinator="a:1", process_id=0, process_count=2))
    ((args, how),) = joined
    assert args == ("a:1", 2, 0)
    assert 0 < how["heartbeat_timeout_seconds"] <= 60


def test_processes_that_do_not_meet_are_told_in_a_sentence(monkeypatch):
    def fail(*args, **how):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody there\nand a long story")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(
        InputError, match=r"the 2 processes did not meet there \(DEADLINE.* there\)"
    ):
        hosts.connect(hosts.Cluster(coordinator="a:1", process_id=0, process_count=2))


def test_where_nothing_announces_a_cluster_the_host_is_alone(monkeypatch):
    def fail(*args, **how):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    hosts.connect()
    assert hosts.is_first()


def test_an_announced_cluster_that_does_not_meet_is_told_in_a_sentence(monkeypatch):
    def fail(*args, **how):
        raise RuntimeError("deadline exceeded\nat some place")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(InputError, match=r"did not meet \(deadline exceeded\); expected"):
        hosts.connect()


def test_a_process_that_is_to_be_alone_joins_nothing(joined):
    hosts.connect(hosts.Cluster(process_count=1))
    assert not joined


def test_an_announced_cluster_is_joined(joined):
    hosts.connect()
    ((args, _),) = joined
    assert args == ()


def test_one_host_agrees_with_itself():
    np.testing.assert_array_equal(hosts.agree(np.array([1, 5])), [[1, 5]])
    assert not hosts.lost_another(RuntimeError("Gloo"))


def test_arrays_are_brought_to_the_host():
    placed = jax.device_put(np.arange(8), sharding(["x"]))
    found = hosts.gather({"a": placed})
    assert isinstance(found["a"], np.ndarray)
    np.testing.assert_array_equal(found["a"], np.arange(8))


@pytest.mark.parametrize(
    "array",
    [np.arange(8, dtype=np.int32), jnp.arange(8), jax.random.split(jax.random.key(0), 8)],
    ids=["numpy", "jax", "keys"],
)
@pytest.mark.parametrize("spec", [[], ["x"]])
def test_put_places_as_described_and_leaves_what_lies_so(array, spec):
    wanted = sharding(spec)
    placed = hosts.put({"a": array}, {"a": wanted})["a"]
    described = hosts.describe({"a": array}, {"a": wanted})["a"]
    assert placed.sharding.is_equivalent_to(wanted, 1)
    assert described.sharding == wanted
    assert (placed.shape, placed.dtype) == (described.shape, described.dtype)
    if not jnp.issubdtype(array.dtype, jax.dtypes.prng_key):  # their way to lie is told apart
        assert hosts.put(placed, wanted) is placed
    moved = hosts.put(placed, sharding([], devices=2))
    assert moved.sharding.is_equivalent_to(sharding([], devices=2), 1)
    assert (moved == jax.device_put(array, moved.sharding)).all()


def test_an_array_of_the_only_device_is_not_copied():
    array, wanted = jnp.arange(3), sharding([], devices=1)
    assert isinstance(array.sharding, SingleDeviceSharding)
    placed = hosts.put(array, wanted)
    assert placed.sharding == wanted  # programs tell equivalent ways to lie apart
    assert placed.unsafe_buffer_pointer() == array.unsafe_buffer_pointer()


def test_put_asks_for_its_transfers():
    with jax.transfer_guard("disallow"):
        hosts.put((np.arange(8), np.int32(3)), (sharding(["x"]), sharding([])))
