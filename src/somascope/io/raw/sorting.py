"""MR readouts sorted into one k-space per stack of slices.

Counters become indices of a lattice, the directions of the gradients a grid in LPS, and what is no
image (noise, navigators, reference lines) calibration.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.core.provenance import Provenance
from somascope.core.registry import build_operator
from somascope.io.raw.readouts import Encoding, Readouts, Stack, placed

_LEADING = {"echo": "echo", "phase": "phase", "set": "set", "repetition": "t"}
"""Counters that become leading axes, in their order, and the axes' names."""

_SPARSEST, _SMALL = 256, 1 << 26
"""A k-space larger than this many times its samples, and than this, comes of damaged counters."""


def acquisitions(
    readouts: Readouts,
    encoding: Encoding,
    *,
    name: str,
    attributes: dict[str, Any],
    provenance: Provenance,
    extra: dict[str, Array] | None = None,
) -> list[Acquisition]:
    """One acquisition per stack of parallel, evenly spaced slices.

    Axes are turned so that rows run to the patient's left or back and columns to the back or the
    feet; for that k-space is read backwards where a gradient ran the other way, which is exact.
    Averages are averaged. ``extra`` is added to the calibration of each.

    Raises
    ------
    CorruptFile
        No readout of an image, counters outside the matrix, mixed numbers of coils.
    """
    chosen = np.flatnonzero(readouts.imaging)
    if not len(chosen):
        raise CorruptFile(f"{name} holds {len(readouts)} readouts and none of them is of an image")
    coils = np.unique(readouts.coils[chosen])
    if len(coils) != 1:
        raise CorruptFile(f"{name} has readouts of {coils.tolist()} coils; they must be alike")
    return [
        _sorted(readouts, encoding, stack, name=name, attributes=attributes,
                provenance=provenance, extra=extra or {})
        for stack in placed(readouts, encoding, chosen, name)
    ]  # fmt: skip


def _sorted(
    readouts: Readouts,
    encoding: Encoding,
    stack: Stack,
    *,
    name: str,
    attributes: dict[str, Any],
    provenance: Provenance,
    extra: dict[str, Array],
) -> Acquisition:
    here = np.isin(readouts.counters["slice"], stack.slices)
    chosen = np.flatnonzero(readouts.imaging & here)
    coils = int(readouts.coils[chosen[0]])
    leading, numbers = _leading(readouts, encoding, chosen)
    shape = tuple(len(v) for v in leading.values())
    two = encoding.dimensions == 2
    matrix = (len(stack.slices) if two else encoding.matrix[0], *encoding.matrix[1:])
    measured = int(readouts.samples[chosen].sum()) * coils
    wanted = float(np.prod([*shape, coils, *matrix], dtype=np.float64))
    if wanted > max(_SPARSEST * measured, _SMALL):
        raise CorruptFile(
            f"{name} asks for a k-space of {(*shape, coils, *matrix)}; its counters are damaged"
        )
    place = _Place(readouts, encoding, stack, matrix, name)
    kspace = np.zeros((*shape, coils, *matrix), np.complex64)
    hits = np.zeros((*shape, *matrix), np.uint16)
    polarity = np.zeros(matrix[1], np.int8)
    for row, i in enumerate(chosen.tolist()):
        z, y, x, values = place(i)
        lead = tuple(numbers[:, row].tolist())
        kspace[lead][:, z, y][:, x] += values
        hits[lead][z, y][x] += 1
        polarity[y] = -1 if readouts.reverse[i] else 1
    if hits.max() > 1:
        kspace /= np.maximum(hits, 1)[..., None, :, :, :]
    mask = hits > 0
    flat = mask.reshape(-1, *matrix)
    if mask.all():
        mask = None
    elif (flat == flat[0]).all():
        mask = flat[0]
    calibration = dict(extra)
    if "readout" in calibration:
        calibration["readout"] = _turned(extra["readout"], stack.signs[2])
    if (polarity < 0).any():
        calibration["polarity"] = polarity
    calibration |= _aside(readouts, encoding, stack, place, matrix)
    operator = build_operator(
        "mri.cartesian",
        {
            "grid": stack.grid, "coils": coils, "mask": mask, "matrix": matrix,
            "dimensions": encoding.dimensions, "leading": leading,
        },
    )  # fmt: skip
    return Acquisition(
        kspace, operator, "MR", calibration=calibration, provenance=provenance,
        attributes=attributes,
    )  # fmt: skip


def _turned(positions: Array, sign: int) -> Array:
    """Positions of the samples of a readout, in the order in which `_Place.line` puts them."""
    count = len(positions)
    out = np.empty(count)
    out[(count // 2 + sign * (np.arange(count) - count // 2)) % count] = sign * positions
    return out


def _leading(
    readouts: Readouts, encoding: Encoding, chosen: Array
) -> tuple[dict[str, list[float]], Array]:
    """Leading axes with their coordinates, and the index of every readout along each."""
    leading: dict[str, list[float]] = {}
    numbers = []
    for counter, axis in _LEADING.items():
        found, index = np.unique(readouts.counters[counter][chosen], return_inverse=True)
        if len(found) == 1:
            continue
        given = encoding.values.get(axis, ())
        leading[axis] = [float(given[v]) if v < len(given) else float(v) for v in found]
        numbers.append(index)
    return leading, np.array(numbers, int).reshape(len(numbers), len(chosen))


class _Place:
    """Where a readout goes: slice or partition, line, samples along x, and its values there."""

    def __init__(
        self,
        readouts: Readouts,
        encoding: Encoding,
        stack: Stack,
        matrix: tuple[int, int, int],
        name: str,
    ) -> None:
        self.readouts, self.encoding, self.stack = readouts, encoding, stack
        self.matrix, self.name = matrix, name

    def __call__(self, i: int) -> tuple[int, int, Array, Array]:
        count = self.readouts.counters
        z = self.stack.slices.index(int(count["slice"][i]))
        if self.encoding.dimensions == 3:
            z = self._index(0, int(count["partition"][i]) - self.encoding.centre[0])
        y = self._index(1, int(count["line"][i]) - self.encoding.centre[1])
        x, values = self.line(i)
        return z, y, x, values

    def line(self, i: int) -> tuple[Array, Array]:
        """Indices along x and values ``(coils, samples)`` of a readout."""
        values = self.readouts.load(i)
        if self.readouts.reverse[i]:
            values = values[:, ::-1]
        if self.encoding.negated:
            values = values.conj()
        count = values.shape[1]
        nx = self.matrix[2]
        offset = np.arange(count) - int(self.readouts.centre[i])
        x = nx // 2 + self.stack.signs[2] * offset
        if self.stack.signs[2] < 0 and nx % 2 == 0:
            x %= nx  # the sample at the edge of an even lattice stands for both ends
        if x.min() < 0 or x.max() >= nx:
            raise CorruptFile(
                f"{self.name}: readout {i} has {count} samples around sample "
                f"{int(self.readouts.centre[i])}, which do not fit {nx} columns"
            )
        return x, values

    def _index(self, axis: int, offset: int) -> int:
        n = self.matrix[axis]
        index = n // 2 + self.stack.signs[axis] * offset
        if self.stack.signs[axis] < 0 and n % 2 == 0:
            index = index % n if index == n else index
        if not 0 <= index < n:
            what = ("partition", "line")[axis]
            raise CorruptFile(
                f"{self.name} has a readout {offset} {what}s from the centre of {n}; its counters "
                "are damaged, or its header is of another measurement"
            )
        return index


def _aside(
    readouts: Readouts,
    encoding: Encoding,
    stack: Stack,
    place: _Place,
    matrix: tuple[int, int, int],
) -> dict[str, Array]:
    """Noise scan, navigators and separate reference lines of a stack."""
    found: dict[str, Array] = {}
    noise = [readouts.load(i) for i in np.flatnonzero(readouts.noise).tolist()]
    coils = int(readouts.coils[np.argmax(readouts.imaging)])
    noise = [n for n in noise if len(n) == coils]
    if noise:
        joined = np.concatenate(noise, axis=1)
        found["noise"] = joined.conj() if encoding.negated else joined
    here = np.isin(readouts.counters["slice"], stack.slices)
    lines = np.flatnonzero(readouts.reference & ~readouts.imaging & here).tolist()
    lines = [i for i in lines if not readouts.navigator[i] and readouts.coils[i] == coils]
    if lines:
        reference = np.zeros((coils, *matrix), np.complex64)
        hits = np.zeros(matrix, np.uint16)
        for i in lines:
            z, y, x, values = place(i)
            reference[:, z, y][:, x] += values
            hits[z, y][x] += 1
        found["reference"] = reference / np.maximum(hits, 1)
    found |= _navigators(readouts, stack, place, matrix, coils)
    return found


def _navigators(
    readouts: Readouts, stack: Stack, place: _Place, matrix: tuple[int, int, int], coils: int
) -> dict[str, Array]:
    """Navigator lines of the first excitation of each slice, ``(coils, nz, lines, kx)``."""
    per_slice = []
    for s in stack.slices:
        rows = np.flatnonzero(readouts.navigator & (readouts.counters["slice"] == s))
        per_slice.append([i for i in rows.tolist() if readouts.coils[i] == coils])
    count = min(len(rows) for rows in per_slice)
    if count == 0:
        return {}
    first = per_slice[0]
    repeats = readouts.counters["repetition"][first] == readouts.counters["repetition"][first[0]]
    count = min(count, int(repeats.sum()))
    out = np.zeros((coils, len(stack.slices), count, matrix[2]), np.complex64)
    for z, rows in enumerate(per_slice):
        for n, i in enumerate(rows[:count]):
            x, values = place.line(i)
            out[:, z, n][:, x] = values
    polarity = np.where(readouts.reverse[first[:count]], -1, 1).astype(np.int8)
    return {"navigator": out, "navigator_polarity": polarity}
