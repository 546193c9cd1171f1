"""Vector instructions for compiled kernels: the same step of eight lines at a time.

Written as LLVM vectors, because a loop over eight lanes is not recognised as one: a compiler must
assume that two parts of an array overlap. LLVM lowers them to what the processor has (AVX, NEON,
...). Arrays are float32 with one axis; a number of eight lanes begins at a multiple of 8. All
functions are for compiled code only. Kernels keep their machine code on disk and do not notice a
change in this module: delete ``__pycache__`` after one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FAST = ("fast",)


class _Body:
    """Loads and stores of lanes of the arguments of one call."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.b, self.types, self.args = context, builder, signature.args, args

    def place(self, array: int, index: Any) -> Any:
        """Pointer to the lanes that begin at ``index`` of argument number ``array``."""
        data = cgutils.create_struct_proxy(self.types[array])(
            self.context, self.b, value=self.args[array]
        ).data
        return self.b.bitcast(self.b.gep(data, [index]), _VECTOR.as_pointer())

    def load(self, place: Any) -> Any:
        return self.b.load(place, align=4)

    def filled(self, argument: int) -> Any:
        """The scalar argument in all lanes."""
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        seeded = self.b.insert_element(empty, self.args[argument], first)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.b.shuffle_vector(seeded, empty, lanes)

    def next(self, index: Any) -> Any:
        return self.b.add(index, ir.Constant(index.type, LANES))

    def times(self, x: Any, w: Any) -> Any:
        return self.b.fmul(x, w, flags=_FAST)

    def plus(self, x: Any, y: Any) -> Any:
        return self.b.fadd(x, y, flags=_FAST)


def _compiled(signature: Callable[..., Any], body: Callable[[_Body], None]) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        body(_Body(context, builder, signature, args))
        return context.get_dummy_value()

    return signature(types.void), generate


_I, _F = types.intp, types.float32


def _blend(_context: Any, to: Any, _at: Any, of: Any, _i: Any, _j: Any, _v: Any, _w: Any) -> Any:
    """``to[at] = v of[i] + w of[j]``."""

    def body(k: _Body) -> None:
        one = k.times(k.load(k.place(2, k.args[3])), k.filled(5))
        two = k.times(k.load(k.place(2, k.args[4])), k.filled(6))
        k.b.store(k.plus(one, two), k.place(0, k.args[1]), align=4)

    return _compiled(lambda r: r(to, _I, of, _I, _I, _F, _F), body)


def _read(_context: Any, to: Any, _at: Any, of: Any, _i: Any, _v: Any, _w: Any) -> Any:
    """``to[at] += v of[i] + w of[i + 8]``."""

    def body(k: _Body) -> None:
        one = k.times(k.load(k.place(2, k.args[3])), k.filled(4))
        two = k.times(k.load(k.place(2, k.next(k.args[3]))), k.filled(5))
        place = k.place(0, k.args[1])
        k.b.store(k.plus(k.load(place), k.plus(one, two)), place, align=4)

    return _compiled(lambda r: r(to, _I, of, _I, _F, _F), body)


def _spread(_context: Any, to: Any, _i: Any, of: Any, _at: Any, _v: Any, _w: Any) -> Any:
    """``to[i] += v of[at]; to[i + 8] += w of[at]``."""

    def body(k: _Body) -> None:
        value = k.load(k.place(2, k.args[3]))
        for index, weight in ((k.args[1], 4), (k.next(k.args[1]), 5)):
            place = k.place(0, index)
            k.b.store(k.plus(k.load(place), k.times(value, k.filled(weight))), place, align=4)

    return _compiled(lambda r: r(to, _I, of, _I, _F, _F), body)


def _add(_context: Any, to: Any, _at: Any, of: Any, _i: Any, _v: Any) -> Any:
    """``to[at] += v of[i]``."""

    def body(k: _Body) -> None:
        place = k.place(0, k.args[1])
        value = k.times(k.load(k.place(2, k.args[3])), k.filled(4))
        k.b.store(k.plus(k.load(place), value), place, align=4)

    return _compiled(lambda r: r(to, _I, of, _I, _F), body)


# Called from compiled code only; a type checker sees functions of the typing context.
blend: Any = intrinsic(_blend)
read: Any = intrinsic(_read)
spread: Any = intrinsic(_spread)
add: Any = intrinsic(_add)
