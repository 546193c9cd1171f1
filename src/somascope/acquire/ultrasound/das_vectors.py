"""Vector instructions for delay and sum: eight neighbouring points of a trace at a time.

Written as LLVM vectors, because a compiler cannot know that the sums do not overlap the tables.
Two neighbouring IQ samples are 16 bytes side by side, so a point needs one load and, for four of
them, one transposition; no gather instruction, which is slow on many processors. LLVM lowers this
to what there is (AVX, AVX-512, NEON). For compiled code only. Kernels keep their machine code on
disk and do not notice a change in this module: delete ``__pycache__`` after one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8

_FLOAT, _WORD, _INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)
_FOUR = ir.VectorType(_FLOAT, 4)
_FAST = ("fast",)


@intrinsic
def pair(_context: Any, value: Any) -> Any:
    """The two float32 in the 64 bits of a sample: real, imaginary."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        low = builder.bitcast(builder.trunc(args[0], _WORD), _FLOAT)
        shifted = builder.lshr(args[0], ir.Constant(_INDEX, 32))
        high = builder.bitcast(builder.trunc(shifted, _WORD), _FLOAT)
        both = ir.Constant(ir.LiteralStructType([_FLOAT, _FLOAT]), ir.Undefined)
        return builder.insert_value(builder.insert_value(both, low, 0), high, 1)

    return types.Tuple([types.float32, types.float32])(value), generate


@intrinsic
def add_eight(
    _context: Any, trace: Any, first: Any, away: Any, cosine: Any, sine: Any, real: Any,
    imaginary: Any, place: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Points ``place .. place + 8``: interpolate the trace, turn it, add it to the sums.

    ``trace`` is 64-bit IQ, the others float32, all 1-D and contiguous; every sample must be inside
    the record.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b, at = builder, args[7]
        data = [
            cgutils.create_struct_proxy(signature.args[k])(context, b, value=args[k]).data
            for k in range(7)
        ]
        places = [b.bitcast(b.gep(d, [at]), _VECTOR.as_pointer()) for d in data[1:]]
        t, r, c, s, re, im = (b.load(p, align=4) for p in places)
        sample = b.fadd(t, r, flags=_FAST)
        index = b.fptosi(sample, _WORDS)
        f = b.fsub(sample, b.sitofp(index, _VECTOR), flags=_FAST)
        near_re, near_im, far_re, far_im = _samples(b, data[0], index)
        x = b.fadd(near_re, b.fmul(f, b.fsub(far_re, near_re, flags=_FAST), flags=_FAST),
                   flags=_FAST)  # fmt: skip
        y = b.fadd(near_im, b.fmul(f, b.fsub(far_im, near_im, flags=_FAST), flags=_FAST),
                   flags=_FAST)  # fmt: skip
        re = b.fadd(re, b.fmul(x, c, flags=_FAST), flags=_FAST)
        re = b.fsub(re, b.fmul(y, s, flags=_FAST), flags=_FAST)
        im = b.fadd(im, b.fmul(x, s, flags=_FAST), flags=_FAST)
        im = b.fadd(im, b.fmul(y, c, flags=_FAST), flags=_FAST)
        b.store(re, places[4], align=4)
        b.store(im, places[5], align=4)
        return context.get_dummy_value()

    return types.void(
        trace, first, away, cosine, sine, real, imaginary, types.intp
    ), generate  # fmt: skip


def _samples(b: Any, trace: Any, index: Any) -> tuple[Any, Any, Any, Any]:
    """Real and imaginary parts of samples ``index`` and ``index + 1``, each a vector of eight."""
    rows: list[Any] = []
    for lane in range(LANES):
        one = b.zext(b.extract_element(index, ir.Constant(_WORD, lane)), _INDEX)
        rows.append(b.load(b.bitcast(b.gep(trace, [one]), _FOUR.as_pointer()), align=8))
    # Rows (re0 im0 re1 im1) of eight points to columns: pairs side by side, then 4 x 4 twice.
    halves = [
        b.shuffle_vector(rows[k], rows[k + 4], _mask(*range(8))) for k in range(4)
    ]  # fmt: skip
    a = b.shuffle_vector(halves[0], halves[1], _mask(0, 8, 1, 9, 4, 12, 5, 13))
    c = b.shuffle_vector(halves[2], halves[3], _mask(0, 8, 1, 9, 4, 12, 5, 13))
    d = b.shuffle_vector(halves[0], halves[1], _mask(2, 10, 3, 11, 6, 14, 7, 15))
    e = b.shuffle_vector(halves[2], halves[3], _mask(2, 10, 3, 11, 6, 14, 7, 15))
    low, high = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    return (
        b.shuffle_vector(a, c, _mask(*low)), b.shuffle_vector(a, c, _mask(*high)),
        b.shuffle_vector(d, e, _mask(*low)), b.shuffle_vector(d, e, _mask(*high)),
    )  # fmt: skip


def _mask(*lanes: int) -> Any:
    return ir.Constant(ir.VectorType(_WORD, len(lanes)), list(lanes))
