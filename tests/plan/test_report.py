import pytest
from plans import a_plan


def test_the_slowest_of_three_bounds_a_step():
    plan = a_plan(available=16)
    assert plan.bounds == {"compute": 0.01, "memory": 0.02, "network": 0.001}
    assert (plan.bound, plan.step_seconds, plan.peak_share) == ("memory", 0.02, 0.5)
    computing = a_plan(available=16, traffic_bytes=1.0)
    assert (computing.bound, computing.step_seconds, computing.peak_share) == ("compute", 0.01, 1)
    talking = a_plan(available=16, collective_bytes={"all-to-all": 20e9})
    assert (talking.bound, talking.step_seconds) == ("network", 0.1)
    assert talking.peak_share == pytest.approx(0.1)


@pytest.mark.parametrize("unknown", ["peak_flops", "traffic_bytes", "collective_bytes"])
def test_what_is_not_known_bounds_nothing(unknown):
    plan = a_plan(available=16, **{unknown: None})
    assert (plan.bound, plan.step_seconds, plan.peak_share) == (None, None, None)


def test_a_step_that_does_nothing_takes_no_time():
    plan = a_plan(available=16, flops=0.0, traffic_bytes=0.0, collective_bytes={})
    assert (plan.step_seconds, plan.peak_share) == (0, None)
