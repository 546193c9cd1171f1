"""Photon pairs followed one by one: what a scanner counts of a body, scatter of any order included.

An independent truth for `scatter`, and a source of scatter for the simulator. Delta tracking
(Woodcock 1965) through the voxels of a mu-map; every interaction is a Compton scatter (at 511 keV
in tissue, all but one in a few hundred are); angles by rejection from Klein and Nishina; photons
are counted where they cross the cylinder of crystals, if their measured energy is in the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.acquire.pet import compton, tof
from somascope.acquire.pet.coarse import Nodes
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid
from somascope.process.chunks import in_chunks

PIECES = 32
"""Independent streams of random numbers: the same counts however many threads there are."""
_ENERGIES = 1024
_MOST = 1 << 29
"""Bytes of the sums; fewer streams have one of their own where they were more."""


@dataclass(frozen=True, eq=False)
class Counted:
    """Coincidences per crystal pair between cells, float32, as `Nodes.shape`, symmetric.

    With a leading axis of TOF bins where the scanner has them; there the other end of the pair
    sees the bins in reverse.

    ``trues``, ``single`` (one photon scattered once) and ``multiple`` (all else) are counts of
    ``pairs`` emitted pairs, ``per_line`` of which an ideal crystal pair counts per line integral of
    1 (unit of activity) mm.
    """

    trues: Array
    single: Array
    multiple: Array
    pairs: int
    per_line: float


def smoothed(table: Array, *, across: float, along: float = 0.9, turning: float = 2.0) -> Array:
    """A symmetric table of pairs, blurred by Gaussians of so many cells.

    ``across`` of the crystals (the radial position of the pair), ``along`` the axis, and
    ``turning`` both crystals together (the angle of the pair), in which scatter varies least.
    """
    from scipy.ndimage import gaussian_filter1d

    for axis, (cells, mode) in enumerate(((along, "nearest"), (across, "wrap")) * 2):
        table = gaussian_filter1d(table, cells, axis=axis, mode=mode)
    steps = np.arange(-int(3 * turning), int(3 * turning) + 1)
    weights = np.exp(-0.5 * (steps / turning) ** 2)
    turned = [
        np.float32(w) * np.roll(table, (int(k), int(k)), axis=(1, 3))
        for k, w in zip(steps, weights / weights.sum(), strict=True)
    ]
    table = np.sum(turned, axis=0)
    return (table + table.transpose(2, 3, 0, 1)) / 2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _uniform(state: Array) -> float:
    """xorshift64*, in (0, 1)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return ((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _direction(state: Array, out: Array) -> None:
    cosine = 2 * _uniform(state) - 1
    sine = np.sqrt(max(1 - cosine * cosine, 0.0))
    angle = 2 * np.pi * _uniform(state)
    out[0], out[1], out[2] = sine * np.cos(angle), sine * np.sin(angle), cosine


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turn(state: Array, direction: Array, energy: float) -> float:
    """A new direction by Klein and Nishina; the energy left."""
    while True:
        cosine = 2 * _uniform(state) - 1
        ratio = 1 / (1 + energy * (1 - cosine))
        # The bracket is at most 2, at cosine 1.
        if 2 * _uniform(state) < ratio * ratio * (ratio + 1 / ratio - 1 + cosine * cosine):
            break
    sine = np.sqrt(max(1 - cosine * cosine, 0.0))
    angle = 2 * np.pi * _uniform(state)
    a, b, c = direction[0], direction[1], direction[2]
    side = np.sqrt(max(1 - c * c, 1e-30))
    ca, sa = np.cos(angle), np.sin(angle)
    if side < 1e-7:
        direction[0], direction[1], direction[2] = sine * ca, sine * sa, cosine * np.sign(c)
    else:
        direction[0] = cosine * a + sine * (a * c * ca - b * sa) / side
        direction[1] = cosine * b + sine * (b * c * ca + a * sa) / side
        direction[2] = cosine * c - sine * ca * side
    length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    for k in range(3):
        direction[k] /= length
    return energy * ratio


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _follow(
    state: Array, place: Array, direction: Array, inverse: Array, mu: Array, most: float,
    ratios: Array, least: float,
) -> tuple[float, int, float]:  # fmt: skip
    """Energy, number of scatters and way (mm) of a photon that leaves the volume; 0 if lost."""
    energy, count, way = 1.0, 0, 0.0
    nz, ny, nx = mu.shape
    while True:
        ratio = ratios[int(energy * (len(ratios) - 1) + 0.5)]
        step = -np.log(_uniform(state)) / (most * ratio)
        for k in range(3):
            place[k] += direction[k] * step
        way += step
        z = int(np.floor(inverse[0, 0] * place[0] + inverse[0, 1] * place[1]
                         + inverse[0, 2] * place[2] + inverse[0, 3] + 0.5))  # fmt: skip
        y = int(np.floor(inverse[1, 0] * place[0] + inverse[1, 1] * place[1]
                         + inverse[1, 2] * place[2] + inverse[1, 3] + 0.5))  # fmt: skip
        x = int(np.floor(inverse[2, 0] * place[0] + inverse[2, 1] * place[1]
                         + inverse[2, 2] * place[2] + inverse[2, 3] + 0.5))  # fmt: skip
        if z < 0 or y < 0 or x < 0 or z >= nz or y >= ny or x >= nx:
            return energy, count, way
        if _uniform(state) * most < mu[z, y, x]:
            energy = _turn(state, direction, energy)
            count += 1
            if energy < least:
                return 0.0, count, way


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cell(
    place: Array, direction: Array, radius: float, half: float, rings: int, crystals: int
) -> tuple[int, float]:
    """Number of the cell where a photon crosses the cylinder from inside, and how far that is.

    -1 beyond its ends.
    """
    a = direction[0] ** 2 + direction[1] ** 2
    if a < 1e-12:
        return -1, 0.0
    b = place[0] * direction[0] + place[1] * direction[1]
    c = place[0] ** 2 + place[1] ** 2 - radius * radius
    root = b * b - a * c
    if root < 0:
        return -1, 0.0
    t = (-b + np.sqrt(root)) / a  # negative where the last step went beyond the crystals
    z = place[2] + t * direction[2]
    if abs(z) >= half:
        return -1, 0.0
    psi = np.arctan2(place[0] + t * direction[0], -(place[1] + t * direction[1]))
    around = int(np.floor(psi / (2 * np.pi) * crystals + 0.5)) % crystals
    along = min(int((z + half) / (2 * half) * rings), rings - 1)
    return along * crystals + around, t


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _run(
    start: int, stop: int, counts: Array, seeds: Array, cumulative: Array, affine: Array,
    inverse: Array, mu: Array, most: float, ratios: Array, accept: Array, least: float,
    radius: float, half: float, rings: int, crystals: int, centres: Array, reach: float,
    kernel: Array, out: Array,
) -> None:  # fmt: skip
    """Sums ``start`` to ``stop`` of ``out`` ``(sums, kinds, bins, cells, cells)``.

    Stream ``p`` goes into sum ``p mod sums``.
    """
    _, ny, nx = mu.shape
    state = np.empty(1, np.uint64)
    first, second = np.empty(3), np.empty(3)
    one, two = np.empty(3), np.empty(3)
    sums, _, bins, _, _ = out.shape
    top = len(kernel) - 2
    for task in range((stop - start) * (len(counts) // sums)):
        into = start + task % (stop - start)
        piece = into + sums * (task // (stop - start))
        state[0] = seeds[piece]
        for _ in range(counts[piece]):
            voxel = np.searchsorted(cumulative, _uniform(state) * cumulative[-1], side="right")
            voxel = min(voxel, len(cumulative) - 1)
            z = voxel // (ny * nx) + _uniform(state) - 0.5
            y = (voxel // nx) % ny + _uniform(state) - 0.5
            x = voxel % nx + _uniform(state) - 0.5
            for k in range(3):
                first[k] = affine[k, 0] * z + affine[k, 1] * y + affine[k, 2] * x + affine[k, 3]
                second[k] = first[k]
            _direction(state, one)
            for k in range(3):
                two[k] = -one[k]
            e1, n1, way1 = _follow(state, first, one, inverse, mu, most, ratios, least)
            if e1 == 0 or _uniform(state) >= accept[int(e1 * (len(accept) - 1) + 0.5)]:
                continue
            a, more = _cell(first, one, radius, half, rings, crystals)
            if a < 0:
                continue
            e2, n2, way2 = _follow(state, second, two, inverse, mu, most, ratios, least)
            if e2 == 0 or _uniform(state) >= accept[int(e2 * (len(accept) - 1) + 0.5)]:
                continue
            way1 += more
            b, more = _cell(second, two, radius, half, rings, crystals)
            if b < 0:
                continue
            kind = min(n1 + n2, 2)
            if bins == 1:
                out[into, kind, 0, a, b] += 1
                out[into, kind, 0, b, a] += 1
                continue
            offset = 0.5 * (way1 - way2 - more)
            for k in range(bins):
                u = abs(offset - centres[k]) / reach * top
                if u < top:
                    m = int(u)
                    w = kernel[m] + (u - m) * (kernel[m + 1] - kernel[m])
                    out[into, kind, k, a, b] += w
                    out[into, kind, bins - 1 - k, b, a] += w


def follow(
    activity: Array,
    mu: Array,
    grid: Grid,
    at: Nodes,
    *,
    centre: tuple[float, float, float],
    pairs: int,
    seed: int = 0,
) -> Counted:
    """Emit ``pairs`` photon pairs where ``activity`` is, and count coincidences by cells of ``at``.

    ``activity`` (any unit) and ``mu`` (1/mm) are ``(nz, ny, nx)`` on ``grid``, which is the world:
    nothing absorbs outside it. The nodes are those of `coarse.nodes`, centres of equal cells. If
    their scanner has TOF, so have the tables: ``(tof, *at.shape)``.

    Raises
    ------
    ParameterError
        No activity, no pairs, or negative values.
    """
    values = np.asarray(activity, np.float64).ravel()
    if pairs < 1 or not values.any() or values.min() < 0 or np.min(mu) < 0:
        raise ParameterError(
            f"{pairs} pairs of an activity from {values.min():g} to {values.max():g}: give a pair "
            "or more, and activity and attenuation that are not negative"
        )
    shifted = grid.affine.copy()
    shifted[:3, 3] -= np.asarray(centre)
    rings, crystals = at.shape[:2]
    levels = np.linspace(0, 1, _ENERGIES)
    ratios = compton.total(np.maximum(levels, 1e-3)) / compton.total(1.0)
    accept = compton.accepted(levels, at.scanner) / compton.accepted(1.0, at.scanner)
    least = float(levels[np.argmax(accept > 1e-3)])
    each = np.full(PIECES, pairs // PIECES)
    each[: pairs % PIECES] += 1
    seeds = np.random.SeedSequence(seed).generate_state(PIECES, np.uint64) | np.uint64(1)
    size, bins = rings * crystals, at.scanner.tof_bins
    sums = PIECES
    while sums > 1 and 12 * sums * bins * size * size > _MOST:
        sums //= 2
    out = np.zeros((sums, 3, bins, size, size), np.float32)
    timed = bins > 1
    in_chunks(
        _run, sums, each, seeds, np.cumsum(values), shifted, np.linalg.inv(shifted),
        np.ascontiguousarray(mu, np.float32), max(float(np.max(mu)), 1e-6), ratios, accept, least,
        at.scanner.effective_radius, at.scanner.axial_length / 2, rings, crystals,
        tof.centres(at.scanner) if timed else np.zeros(1, np.float32),
        tof.reach(at.scanner) if timed else 1.0,
        tof.table(at.scanner) if timed else np.zeros(2, np.float32), out,
    )  # fmt: skip
    total = out.sum(axis=0, dtype=np.float64) / at.cell**2
    total = total.astype(np.float32).reshape(3, *((bins,) if timed else ()), *at.shape)
    # Becquerels if the activity is in Bq/ml; another unit goes through to the line integrals alike.
    per_line = at.scanner.sensitivity * pairs / (values.sum() * grid.voxel_volume * 1e-3)
    return Counted(total[0], total[1], total[2], pairs, float(per_line))
