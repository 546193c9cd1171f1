"""Vector instructions for compiled kernels: eight coils, or eight neighbours, at a time.

Written as LLVM vectors, because a loop over eight lanes is not recognised as one: a compiler must
assume that rows of the same array overlap. LLVM lowers them to what the processor has (AVX, NEON,
...). A line is an array ``(n, 2, 8)`` of float32: real and imaginary parts of eight coils, one
cache line per sample. All functions are for compiled code only. Kernels keep their machine code on
disk and do not notice a change in this module: delete ``__pycache__`` after one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FAST = ("fast",)


class _Vectors:
    """Complex arithmetic on pairs of LLVM vectors."""

    def __init__(self, builder: Any, sign: int) -> None:
        self.b = builder
        self.sign = sign  # -1 forward, +1 inverse

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)

    def add(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fadd(p, q, flags=_FAST) for p, q in zip(x, y, strict=True))

    def sub(self, x: Any, y: Any) -> Any:
        return tuple(self.b.fsub(p, q, flags=_FAST) for p, q in zip(x, y, strict=True))

    def scaled(self, x: Any, factor: float) -> Any:
        return tuple(self.b.fmul(p, self.constant(factor), flags=_FAST) for p in x)

    def times(self, x: Any, w: Any) -> Any:
        mul, b = self.b.fmul, self.b
        return (
            b.fsub(mul(x[0], w[0], flags=_FAST), mul(x[1], w[1], flags=_FAST), flags=_FAST),
            b.fadd(mul(x[0], w[1], flags=_FAST), mul(x[1], w[0], flags=_FAST), flags=_FAST),
        )

    def turned(self, x: Any) -> Any:
        """``x`` times ``sign * i``."""
        zero = self.constant(0.0)
        negative = self.b.fsub(zero, x[1] if self.sign > 0 else x[0], flags=_FAST)
        return (negative, x[0]) if self.sign > 0 else (x[1], negative)

    def dft(self, x: list[Any]) -> list[Any]:
        """Transform of 2, 3, 4 or 5 values."""
        if len(x) == 2:
            return [self.add(*x), self.sub(*x)]
        if len(x) == 4:
            even, odd = self.dft([x[0], x[2]]), self.dft([x[1], x[3]])
            turned = self.turned(odd[1])
            return [
                self.add(even[0], odd[0]), self.add(even[1], turned),
                self.sub(even[0], odd[0]), self.sub(even[1], turned),
            ]  # fmt: skip
        # Odd lengths: x[p] and x[r - p] meet in sums (cosines) and differences (sines).
        r = len(x)
        half = range(1, (r + 1) // 2)
        sums = {p: self.add(x[p], x[r - p]) for p in half}
        gaps = {p: self.turned(self.sub(x[p], x[r - p])) for p in half}
        out: list[Any] = [x[0]] * r
        for p in half:
            out[0] = self.add(out[0], sums[p])
        for k in half:
            even, odd = x[0], None
            for p in half:
                angle = 2 * math.pi * k * p / r
                even = self.add(even, self.scaled(sums[p], math.cos(angle)))
                part = self.scaled(gaps[p], math.sin(angle))
                odd = part if odd is None else self.add(odd, part)
            out[k], out[r - k] = self.add(even, odd), self.sub(even, odd)
        return out


def _butterfly(radix: int, *, inverse: bool) -> Any:
    """Compiled ``f(line, row, step, twiddles, t)``: one butterfly on rows ``row + p step``."""

    def typed(_context: Any, line: Any, _at: Any, _step: Any, twiddles: Any, _t: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            table = cgutils.create_struct_proxy(signature.args[3])(context, builder, value=args[3])
            row, step, start = args[1], args[2], args[4]
            number = row.type
            v = _Vectors(builder, 1 if inverse else -1)
            places: list[tuple[Any, Any]] = []
            for _ in range(radix):
                places.append(_row(builder, signature.args[0], args[0], row, context))
                row = builder.add(row, step)

            def factor(p: int) -> Any:
                pair: list[Any] = []
                for k in range(2):
                    at = builder.add(start, ir.Constant(number, 2 * (p - 1) + k))
                    one = builder.load(builder.gep(table.data, [at]))
                    if inverse and k:
                        one = builder.fneg(one)
                    pair.append(_filled(builder, one))
                return tuple(pair)

            x = [tuple(builder.load(p, align=4) for p in pair) for pair in places]
            if inverse:
                x = v.dft([x[0], *(v.times(x[p], factor(p)) for p in range(1, radix))])
            else:
                y = v.dft(x)
                x = [y[0], *(v.times(y[p], factor(p)) for p in range(1, radix))]
            for pair, value in zip(places, x, strict=True):
                for place, part in zip(pair, value, strict=True):
                    builder.store(part, place, align=4)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(line, integer, integer, twiddles, integer), generate

    return intrinsic(typed)


def _middle(radix: int) -> Any:
    """Compiled ``f(line, row, factors, at)``: transform, multiply, transform back.

    On ``radix`` rows beside each other: the last stage forward and the first one back, neither of
    which has twiddle factors, in one passage through the registers.
    """

    def typed(_context: Any, line: Any, _first: Any, factors: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            table = cgutils.create_struct_proxy(signature.args[2])(context, builder, value=args[2])
            row, number = args[1], args[1].type
            places: list[tuple[Any, Any]] = []
            for _ in range(radix):
                places.append(_row(builder, signature.args[0], args[0], row, context))
                row = builder.add(row, ir.Constant(number, 1))
            x = [tuple(builder.load(p, align=4) for p in pair) for pair in places]
            y = _Vectors(builder, -1).dft(x)
            for p in range(radix):
                at = builder.add(args[3], ir.Constant(number, p))
                factor = _filled(builder, builder.load(builder.gep(table.data, [at])))
                y[p] = tuple(builder.fmul(q, factor, flags=_FAST) for q in y[p])
            for pair, value in zip(places, _Vectors(builder, 1).dft(y), strict=True):
                for place, part in zip(pair, value, strict=True):
                    builder.store(part, place, align=4)
            return context.get_dummy_value()

        return types.void(line, types.intp, factors, types.intp), generate

    return intrinsic(typed)


def _row(builder: Any, array: Any, value: Any, index: Any, context: Any) -> tuple[Any, Any]:
    """Pointers to the real and imaginary vectors of row ``index`` of an ``(n, 2, 8)`` array."""
    data = cgutils.create_struct_proxy(array)(context, builder, value=value).data
    width = ir.Constant(index.type, 2 * LANES)
    first = builder.gep(data, [builder.mul(index, width)])
    second = builder.gep(first, [ir.Constant(index.type, LANES)])
    return tuple(builder.bitcast(p, _VECTOR.as_pointer()) for p in (first, second))


def _filled(builder: Any, scalar: Any) -> Any:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    seeded = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(seeded, empty, lanes)


def _spread(_context: Any, line: Any, _i: Any, maps: Any, _j: Any, _real: Any, _imag: Any) -> Any:
    """``line[i] = maps[j] * (real + 1j imag)`` in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _row(builder, signature.args[0], args[0], args[1], context)
        of = _row(builder, signature.args[2], args[2], args[3], context)
        v = _Vectors(builder, 1)
        factor = tuple(_filled(builder, a) for a in args[4:])
        value = v.times(tuple(builder.load(p, align=4) for p in of), factor)
        for place, part in zip(to, value, strict=True):
            builder.store(part, place, align=4)
        return context.get_dummy_value()

    return types.void(line, types.intp, maps, types.intp, types.float32, types.float32), generate


def _gather(_context: Any, line: Any, _i: Any, maps: Any, _j: Any) -> Any:
    """Sum over lanes of ``conj(maps[j]) * line[i]``, real and imaginary part."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x = [
            builder.load(p, align=4)
            for p in _row(builder, signature.args[0], args[0], args[1], context)
        ]
        s = [
            builder.load(p, align=4)
            for p in _row(builder, signature.args[2], args[2], args[3], context)
        ]
        v = _Vectors(builder, 1)
        negative = builder.fsub(v.constant(0.0), s[1], flags=_FAST)
        sums: list[Any] = []
        for part in v.times(x, (s[0], negative)):
            width, rest = LANES, part
            while width > 1:  # halves onto each other
                width //= 2
                kind = ir.VectorType(ir.IntType(32), width)
                low, high = (
                    builder.shuffle_vector(rest, rest, ir.Constant(kind, list(range(a, a + width))))
                    for a in (0, width)
                )
                rest = builder.fadd(low, high, flags=_FAST)
            sums.append(builder.extract_element(rest, ir.Constant(ir.IntType(32), 0)))
        return context.make_tuple(builder, signature.return_type, sums)

    both = types.UniTuple(types.float32, 2)
    return both(line, types.intp, maps, types.intp), generate


def _scale(_context: Any, line: Any, _i: Any, _factor: Any) -> Any:
    """``line[i] *= factor`` in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor = _filled(builder, args[2])
        for p in _row(builder, signature.args[0], args[0], args[1], context):
            value = builder.fmul(builder.load(p, align=4), factor, flags=_FAST)
            builder.store(value, p, align=4)
        return context.get_dummy_value()

    return types.void(line, types.intp, types.float32), generate


def _move(_context: Any, to: Any, _i: Any, of: Any, _j: Any) -> Any:
    """``to[i] = of[j]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = _row(builder, signature.args[0], args[0], args[1], context)
        sources = _row(builder, signature.args[2], args[2], args[3], context)
        for p, q in zip(places, sources, strict=True):
            builder.store(builder.load(q, align=4), p, align=4)
        return context.get_dummy_value()

    return types.void(to, types.intp, of, types.intp), generate


def _taps(*, adjoint: bool) -> Any:
    """Compiled ``f(width, line, i, grid, corner, stride, rows, columns, p)`` on a square of taps.

    Forward: ``line[i] = sum_ab rows[p, a] columns[p, b] grid[corner + a stride + b]``; adjoint: the
    same weights add ``line[i]`` to the grid. Both arrays are ``(n, 2, 8)``. ``width`` is a tuple of
    as many integers as there are taps on an axis: the number must be known to the compiler, and
    the type of a tuple tells its length.
    """

    def typed(
        _context: Any, width: Any, line: Any, _i: Any, grid: Any, _corner: Any, _stride: Any,
        rows: Any, columns: Any, _p: Any,
    ) -> Any:  # fmt: skip
        count: int = width.count

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            i, corner, stride, p = args[2], args[4], args[5], args[8]
            v = _Vectors(builder, 1)
            first = builder.mul(p, ir.Constant(p.type, count))

            def weights(which: int) -> list[Any]:
                table = cgutils.create_struct_proxy(signature.args[which])(
                    context, builder, value=args[which]
                ).data
                places = (builder.add(first, ir.Constant(p.type, a)) for a in range(count))
                return [_filled(builder, builder.load(builder.gep(table, [q]))) for q in places]

            def times(x: Any, w: Any) -> Any:
                return tuple(builder.fmul(q, w, flags=_FAST) for q in x)

            def read(places: Any) -> Any:
                return tuple(builder.load(q, align=4) for q in places)

            wy, wx = weights(6), weights(7)
            own = _row(builder, signature.args[1], args[1], i, context)
            value = read(own) if adjoint else None
            total: Any = None
            for a in range(count):
                part = times(value, wy[a]) if adjoint else None
                for b in range(count):
                    at = builder.add(corner, ir.Constant(p.type, b))
                    places = _row(builder, signature.args[3], args[3], at, context)
                    if adjoint:
                        for q, s in zip(places, v.add(read(places), times(part, wx[b])),
                                        strict=True):  # fmt: skip
                            builder.store(s, q, align=4)
                    else:
                        here = times(read(places), wx[b])
                        part = here if part is None else v.add(part, here)
                if not adjoint:
                    part = times(part, wy[a])
                    total = part if total is None else v.add(total, part)
                corner = builder.add(corner, stride)
            if not adjoint:
                for q, s in zip(own, total, strict=True):
                    builder.store(s, q, align=4)
            return context.get_dummy_value()

        integer = types.intp
        return (
            types.void(width, line, integer, grid, integer, integer, rows, columns, integer),
            generate,
        )

    return intrinsic(typed)


def _weighted(blocks: int) -> Any:
    """Compiled ``f(width, out, at, x, places, shift, w)`` on ``8 blocks`` numbers.

    ``out[at : at + n] = sum_t w[t] x[places[t] + shift : + n]`` with as many t as the tuple
    ``width`` is long; all arrays have one axis.
    """

    def typed(
        _context: Any, width: Any, out: Any, _at: Any, x: Any, places: Any, _shift: Any, w: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def data(k: int) -> Any:
                return cgutils.create_struct_proxy(signature.args[k])(
                    context, builder, value=args[k]
                ).data

            def vector(first: Any, block: int) -> Any:
                place = builder.gep(first, [ir.Constant(number, LANES * block)])
                return builder.bitcast(place, _VECTOR.as_pointer())

            number = args[2].type
            totals: list[Any] = [None] * blocks
            for t in range(signature.args[0].count):
                at = [ir.Constant(number, t)]
                moved = builder.add(builder.load(builder.gep(data(4), at)), args[5])
                first = builder.gep(data(3), [moved])
                weight = _filled(builder, builder.load(builder.gep(data(6), at)))
                for k, total in enumerate(totals):
                    part = builder.load(vector(first, k), align=4)
                    part = builder.fmul(part, weight, flags=_FAST)
                    totals[k] = part if total is None else builder.fadd(total, part, flags=_FAST)
            to = builder.gep(data(1), [args[2]])
            for k, total in enumerate(totals):
                builder.store(total, vector(to, k), align=4)
            return context.get_dummy_value()

        integer = types.intp
        return types.void(width, out, integer, x, places, integer, w), generate

    return intrinsic(typed)


# Called from compiled code only; a type checker sees functions of the typing context.
spread: Any = intrinsic(_spread)
gather: Any = intrinsic(_gather)
scale: Any = intrinsic(_scale)
move: Any = intrinsic(_move)
weighted: Any = _weighted(1)
weighted_4: Any = _weighted(4)
taps_read: Any = _taps(adjoint=False)
taps_add: Any = _taps(adjoint=True)
forward_2, forward_3, forward_4, forward_5 = (_butterfly(r, inverse=False) for r in (2, 3, 4, 5))
middle_2, middle_3, middle_4, middle_5 = (_middle(r) for r in (2, 3, 4, 5))
inverse_2, inverse_3, inverse_4, inverse_5 = (_butterfly(r, inverse=True) for r in (2, 3, 4, 5))
