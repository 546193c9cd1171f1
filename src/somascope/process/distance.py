"""Exact Euclidean distance transform with spacing.

Along x the distance to the nearest background voxel is counted forwards and backwards. Along y and
z the squared distances are ``min over k of f[k] + (i - k)^2``, looked for from the nearest sample
outwards until nothing farther can be smaller, for a tile of contiguous x at once: minimum and sum
are then vector instructions. Runs of samples that are all too large are passed over by their
minimum. Where distances are so long that this looks at many samples, as in a large body, its rows
are halved: the nearest sample never moves back from one row to the next, so what two rows found
bounds what the one between them can find. Where that is no bound, because neighbouring columns
have nothing in common, the lower envelope of parabolas (Felzenszwalb and Huttenlocher, Theory of
Computing 8, 2012) takes over. Planes stay in the cache between x and y.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numba
import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, Provenance, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.entries import inside
from somascope.process.lanes import LANES, above, below, least, least_of, lowered

STEPS = 4
"""Samples on each side that are looked at together."""

LEAP = 16
"""Samples on each side that are passed over together, a multiple of `STEPS`."""

NEAR = 8
"""Looks per row so far, on the average, from which on a tile is halved; each takes vectors."""

FAR = 160
"""Looks per row of halving from which on the envelope is faster."""

PARTS = 64
"""Parts the columns are shared in; more than the cores that take them."""

_FAR = np.float32(np.inf)
_U = np.uint64
_F = np.float32


@numba.njit(cache=True)
def _row(source: Array, step: Any, row: Array) -> None:
    """Squared distance along x, run by run; infinite in rows without background."""
    nx = source.size
    x = 0
    while x < nx:
        first = x
        while x < nx and source[x] == 0:
            x += 1
        for i in range(first, x):
            row[i] = 0
        first = x
        while x < nx and source[x] != 0:
            x += 1
        middle = first + (x - first + 1) // 2
        if first == 0 and x == nx:
            row[:] = _FAR
            return
        if first == 0:
            middle = 0
        elif x == nx:
            middle = nx
        for i in range(first, middle):
            d = _F(np.int32(i - first + 1)) * step
            row[i] = d * d
        for i in range(middle, x):
            d = _F(np.int32(x - i)) * step
            row[i] = d * d


@numba.njit(cache=True)
def _envelope(line: Array, square: float, apex: Array, start: Array, level: Array) -> None:
    """``line[i] <- min over k of line[k] + (i - k)^2 square``, in place."""
    n = line.size
    last = -1
    for k in range(n):
        f = np.float64(line[k])
        if f == np.inf:
            continue
        h = f / square + np.float64(k) * k
        s = -np.inf
        while last >= 0:
            # Where the parabola over k begins to lie below the last one.
            s = 0.5 * (h - level[last]) / (k - apex[last])
            if s > start[last]:
                break
            last -= 1
        last += 1
        apex[last], level[last], start[last] = k, h, s if last else -np.inf
    i = 0
    for a in range(last + 1):
        p = apex[a]
        f = level[a] - np.float64(p) * p
        while i < n and (a == last or i <= start[a + 1]):
            d = np.float64(i - p)
            line[i] = (f + d * d) * square
            i += 1


@numba.njit(cache=True)
def _lower(values: Array, gap: int, count: int, out: Array) -> None:
    for k in range(count):
        a, b = values[_U(k)], values[_U(k + gap)]
        # Becomes vector instructions; min() would have to mind NaN.
        out[k] = b if b < a else a  # noqa: FURB136


@numba.njit(cache=True)
def _search(
    lines: Array, low: Array, lowest: Array, n: int, square: Any, out: Array
) -> bool:  # fmt: skip
    """The minimum for every sample of a tile; False, and unfinished, where that takes many looks.

    ``lines``, ``low`` and ``lowest`` have ``n + 2 LEAP`` rows of `LANES`, infinite before and after
    the n samples: ``low`` the minimum of `STEPS` rows from each, ``lowest`` that of `LEAP`.
    """
    looks = 0
    for k in range(n * LANES):
        out[k] = lines[LEAP * LANES + k]
    for i in range(n):
        here = i * LANES
        more = above(out, here, square)  # pyright: ignore[reportCallIssue]
        r, w0 = 1, square
        while more and r < n:
            looks += 1
            # From i + r on, and up to i - r; before and after the samples lies padding.
            b = min(i + r + LEAP, n + LEAP) * LANES
            if r > 1 and r % LEAP == 1:
                a = max(i - r + 1, 0) * LANES
                if not below(lowest, a, b, out, here, w0):
                    r += LEAP
                    w0 = _F(r * r) * square
                    more = above(out, here, w0)
                    continue
            a = max(i - r - STEPS + 1 + LEAP, 0) * LANES
            beyond = _F((r + 4) * (r + 4)) * square
            if r == 1 or below(low, a, b, out, here, w0):
                w1 = _F((r + 1) * (r + 1)) * square
                w2 = _F((r + 2) * (r + 2)) * square
                w3 = _F((r + 3) * (r + 3)) * square
                more = lowered(lines, a, b, out, here, w0, w1, w2, w3, beyond)
                looks += STEPS
            else:
                more = above(out, here, beyond)
            if looks > NEAR * (i + 16):
                return False
            r, w0 = r + STEPS, beyond
    return True


@numba.njit(cache=True)
def _halved(lines: Array, weights: Array, n: int, ends: Array, out: Array) -> bool:
    """As `_search`: every other row of those between rows that are done, down to every row.

    The minimum of a row lies in a row from the first to the last of those that the done rows
    before and after it found, ``ends``. ``weights`` ``(2 n + 4,)``: ``(k - n + 1)^2 square``.
    """
    step, looks = 1, 0
    while 2 * step <= n:
        step *= 2
    while step:
        for i in range(step - 1, n, 2 * step):
            a, b = 0, n - 1
            before, after = i >= step, i + step < n
            if before:
                a = ends[2 * (i - step)]
            if after:
                b = ends[2 * (i + step) + 1]
            if before and after:  # of equal samples any may have been found
                a, b = min(a, ends[2 * (i + step)]), max(b, ends[2 * (i - step) + 1])
            count = b - a + 1
            first, weight, here = (a + LEAP) * LANES, n - 1 + a - i, i * LANES
            # Intrinsics are given their first argument, the context, by numba.
            if step > 1:
                own = _F(i - a)
                least_of(lines, first, count, weights, weight, out, here, own, ends, 2 * i)  # pyright: ignore[reportCallIssue]
                ends[2 * i] += a
                ends[2 * i + 1] += a
            else:
                least(lines, first, count, weights, weight, out, here)  # pyright: ignore[reportCallIssue]
            looks += count
            if looks > FAR * n:
                return False
        step //= 2
    return True


@numba.njit(cache=True)
def _room(n: int, square: Any) -> Any:
    """What `_tile` works in, for columns of ``n``."""
    lines = np.full((n + 2 * LEAP) * LANES, _FAR, np.float32)
    low, lowest, two = np.full_like(lines, _FAR), np.full_like(lines, _FAR), np.empty_like(lines)
    found = np.empty(n * LANES, np.float32)
    weights, ends = np.empty(2 * n + 4, np.float32), np.empty(2 * n, np.int64)
    for k in range(weights.size):
        weights[k] = _F((k - n + 1) * (k - n + 1)) * square
    parabolas = np.empty(n, np.float32), np.empty(n, np.int64), np.empty(n), np.empty(n)
    return lines, low, lowest, two, found, weights, ends, parabolas


@numba.njit(cache=True)
def _tile(source: Array, target: Array, x0: int, square: Any, root: int, room: Any) -> None:
    """The minimum along some columns of ``(n, nx)``, from ``x0`` on; at last the square root."""
    lines, low, lowest, two, found, weights, ends, parabolas = room
    n, nx = source.shape
    m = min(LANES, nx - x0)
    most = _F(0)
    for i in range(n):
        first = (i + LEAP) * LANES
        for x in range(m):
            v = source[i, x0 + x]
            lines[first + x] = v
            most = max(most, v)
        for x in range(m, LANES):
            lines[first + x] = 0
    if most == 0:
        for i in range(n):
            target[i, x0 : x0 + m] = 0
        return
    rows = n + 2 * LEAP
    _lower(lines, LANES, (rows - 1) * LANES, two)
    _lower(two, 2 * LANES, (rows - 3) * LANES, low)
    _lower(low, 4 * LANES, (rows - 7) * LANES, two)
    _lower(two, 8 * LANES, (rows - 15) * LANES, lowest)
    near = _search(lines, low, lowest, n, square, found)
    if not near and not _halved(lines, weights, n, ends, found):
        line, apex, start, level = parabolas
        for x in range(m):
            for i in range(n):
                line[i] = lines[(i + LEAP) * LANES + x]
            _envelope(line, np.float64(square), apex, start, level)
            for i in range(n):
                found[i * LANES + x] = line[i]
    for i in range(n):
        for x in range(m):
            v = found[i * LANES + x]
            target[i, x0 + x] = np.sqrt(v) if root else v


@numba.njit(cache=True)
def _part(
    part: Any, parts: int, mask: Array, dx: Any, square: Any, root: int, out: Array
) -> None:  # fmt: skip
    """One of the ``parts`` of `_tiles`: a plane, or some columns of the only one."""
    fresh = mask.size > 0
    p = part if fresh else 0
    _, n, m = out.shape
    blocks = (m + LANES - 1) // LANES
    first, last = (0, blocks) if fresh else (blocks * part // parts, blocks * (part + 1) // parts)
    plane = out[p]
    if fresh:
        plane = np.empty((n, m), np.float32)
        for y in range(n):
            _row(mask[p, y], dx, plane[y])
    room = _room(n, square)
    for j in range(first, last):
        _tile(plane, out[p], j * LANES, square, root, room)


@numba.njit(parallel=True, cache=True)
def _tiles(
    parts: int, mask: Array, dx: Any, square: Any, root: int, out: Array
) -> None:  # fmt: skip
    """Along the middle axis of ``out`` ``(planes, n, m)``.

    With a ``mask`` its planes are made along x first, one a part; else the columns of the only
    plane are handled in place.
    """
    for part in numba.prange(parts):
        _part(np.int64(part), parts, mask, dx, square, root, out)


@numba.njit(cache=True)
def _rows(mask: Array, dx: Any, out: Array) -> None:
    for y in range(mask.shape[0]):
        _row(mask[y], dx, out[y])


def distance(volume: Array, spacing: tuple[float, float, float]) -> Array:
    """Distance of every voxel inside to the nearest voxel centre outside.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``, bool or number: everything but 0 is inside.
    spacing
        Voxel edges ``(dz, dy, dx)`` in mm.

    Returns
    -------
    Array
        float32 mm, 0 outside, infinite everywhere where nothing is outside.
    """
    if is_tensor(volume):
        from somascope.process import gpu

        return gpu.distance(volume, spacing)  # pyright: ignore[reportArgumentType]
    within = np.ascontiguousarray(volume if volume.dtype.itemsize == 1 else volume != 0)
    within = within.view(np.uint8)
    out = np.empty(within.shape, np.float32)
    dz, dy, dx = (np.float32(s) for s in spacing)
    nz, ny, nx = within.shape
    if nz > 1:
        _tiles(nz, within, dx, dy * dy, 0, out)
        _tiles(PARTS, within[:0], dx, dz * dz, 1, out.reshape(1, nz, ny * nx))
    else:  # one plane has no others to share among the cores
        _rows(within[0], dx, out[0])
        _tiles(PARTS, within[:0], dx, dy * dy, 1, out)
    return out


@operation("process.distance")
def distance_(
    mask: Mask,
    *,
    side: Annotated[
        Literal["inside", "outside", "signed"],
        Param("Measure inside the mask, outside of it, or both (negative inside)"),
    ] = "inside",
    segment: Annotated[
        int | None, Param("Number of the segment; none: all together", minimum=1)
    ] = None,
    progress: Progress = QUIET,
) -> Image:
    """Measure how far each voxel lies from the border of a mask.

    Euclidean, exact, in mm: from each voxel inside to the nearest voxel centre outside, or the
    other way round. The result has shape ``(nz, ny, nx)``, float32, on the mask's grid.
    """
    covered = inside(mask, segment)
    if covered.all() or not covered.any():
        raise ParameterError(
            f"process.distance: the mask covers {'all' if covered.all() else 'none'} of its grid "
            "and has no border; choose a segment that covers a part"
        )
    spacing = mask.grid.spacing
    data = np.zeros(covered.shape, np.float32)
    if side != "outside":
        data += distance(covered, spacing) * (-1 if side == "signed" else 1)
    progress(0.5, "inside measured")
    if side != "inside":
        data += distance(~covered, spacing)
    return Image(
        data, mask.grid, "OT", "mm",
        provenance=Provenance(mask.provenance.sources, mask.provenance.steps),
        attributes=dict(mask.attributes),
    )  # fmt: skip
