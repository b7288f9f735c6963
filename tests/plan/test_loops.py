import pytest

from sublim_jax.plan import hlo
from sublim_jax.plan.loops import trip_count

# A loop as the compiler for TPUs writes it, with nothing noted about its length.
LOOP = """
HloModule m, num_partitions=16

%body (s: (s32[], f32[4], s32[])) -> (s32[], f32[4], s32[]) {{
  %s = (s32[]{{:T(128)}}, f32[4]{{0:T(128)}}, s32[]{{:T(128)}}) parameter(0)
  %step = s32[]{{:T(128)}} constant({step})
  %i = s32[]{{:T(128)}} get-tuple-element(%s), index=0
  %copy = s32[]{{:T(128)}} copy(%i)
  %next = s32[]{{:T(128)}} {change}(%copy, %step)
  %x = f32[4]{{0:T(128)}} get-tuple-element(%s), index=1
  %y = f32[4]{{0:T(128)}} tanh(%x)
  %n = s32[]{{:T(128)}} get-tuple-element(%s), index=2
  ROOT %t = (s32[]{{:T(128)}}, f32[4]{{0:T(128)}}, s32[]{{:T(128)}}) tuple(%next, %y, %n)
}}

%less (a: s32[], b: s32[]) -> pred[] {{
  %a = s32[]{{:T(128)}} parameter(0)
  %b = s32[]{{:T(128)}} parameter(1)
  ROOT %lt = pred[]{{:T(512)}} compare(%a, %b), direction=LT
}}

%condition (s: (s32[], f32[4], s32[])) -> pred[] {{
  %s = (s32[]{{:T(128)}}, f32[4]{{0:T(128)}}, s32[]{{:T(128)}}) parameter(0)
  %i = s32[]{{:T(128)}} get-tuple-element(%s), index=0
  %stop = s32[]{{:T(128)}} {stop}
  ROOT %lt = pred[]{{:T(512)}} {compare}
}}

ENTRY %main (x: f32[4], unknown: s32[]) -> f32[4] {{
  %x = f32[4]{{0:T(128)}} parameter(0)
  %unknown = s32[]{{:T(128)}} parameter(1)
  %zero = s32[]{{:T(128)}} constant(2)
  %start = s32[]{{:T(128)}} copy(%zero)
  %end = s32[]{{:T(128)}} constant(12)
  %t = (s32[]{{:T(128)}}, f32[4]{{0:T(128)}}, s32[]{{:T(128)}}) tuple({start}, %x, %end)
  %w = (s32[]{{:T(128)}}, f32[4]{{0:T(128)}}, s32[]{{:T(128)}}) while(%t), condition=%condition, body=%body{noted}
  ROOT %r = f32[4]{{0:T(128)}} get-tuple-element(%w), index=1
}}
"""  # noqa: E501
USUAL = {
    "step": "1",
    "change": "add",
    "stop": "constant(12)",
    "compare": "compare(%i, %stop), direction=LT",
    "start": "%start",
    "noted": "",
}


def turns(**changes):
    program = hlo.parse(LOOP.format(**{**USUAL, **changes}))
    main = program.computations["main"]
    return trip_count(program, main.instructions["w"], main)


def test_a_counted_loop_is_read():
    assert turns() == 10
    assert turns(step="3") == 4
    assert turns(stop="constant(1)") == 0


def test_a_bound_that_is_carried_along_is_found():
    assert turns(stop="get-tuple-element(%s), index=2") == 10


def test_a_comparison_that_is_fused_is_found():
    assert turns(compare="fusion(%i, %stop), kind=kLoop, calls=%less") == 10


def test_what_the_compiler_notes_goes_first():
    noted = ', backend_config={"known_trip_count":{"n":"7"}}'
    assert turns(noted=noted) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"start": "%unknown"},
        {"change": "multiply"},
        {"step": "0"},
        {"compare": "compare(%i, %stop), direction=NE"},
        {"stop": "get-tuple-element(%s), index=1"},
    ],
)
def test_other_loops_have_no_length(change):
    assert turns(**change) is None
