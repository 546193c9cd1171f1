"""Sixteen float32 at once, said to the compiler outright.

Loops over few values are unrolled before they can become vector instructions, and whether any of
them passes a test becomes a branch for each; these three lookups are written as LLVM vectors, of
whatever width the processor has. Places are in samples of flat arrays.
"""

# ruff: noqa: ARG001  (numba wants one argument for each of the call)

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
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
