"""The median of a window by networks that are written out: no loop over exchanges, no branch.

The columns of a window are sorted, two neighbours merged to a pair, two pairs to four columns and
so on; of the last merge only the ranks that can be the median are kept, and these met with the one
column left. Each of these stages is one loop along a row of voxels whose body the compiler sees as
a whole, so that it becomes vector instructions on values in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.misc.special import literally

from somascope.core.grid import Array
from somascope.process.networks import BOTH, LOW, merging, pruned, sorting

ROW = 272
"""Voxels handled together; a constant, so that the compiler knows how far apart rows lie."""
SLACK = 16
"""Room behind a row of scratch for the columns to the right."""


@dataclass(frozen=True)
class Stage:
    """Values loaded as wires ``(row, shift)``, exchanged, met in pairs, and stored by wire, row.

    ``meets`` are pairs of wires (or one alone): the smallest of their larger ones is stored in the
    row after the others.
    """

    loads: tuple[tuple[int, int], ...]
    network: Array
    stores: tuple[tuple[int, int], ...]
    meets: tuple[tuple[int, ...], ...] = ()


MERGES = {5: ((1, 1), (2, 2)), 7: ((1, 1), (2, 2), (4, 2))}
"""By width: how many columns are merged with how many; one column is left."""


@cache
def stages(column: int, width: int) -> tuple[tuple[Stage, ...], int]:
    """For windows of ``width`` columns of ``column`` values (odd), and the row of the median."""
    half = width * column // 2
    exchanges, ascending = sorting(range(column))
    rows = {1: range(column, 2 * column)}  # of so many columns, sorted
    made = [
        Stage(
            tuple((k, 0) for k in range(column)),
            pruned(exchanges, ascending),
            _into(ascending, rows[1]),
        )
    ]
    free = 2 * column
    for a, b in MERGES[width]:
        size = (a + b) * column
        exchanges, ascending = merging(range(a * column), range(a * column, size))
        loads = [(r, 0) for r in rows[a]] + [(r, a) for r in rows[b]]
        if a + b < width - 1:
            rows[a + b] = range(free, free + size)
            free += size
            stores = _into(ascending, rows[a + b])
            made.append(Stage(tuple(loads), pruned(exchanges, ascending), stores))
            continue
        loads += [(r, width - 1) for r in rows[1]]
        wanted = ascending[half - column : half + 1]
        meets = [(ascending[half - k], size + k - 1) for k in range(1, column + 1)]
        network = pruned(exchanges, wanted)
        made.append(Stage(tuple(loads), network, (), ((wanted[-1],), *meets)))
    return tuple(made), free


def _into(wires: Sequence[int], rows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(wires, rows, strict=True))


@intrinsic(prefer_literal=True)
def _exchanged(
    typingctx: Any, scratch: Any, x: Any, column: Any, width: Any, number: Any  # noqa: ARG001
) -> Any:  # fmt: skip
    """Stage ``number``, if there is one, at ``x`` of ``scratch``: rows of `ROW` + `SLACK`."""
    found, target = stages(column.literal_value, width.literal_value)
    none = Stage((), np.zeros((0, 3), np.int32), ())
    stage = found[number.literal_value] if number.literal_value < len(found) else none

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = arguments[1]

        def at(row: int, shift: int) -> Any:
            offset = ir.Constant(place.type, row * (ROW + SLACK) + shift)
            return builder.gep(array.data, [builder.add(place, offset, flags=["nsw"])])

        def smaller(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned("<", a, b), a, b)

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_unsigned("<", a, b), b, a)

        wires = [builder.load(at(row, shift)) for row, shift in stage.loads]
        for low, high, kind in stage.network.tolist():
            a, b = wires[low], wires[high]
            if kind in (BOTH, LOW):
                wires[low] = smaller(a, b)
            if kind != LOW:
                wires[high] = larger(a, b)
        for wire, row in stage.stores:
            builder.store(wires[wire], at(row, 0))
        best = None
        for meet in stage.meets:
            one = wires[meet[0]] if len(meet) == 1 else larger(*(wires[w] for w in meet))
            best = one if best is None else smaller(best, one)
        if best is not None:
            builder.store(best, at(target, 0))
        return impl_ret_untracked(context, builder, types.none, context.get_dummy_value())

    return types.none(scratch, types.intp, column, width, number), code


exchanged: Any = _exchanged
"""As it is called: without the compiler's own argument."""


@numba.njit(cache=True)
def _filled(source: Array, first: int, wire: Array) -> None:
    """``wire <- source[first:]``, mirrored beyond its ends."""
    n = source.size
    left = min(max(-first, 0), wire.size)
    right = min(max(n - first, left), wire.size)
    for x in range(left):
        wire[x] = source[mirror(first + x, n)]
    inner, part = wire[left:right], source[first + left : first + right]
    for x in range(inner.size):
        inner[x] = part[x]
    for x in range(right, wire.size):
        wire[x] = source[mirror(first + x, n)]


@numba.njit(cache=True)
def mirror(i: int, n: int) -> int:
    """``c b a | a b c | c b a``, for any distance."""
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@numba.njit(cache=True)
def _across(
    volume: Array, z: int, y: int, radius: Array, scratch: Array, out: Array, column: int,
    width: int, target: int,
) -> None:  # fmt: skip
    """One row of medians; ``column`` and ``width`` have to be constants where this is called."""
    literally(column)
    literally(width)
    line = ROW + SLACK
    nz, ny, nx = volume.shape
    rz, ry, rx = radius
    step = ROW - width + 1
    for x0 in range(0, nx, step):
        m = min(step, nx - x0)
        k = 0
        for dz in range(-rz, rz + 1):
            for dy in range(-ry, ry + 1):
                source = volume[mirror(z + dz, nz), mirror(y + dy, ny)]
                _filled(source, x0 - rx, scratch[k * line : k * line + m + width - 1])
                k += 1
        for x in range(ROW):
            exchanged(scratch, x, column, width, 0)
        for x in range(ROW):
            exchanged(scratch, x, column, width, 1)
        for x in range(ROW):
            exchanged(scratch, x, column, width, 2)
        for x in range(ROW):
            exchanged(scratch, x, column, width, 3)
        part, found = out[x0 : x0 + m], scratch[target * line :]
        for x in range(m):
            part[x] = found[x]


def _selector(column: int, width: int) -> Callable[[Array, Array, Array], None]:
    # Numbers alone in the closure: with a compiled function in it the cache would never be found.
    target = stages(column, width)[1]
    size = (target + 1) * (ROW + SLACK)

    @numba.njit(parallel=True, cache=True)
    def selected(volume: Array, out: Array, radius: Array) -> None:
        nz, ny, _ = volume.shape
        for j in numba.prange(nz * ny):
            z, y = j // ny, j % ny
            scratch = np.zeros(size, volume.dtype)
            _across(volume, z, y, radius, scratch, out[z, y], column, width, target)

    return selected


SELECTORS = {
    (1, 5, 5): _selector(5, 5),
    (1, 7, 7): _selector(7, 7),
    (5, 5, 5): _selector(25, 5),
}
"""``f(volume, out, radius)`` by window, for unsigned integers ``(nz, ny, nx)``; compiled when used.

Windows with longer columns would take long to compile.
"""
