"""GRAPPA kernels: fitted to calibration lines, applied to k-space, turned into image-space weights.

A plane of k-space is ``(coils, ky, kx)`` with every R-th line measured.

Source: Griswold et al. 2002, Magn Reson Med 47:1202; noise: Breuer et al. 2009, 62:739.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array

EDGE_DAMPING = 100.0
"""Kernels at the edges of k-space reach out instead of in between: damped more, they keep the
noise of the others and still leave a fifth of the error of zeros."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Weights from measured lines times ``columns`` samples of all coils.

    ``offsets`` are the measured lines used, counted in measured lines from the one before the
    target. ``weights[r - 1]`` is ``(coils, coils, lines, columns)``: target coil, source coil,
    source line, source column, for the target ``r`` lines after a measured one.
    """

    acceleration: int
    offsets: tuple[int, ...]
    columns: int
    weights: Array


def neighbours(blocks: int) -> tuple[int, ...]:
    """Offsets of ``blocks`` measured lines around a gap."""
    return tuple(range(-((blocks - 1) // 2), blocks - (blocks - 1) // 2))


def demand_lines(calibration: Array, acceleration: int, blocks: int, columns: int) -> int:
    """How many source lines the calibration can fit: ``blocks``, or fewer, at least two.

    Raises
    ------
    ParameterError
        Too few calibration lines even for two source lines, or fewer columns than the kernel.
    """
    _, count, nx = calibration.shape
    while blocks > 2 and (blocks - 1) * acceleration + 2 > count:
        blocks -= 1
    needed = (blocks - 1) * acceleration + 1
    if needed > count or columns > nx:
        raise ParameterError(
            f"{count} calibration lines of {nx} samples are too few for an acceleration of "
            f"{acceleration}: at least {needed} lines (better {3 * acceleration + 8}) of {columns} "
            "samples are needed; measure more calibration lines"
        )
    return blocks


@dataclass(frozen=True, eq=False)
class Equations:
    """Normal equations of all calibration positions: of sources, and of targets with sources.

    ``gram`` is ``(sources, sources)`` and ``cross`` ``((R - 1) coils, sources)``; sources run over
    coils, then ``offsets``, then columns.
    """

    acceleration: int
    offsets: tuple[int, ...]
    columns: int
    gram: Array
    cross: Array

    def solve(self, offsets: tuple[int, ...], regularisation: float) -> Kernel:
        """The kernel from some of the source lines.

        Damped by ``regularisation`` times the mean diagonal of the equations (Tikhonov).
        """
        coils = self.cross.shape[0] // (self.acceleration - 1)
        shape = (coils, len(self.offsets), self.columns)
        rows = np.arange(len(self.gram)).reshape(shape)
        rows = rows[:, [self.offsets.index(o) for o in offsets]].ravel()
        gram = self.gram[np.ix_(rows, rows)]
        gram = gram + regularisation * np.trace(gram).real / len(gram) * np.eye(len(gram))
        solved = np.linalg.solve(gram, self.cross[:, rows].conj().T).conj().T
        weights = solved.reshape(self.acceleration - 1, coils, coils, len(offsets), self.columns)
        return Kernel(self.acceleration, offsets, self.columns, weights.astype(np.complex64))


def equations(calibration: Array, acceleration: int, blocks: int, columns: int) -> Equations:
    """What fully sampled lines ``(coils, lines, kx)`` say about weights of ``blocks`` lines."""
    coils, count, nx = calibration.shape
    offsets = neighbours(blocks)
    lines = np.array(offsets) * acceleration
    base = np.arange(max(0, -lines.min()), count - max(lines.max(), acceleration - 1))
    half = columns // 2
    inner = np.arange(half, nx - half)
    sources = [
        calibration[:, base + line, :][:, :, inner + dx]
        for line in lines
        for dx in range(-half, half + 1)
    ]
    matrix = np.stack(sources, axis=1).reshape(coils * len(lines) * columns, -1)
    adjoint = matrix.conj().T
    targets = np.concatenate(
        [
            calibration[:, base + r, :][:, :, inner].reshape(coils, -1)
            for r in range(1, acceleration)
        ]
    )
    return Equations(
        acceleration,
        offsets,
        columns,
        (matrix @ adjoint).astype(np.complex128),
        (targets @ adjoint).astype(np.complex128),
    )


def fill(
    planes: Array,
    calibration: Array,
    acceleration: int,
    start: int,
    *,
    blocks: int = 4,
    columns: int = 5,
    regularisation: float = 1e-3,
) -> Array:
    """``planes`` (n, coils, ky, kx) with missing lines; measured are ``start, start + R...``.

    Towards the edges of k-space kernels of the measured lines that are there take over; beyond the
    ends of the readout sources are zero.
    """
    blocks = demand_lines(calibration, acceleration, blocks, columns)
    known = equations(calibration, acceleration, blocks, columns)
    count, coils, ny, nx = planes.shape
    half = columns // 2
    measured = np.arange(start, ny, acceleration)
    lines = np.zeros((count, coils, len(measured), nx + 2 * half), np.complex64)
    lines[..., half : half + nx] = planes[:, :, measured]
    out = planes.astype(np.complex64).copy()
    groups: dict[tuple[int, ...], list[int]] = {}
    for base in range(-1, len(measured)):  # the first gap follows a line outside
        there = tuple(o for o in neighbours(blocks) if 0 <= base + o < len(measured))
        groups.setdefault(there, []).append(base)
    for offsets, members in groups.items():
        damping = regularisation * (1 if len(offsets) == blocks else EDGE_DAMPING)
        kernel = known.solve(offsets, damping)
        bases = np.array(members)
        rows = coils * len(offsets) * columns
        sources = np.stack(
            [lines[:, :, bases + o, dx : dx + nx] for o in offsets for dx in range(columns)], axis=2
        ).reshape(count, rows, -1)
        for step in range(1, acceleration):
            found = kernel.weights[step - 1].reshape(coils, -1) @ sources
            targets = start + bases * acceleration + step
            keep = (targets >= 0) & (targets < ny)
            out[:, :, targets[keep]] = found.reshape(count, coils, -1, nx)[:, :, keep]
    return out


def image_weights(kernel: Kernel, shape: tuple[int, int]) -> Array:
    """The kernel as a matrix per pixel ``(coils, coils, ny, nx)``: folded to unfolded coil images.

    Convolution in k-space is multiplication in the image; the folded images are those of k-space
    with zeros in the missing lines.
    """
    ny, nx = shape
    coils = kernel.weights.shape[1]
    half = kernel.columns // 2
    y = np.arange(ny) - ny // 2
    x = np.arange(nx) - nx // 2
    lines = np.array(kernel.offsets) * kernel.acceleration
    total = np.zeros((coils, coils, ny, nx), np.complex64)
    across = np.exp(2j * np.pi * np.outer(-np.arange(-half, half + 1), x) / nx)
    for step in range(1, kernel.acceleration):
        # A source at offset d from the target contributes exp(2 pi i (target - source) r / n).
        down = np.exp(2j * np.pi * np.outer(step - lines, y) / ny)
        total += np.einsum(
            "tsbc,by,cx->tsyx", kernel.weights[step - 1], down, across, optimize=True
        ).astype(np.complex64)
    total[np.arange(coils), np.arange(coils)] += 1
    return total
