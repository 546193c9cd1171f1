"""How much each atlas's vote counts at a voxel: by its own likeness, or jointly.

Joint label fusion (Wang, Suh, Das, Pluta, Craige, Yushkevich, IEEE PAMI 35 (2013) 611-623): the
expected joint errors of atlases i and j at x are estimated as ``M_ij = (mean |F_i - T| |F_j - T|)
^ beta`` over the patch around x (F_i taken where it matches best), and the weights that make the
expected error of the vote least are ``w = (M + alpha I)^-1 1 / 1' (M + alpha I)^-1 1``. Two atlases
that err together share one vote. With the diagonal of M alone they are those of local weighted
voting (Artaechevarria, Munoz-Barrutia, Ortiz-de-Solorzano, IEEE TMI 28 (2009) 1266-1277).
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.analyze.atlas.patches import Prepared
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks


@numba.njit(nogil=True, cache=True)
def _solve(matrix: Array, w: Array) -> None:
    """``w <- matrix^-1 1`` by elimination with pivots; ``matrix`` is overwritten."""
    n = w.size
    for i in range(n):
        w[i] = 1.0
    for i in range(n):
        p = i
        for r in range(i + 1, n):
            if abs(matrix[r, i]) > abs(matrix[p, i]):
                p = r
        if p != i:
            for c in range(n):
                matrix[i, c], matrix[p, c] = matrix[p, c], matrix[i, c]
            w[i], w[p] = w[p], w[i]
        for r in range(i + 1, n):
            f = matrix[r, i] / matrix[i, i]
            if f != 0.0:
                for c in range(i + 1, n):
                    matrix[r, c] -= f * matrix[i, c]
                w[r] -= f * w[i]
    for i in range(n - 1, -1, -1):
        s = w[i]
        for c in range(i + 1, n):
            s -= matrix[i, c] * w[c]
        w[i] = s / matrix[i, i]


@numba.njit(nogil=True, fastmath=True, cache=True)
def _differences(
    place: Array, target: Array, tm: Array, ts: Array, atlases: Array, am: Array, as_: Array,
    patch: Array, shift: Array, out: Array,
) -> None:  # fmt: skip
    """``|F_i - T|`` of the normalised patches around ``place`` (padded): ``out`` (atlases, n)."""
    z, y, x = place[0], place[1], place[2]
    m, s = tm[z, y, x], ts[z, y, x]
    for a in range(out.shape[0]):
        oz, oy, ox = z + shift[a, 0], y + shift[a, 1], x + shift[a, 2]
        ma, sa = am[a, oz, oy, ox], as_[a, oz, oy, ox]
        n = 0
        for dz in range(-patch[0], patch[0] + 1):
            for dy in range(-patch[1], patch[1] + 1):
                for dx in range(-patch[2], patch[2] + 1):
                    f = (atlases[a, oz + dz, oy + dy, ox + dx] - ma) * sa
                    out[a, n] = abs(f - (target[z + dz, y + dy, x + dx] - m) * s)
                    n += 1


@numba.njit(nogil=True, fastmath=True, cache=True)
def _vote(
    start: int, stop: int, places: Array, margin: Array, target: Array, tm: Array, ts: Array,
    atlases: Array, am: Array, as_: Array, labels: Array, patch: Array, offsets: Array,
    which: Array, alpha: float, beta: float, joint: int, winner: Array, share: Array,
    planes: Array,
) -> None:  # fmt: skip
    n = atlases.shape[0]
    size = (2 * patch[0] + 1) * (2 * patch[1] + 1) * (2 * patch[2] + 1)
    apart = np.empty((n, size), np.float32)
    matrix = np.zeros((n, n))
    w = np.empty(n)
    shift = np.empty((n, 3), np.int64)
    inside = np.empty(3, np.int64)
    seen = np.empty(n, np.int64)
    votes = np.empty(n)
    for v in range(start, stop):
        z, y, x = places[v, 0], places[v, 1], places[v, 2]
        inside[0], inside[1], inside[2] = z + margin[0], y + margin[1], x + margin[2]
        for a in range(n):
            for d in range(3):
                shift[a, d] = offsets[which[a, z, y, x], d]
        _differences(inside, target, tm, ts, atlases, am, as_, patch, shift, apart)
        for i in range(n):
            for j in range(i if joint else 0, i + 1 if not joint else n):
                if not joint and j != i:
                    continue
                s = np.float32(0)
                for k in range(size):
                    s += apart[i, k] * apart[j, k]
                matrix[i, j] = (s / size) ** beta
                matrix[j, i] = matrix[i, j]
            matrix[i, i] += alpha
        if joint:
            _solve(matrix, w)
        else:
            for i in range(n):
                w[i] = 1.0 / matrix[i, i]
        total = 0.0
        for i in range(n):
            total += w[i]
        found = 0
        for a in range(n):
            at = labels[
                a, inside[0] + shift[a, 0], inside[1] + shift[a, 1], inside[2] + shift[a, 2]
            ]
            k = 0
            while k < found and seen[k] != at:
                k += 1
            if k == found:
                seen[k], votes[k] = at, 0.0
                found += 1
            votes[k] += w[a] / total
        first = 0
        for k in range(1, found):
            more = votes[k] > votes[first] + 1e-9
            even = abs(votes[k] - votes[first]) <= 1e-9 and seen[k] < seen[first]
            if more or even:
                first = k
        winner[z, y, x] = seen[first]
        share[z, y, x] = min(max(votes[first], 0.0), 1.0)
        if planes.shape[0] > 0:
            for k in range(found):
                planes[seen[k], z, y, x] = min(max(votes[k], 0.0), 1.0)


def vote(
    places: Array, target: Prepared, atlases: list[Prepared], labels: Array, *,
    patch: tuple[int, int, int], margin: tuple[int, int, int], offsets: Array, which: Array,
    alpha: float, beta: float, joint: bool, winner: Array, share: Array, planes: Array,
) -> None:  # fmt: skip
    """Write the winning label, its share of the votes, and every label's, at ``places``.

    Parameters
    ----------
    places
        ``(n, 3)`` voxels at which atlases disagree.
    labels
        ``(atlases, nz, ny, nx)`` padded by ``margin``, numbers of planes, uint16.
    offsets, which
        As `patches.search` gives them.
    winner, share, planes
        Written to: ``(nz, ny, nx)`` uint16 and float32, and ``(labels, nz, ny, nx)`` float32 or
        with no entries.
    """
    in_chunks(
        _vote, len(places), places, np.asarray(margin), target.values, target.mean, target.scale,
        np.stack([a.values for a in atlases]), np.stack([a.mean for a in atlases]),
        np.stack([a.scale for a in atlases]), labels, np.asarray(patch), offsets, which,
        float(alpha), float(beta), int(joint), winner, share, planes,
    )  # fmt: skip
