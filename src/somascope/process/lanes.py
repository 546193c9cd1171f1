"""Sixteen float32 at once, said to the compiler outright.

Loops over few values are unrolled before they can become vector instructions, and whether any of
them passes a test becomes a branch for each; these lookups are written as LLVM vectors, of
whatever width the processor has. Places are in samples of flat arrays.
"""

# ruff: noqa: ARG001  (numba wants one argument for each of the call)

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _values(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.load(_place(context, builder, kind, array, at), align=4)


def _all(builder: Any, value: Any) -> Any:
    """A vector of one value."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, nothing, zeros)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _any(builder: Any, flags: Any) -> Any:
    bits = builder.bitcast(flags, ir.IntType(LANES))
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


@intrinsic
def above(_: Any, values: Any, at: Any, bound: Any) -> Any:
    """Whether any of ``values[at : at + LANES]`` is above ``bound``."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _values(context, builder, signature.args[0], args[0], args[1])
        return _any(builder, builder.fcmp_ordered(">", found, _all(builder, args[2])))

    return types.boolean(values, types.int64, types.float32), code


@intrinsic
def below(_: Any, low: Any, a: Any, b: Any, best: Any, at: Any, add: Any) -> Any:
    """Whether any of ``min(low[a:], low[b:]) + add`` is below ``best[at:]``."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        left = _values(context, builder, kinds[0], args[0], args[1])
        right = _values(context, builder, kinds[0], args[0], args[2])
        old = _values(context, builder, kinds[3], args[3], args[4])
        new = builder.fadd(_smaller(builder, left, right), _all(builder, args[5]))
        return _any(builder, builder.fcmp_ordered("<", new, old))

    word = types.int64
    return types.boolean(low, word, word, best, word, types.float32), code


@intrinsic
def lowered(
    _: Any, rows: Any, a: Any, b: Any, best: Any, at: Any, w0: Any, w1: Any, w2: Any, w3: Any,
    bound: Any,
) -> Any:  # fmt: skip
    """``best[at:]`` made no larger than four rows before and after it, each pair plus its weight.

    ``w0`` belongs to the last of the four rows from ``a`` and the first from ``b``. Returns whether
    any of ``best`` is still above ``bound``.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        target = _place(context, builder, kinds[3], args[3], args[4])
        found = builder.load(target, align=4)
        for k in range(4):
            before = builder.add(args[1], ir.Constant(_WORD, (3 - k) * LANES))
            after = builder.add(args[2], ir.Constant(_WORD, k * LANES))
            left = _values(context, builder, kinds[0], args[0], before)
            right = _values(context, builder, kinds[0], args[0], after)
            new = builder.fadd(_smaller(builder, left, right), _all(builder, args[5 + k]))
            found = _smaller(builder, found, new)
        builder.store(found, target, align=4)
        return _any(builder, builder.fcmp_ordered(">", found, _all(builder, args[9])))

    word, weights = types.int64, (types.float32,) * 5
    return types.boolean(rows, word, word, best, word, *weights), code


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _lane(builder: Any, values: Any, *, smallest: bool) -> Any:
    """The smallest or the largest of a vector's values."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    half = LANES // 2
    while half:
        turn = ir.Constant(
            ir.VectorType(ir.IntType(32), LANES), [(k + half) % LANES for k in range(LANES)]
        )
        other = builder.shuffle_vector(values, nothing, turn)
        less = builder.fcmp_ordered("<", values, other)
        values = builder.select(less, *((values, other) if smallest else (other, values)))
        half //= 2
    return values


def _scanned(context: Any, builder: Any, kinds: Any, args: Any, own: Any = None) -> Any:
    """The loop of `least` and of `least_of`: the minima, and with ``own`` the numbers of the rows.

    ``args``: rows, their place, their count, weights, their place.
    """
    # Two minima at a time, so that one need not wait for the other.
    found = [cgutils.alloca_once_value(builder, _constant(float("inf"))) for _ in range(2)]
    which = [cgutils.alloca_once_value(builder, own) for _ in range(2)] if own else []
    row = cgutils.alloca_once_value(builder, _constant(0.0))
    data = context.make_array(kinds[3])(context, builder, args[3]).data
    zero, four = ir.Constant(_WORD, 0), ir.Constant(_WORD, 4)
    with cgutils.for_range_slice(builder, zero, args[2], four) as (k, _):
        first = builder.add(args[1], builder.mul(k, ir.Constant(_WORD, LANES)))
        weight, begin = builder.add(args[4], k), builder.load(row)
        for j in range(4):
            place = builder.add(first, ir.Constant(_WORD, j * LANES))
            values = _values(context, builder, kinds[0], args[0], place)
            more = builder.load(builder.gep(data, [builder.add(weight, ir.Constant(_WORD, j))]))
            new, old = builder.fadd(values, _all(builder, more)), builder.load(found[j % 2])
            less = builder.fcmp_ordered("<", new, old)
            builder.store(builder.select(less, new, old), found[j % 2])
            if which:
                number = builder.fadd(begin, _constant(float(j)))
                kept = builder.select(less, number, builder.load(which[j % 2]))
                builder.store(kept, which[j % 2])
        builder.store(builder.fadd(begin, _constant(4.0)), row)
    one, other = (builder.load(v) for v in found)
    less = builder.fcmp_ordered("<", other, one)
    numbers = [builder.load(v) for v in which]
    return (
        builder.select(less, other, one),
        builder.select(less, numbers[1], numbers[0]) if which else None,
    )


@intrinsic
def least(_: Any, rows: Any, a: Any, count: Any, weights: Any, w: Any, best: Any, at: Any) -> Any:
    """``best[at:]`` becomes the minimum of ``count`` rows from ``a``, each plus its weight.

    ``count`` is rounded up to a multiple of 4; the weights are ``weights[w]`` and those after it.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        found, _ = _scanned(context, builder, kinds, args)
        builder.store(found, _place(context, builder, kinds[5], args[5], args[6]), align=4)
        return context.get_dummy_value()

    word = types.int64
    return types.void(rows, word, word, weights, word, best, word), code


@intrinsic
def least_of(
    _: Any, rows: Any, a: Any, count: Any, weights: Any, w: Any, best: Any, at: Any, own: Any,
    ends: Any, end: Any,
) -> Any:  # fmt: skip
    """`least`, and which rows they were, counted from ``a``.

    ``ends[end]`` becomes the first and ``ends[end + 1]`` the last row that is the least of any
    lane; ``own`` stands for it where a lane is infinite in all rows.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        found, number = _scanned(context, builder, kinds, args, own=_all(builder, args[7]))
        builder.store(found, _place(context, builder, kinds[5], args[5], args[6]), align=4)
        data = context.make_array(kinds[8])(context, builder, args[8]).data
        for k, smallest in enumerate((True, False)):
            extreme = _lane(builder, number, smallest=smallest)
            one = builder.extract_element(extreme, ir.Constant(ir.IntType(32), 0))
            place = builder.gep(data, [builder.add(args[9], ir.Constant(_WORD, k))])
            builder.store(builder.fptosi(one, _WORD), place)
        return context.get_dummy_value()

    word = types.int64
    kinds = (rows, word, word, weights, word, best, word, types.float32, ends, word)
    return types.void(*kinds), code
