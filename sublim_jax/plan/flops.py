"""Floating-point operations of a function, counted from what it is traced to.

Counted are the multiply-adds, two operations each, of matrix products and convolutions: the work
of the matrix units, whose peak a chip's FLOP/s are. Elementwise work is left out; its price is
memory traffic. XLA's own ``cost_analysis`` counts the body of a loop once, this counts every turn.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

UNCOUNTED = frozenset(
    [
        "cholesky",
        "lu",
        "qr",
        "eig",
        "eigh",
        "svd",
        "schur",
        "householder_product",
        "hessenberg",
        "tridiagonal",
        "tridiagonal_solve",
        "triangular_solve",
        "fft",
        "pallas_call",
        "ragged_dot",
        "ragged_dot_general",
        "scaled_dot",
        "ffi_call",
        "custom_linear_solve",
    ]
)


@dataclasses.dataclass(frozen=True)
class Flops:
    """A count of floating-point operations.

    Attributes:
        count: operations of one call, over all devices.
        notes: what could not be counted, in sentences without a full stop.
    """

    count: float
    notes: tuple[str, ...]


def count_flops(function: Callable[..., Any], *arguments: Any) -> Flops:
    """Count the operations of the matrix products and convolutions of one call, over all devices.

    The body of a scan counts as many times as the scan is long, of a conditional the largest
    branch, of what is mapped over devices (``pmap``, ``shard_map``) the work of all of them. A
    ``while`` whose number of turns does not follow from its start is counted once, and so noted.

    Args:
        function: any function of JAX, jitted or not.
        arguments: arrays, or descriptions of arrays.
    """
    notes: Counter[str] = Counter()
    count = _of(jax.make_jaxpr(function)(*arguments).jaxpr, notes)
    return Flops(count, tuple(f"{note} ({times} x)" for note, times in notes.items()))


def _of(jaxpr: Jaxpr, notes: Counter[str], needed: Sequence[bool] | None = None) -> float:
    """Count what a traced function does for those of its results that are needed."""
    flags = needed or [True] * len(jaxpr.outvars)
    live = {id(var) for var, flag in zip(jaxpr.outvars, flags, strict=True) if flag}
    count = 0.0
    # Backwards, to leave out what nothing needs, as the compiler does: a gradient is traced
    # together with the value that it is of.
    for equation in reversed(jaxpr.eqns):
        used = [id(var) in live for var in equation.outvars]
        if any(used) or equation.effects:
            live.update(map(id, equation.invars))
            count += _equation(equation, used, notes)
    return count


def _equation(equation: JaxprEqn, used: Sequence[bool], notes: Counter[str]) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "scan":
        return params["length"] * _of(params["jaxpr"].jaxpr, notes, _needed_of_scan(equation, used))
    if name == "while":
        turns = _turns(equation)
        if turns is None:
            notes["a while loop of unknown length is counted once"] += 1
        body = _of(params["cond_jaxpr"].jaxpr, notes) + _of(params["body_jaxpr"].jaxpr, notes)
        return (1 if turns is None else turns) * body
    if name == "cond":
        return max(_of(branch.jaxpr, notes, used) for branch in params["branches"])
    if name == "shard_map":
        return _copies(params) * _of(params["jaxpr"], notes, used)
    if name in UNCOUNTED:
        notes[f"{name} is not counted"] += 1
        return 0.0
    return sum(
        _of(inner, notes, used if len(used) == len(inner.outvars) else None)
        for inner in _jaxprs(params)
    )


def _needed_of_scan(equation: JaxprEqn, used: Sequence[bool]) -> list[bool]:
    """Tell which results of the body are needed: what is carried, and what is used of the rest."""
    body = equation.params["jaxpr"].jaxpr
    # Stacked results have one axis more than those of the body. (Names and kinds of the parameters
    # that would tell differ between versions of JAX.)
    return [
        flag or len(_shape(outside)) == len(_shape(inside))
        for flag, outside, inside in zip(used, equation.outvars, body.outvars, strict=True)
    ]


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    """Find the functions that an equation calls: jit, remat, custom derivatives and the like."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _copies(params: Mapping[str, Any]) -> int:
    """Tell on how many devices the body of a shard_map runs."""
    names = [name for name in params if name in ("manual_axes", "newly_manual_axes")]
    return math.prod(params["mesh"].shape[axis] for axis in params[names[0]])


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _dot(equation: JaxprEqn) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2.0 * math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)


def _convolution(equation: JaxprEqn) -> float:
    """Count the products with real inputs: not those with padding or between dilated inputs."""
    params = equation.params
    numbers = params["dimension_numbers"]
    inputs, kernel = map(_shape, equation.invars)
    output = _shape(equation.outvars[0])
    products = output[numbers.out_spec[0]] * output[numbers.out_spec[1]]
    products *= kernel[numbers.rhs_spec[1]]
    for i, stride in enumerate(params["window_strides"]):
        places = np.add.outer(
            np.arange(output[numbers.out_spec[2 + i]]) * stride - params["padding"][i][0],
            np.arange(kernel[numbers.rhs_spec[2 + i]]) * params["rhs_dilation"][i],
        )
        dilation = params["lhs_dilation"][i]
        last = (inputs[numbers.lhs_spec[2 + i]] - 1) * dilation
        real = (places % dilation == 0) & (places >= 0) & (places <= last)
        products *= int(real.sum())
    return 2.0 * products


def _turns(equation: JaxprEqn) -> int | None:
    """Tell how often ``while i < stop: i += step`` turns if all three are written as numbers."""
    params = equation.params
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    carried = equation.invars[params["cond_nconsts"] + params["body_nconsts"] :]
    if len(condition.eqns) != 1 or condition.eqns[0].primitive.name != "lt":
        return None
    counter, stop = condition.eqns[0].invars
    if isinstance(counter, Literal) or not isinstance(stop, Literal):
        return None
    index = condition.invars.index(counter) - params["cond_nconsts"]
    before, after = body.invars[params["body_nconsts"] + index], body.outvars[index]
    steps = [
        part.val
        for each in body.eqns
        if each.primitive.name == "add" and each.outvars[0] is after and before in each.invars
        for part in each.invars
        if isinstance(part, Literal)
    ]
    start = carried[index] if index >= 0 else None
    if len(steps) != 1 or not isinstance(start, Literal) or steps[0] <= 0:
        return None
    return max(0, math.ceil((stop.val - start.val) / steps[0]))
