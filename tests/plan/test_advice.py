import pytest
from plans import GIB, a_plan

from sublim_jax.plan.advice import Change, Need, advise, size

MESH = {"data": 16, "fsdp": 1, "tensor": 1}


def test_too_much_state_is_sharded_as_far_as_needed():
    plan = a_plan(parameters=16, optimizer=32, data=0.5, temporaries=17, available=15.75)
    assert advise(plan) == (
        "parameters and optimizer state take 48.0 GiB of 15.8 GiB: shard them over fsdp=8 "
        "(6.0 GiB a device); by estimate 9.5 GiB a device in all"
    )


def test_what_is_sharded_already_is_sharded_further():
    plan = a_plan(
        parameters=8, optimizer=16, available=15.75, mesh={"data": 4, "fsdp": 2, "tensor": 2}
    )
    assert "shard them over fsdp=4 (12.0 GiB a device)" in advise(plan)


def test_too_many_activations_are_accumulated():
    plan = a_plan(parameters=1, optimizer=2, temporaries=33, available=15.75)
    assert advise(plan) == (
        "temporaries take 33.0 GiB of 15.8 GiB: accumulate over 4 micro-batches (9.0 GiB a "
        "device); by estimate 12.0 GiB a device in all"
    )


def test_a_gradient_does_not_shrink_by_accumulating():
    plan = a_plan(parameters=6, optimizer=6, temporaries=6, available=15.75)
    assert "accumulate" not in advise(plan)
    assert "fsdp=2" in advise(plan)


def test_both_where_one_is_not_enough():
    plan = a_plan(parameters=16, optimizer=32, temporaries=76, available=15.75)
    said = advise(plan)
    assert "shard them over fsdp=" in said
    assert "micro-batches" in said


def test_rows_that_cannot_be_cut_are_not():
    plan = a_plan(parameters=1, optimizer=2, temporaries=33, available=15.75, rows=16)
    assert "accumulate" not in advise(plan, 256)


def test_more_chips_where_these_do_not_do():
    plan = a_plan(parameters=100, optimizer=200, temporaries=100, available=15.75)
    said = advise(plan, 256)
    assert said.startswith("the step takes 400.0 GiB of 15.8 GiB a device: take v5e:4x8 for the")
    assert "fsdp=32 (9.4 GiB a device); by estimate 12.5 GiB a device in all" in said


def test_hopeless_cases_are_called_so():
    plan = a_plan(parameters=10_000, optimizer=20_000, available=15.75)
    assert advise(plan, 256).endswith(
        "no sharding, accumulation or larger topology of these chips holds the step; take a "
        "smaller model or batch"
    )


def test_no_advice_where_the_memory_is_not_known():
    assert advise(a_plan(parameters=1, available=None)) is None


@pytest.mark.parametrize("change", [Change(), Change(shard=4), Change(accumulate=8)])
def test_the_rule_keeps_what_it_does_not_change(change):
    need = Need(parameters=4, optimizer=8, data=2, temporaries=20, rest=1)
    after = need.after(change)
    assert after.state == need.state / change.shard
    assert after.temporaries == 4 / change.shard + 16 / change.accumulate
    assert after.total - after.state - after.temporaries == 3


def test_sizes_are_written_for_people():
    assert [size(n) for n in (0, 1023, 2**20, 15.75 * GIB, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 MiB",
        "15.8 GiB",
        "3.0 TiB",
    ]


STACKED = {"members": 16}


def test_stacked_members_become_fewer():
    plan = a_plan(parameters=8, optimizer=16, temporaries=4, available=16, mesh=STACKED, members=4)
    assert advise(plan) == (
        "4 members side by side take 28.0 GiB of 16.0 GiB a device: train 2 side by side "
        "(members_at_once=32); by estimate 14.0 GiB a device in all"
    )


def test_a_member_that_no_device_holds_is_said_to_be_too_large():
    plan = a_plan(parameters=40, optimizer=80, available=16, mesh=STACKED, members=2)
    assert "one takes 60.0 GiB: by estimate these chips do not hold a member" in advise(plan)
