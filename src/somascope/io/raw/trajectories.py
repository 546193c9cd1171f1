"""MR readouts along trajectories that the file holds, as a non-Cartesian acquisition."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array, Float
from somascope.core.provenance import Provenance
from somascope.core.registry import build_operator
from somascope.io.raw.readouts import Encoding, Readouts, placed


def along(
    readouts: Readouts,
    encoding: Encoding,
    paths: Float,
    *,
    name: str,
    attributes: dict[str, Any],
    provenance: Provenance,
) -> list[Acquisition]:
    """One acquisition of all imaging readouts, samples ``(coils, [nz,] shots, samples)``.

    Parameters
    ----------
    paths
        Trajectory of each imaging readout ``(n, samples, d)``, order x, y(, z). Values within
        +- 0.5 are taken as shares of the matrix, others as cycles per field of view. A third
        value of a two-dimensional scan is its density compensation.

    Raises
    ------
    UnsupportedFormat
        Slices of different trajectories, several stacks, or repetitions of unequal length.
    """
    chosen = np.flatnonzero(readouts.imaging)
    stacks = placed(readouts, encoding, chosen, name)
    if len(stacks) != 1:
        raise UnsupportedFormat(f"{name} has {len(stacks)} stacks measured along trajectories")
    stack = stacks[0]
    coils = int(readouts.coils[chosen[0]])
    d = 3 if encoding.dimensions == 3 else 2
    if paths.shape[-1] < d:
        raise CorruptFile(f"{name} has a trajectory of {paths.shape[-1]} dimensions for {d}")
    density = np.abs(paths[..., 2]) if d == 2 and paths.shape[-1] == 3 else None
    where = paths[..., :d][..., ::-1]
    grid = stack.grid
    if np.abs(where).max() <= 0.5 + 1e-3:
        where = where * np.array(grid.shape[-d:])
    where = where * np.array(stack.signs[-d:])
    slices = readouts.counters["slice"][chosen]
    repeats = readouts.counters["repetition"][chosen]
    times = np.unique(repeats)
    shots = len(chosen) // (len(stack.slices) * len(times))
    if shots * len(stack.slices) * len(times) != len(chosen):
        raise UnsupportedFormat(
            f"{name} has {len(chosen)} readouts for {len(stack.slices)} slices and {len(times)} "
            "repetitions; they must have equally many"
        )
    count = paths.shape[1]
    samples = np.empty((len(times), coils, len(stack.slices), shots, count), np.complex64)
    first: Array | None = None
    for t, time in enumerate(times):
        for z, s in enumerate(stack.slices):
            rows = np.flatnonzero((slices == s) & (repeats == time))
            if len(rows) != shots:
                raise UnsupportedFormat(f"{name} has slices of unequal numbers of readouts")
            if first is None:
                first = rows
            elif np.abs(where[rows] - where[first]).max() > 1e-3:
                raise UnsupportedFormat(f"{name} changes its trajectory from slice to slice")
            for shot, row in enumerate(rows):
                values = readouts.load(int(chosen[row]))
                samples[t, :, z, shot] = values.conj() if encoding.negated else values
    assert first is not None
    leading = {"t": [float(v) for v in times]} if len(times) > 1 else None
    if len(stack.slices) == 1 or d == 3:
        samples = samples[:, :, 0]
    operator = build_operator(
        "mri.noncartesian",
        {
            "grid": grid, "trajectory": where[first], "coils": coils, "leading": leading,
            "density": None if density is None else density[first],
        },
    )  # fmt: skip
    noise = [readouts.load(int(i)) for i in np.flatnonzero(readouts.noise)]
    noise = [n for n in noise if len(n) == coils]
    calibration = {}
    if noise:
        joined = np.concatenate(noise, axis=1)
        calibration["noise"] = joined.conj() if encoding.negated else joined
    return [
        Acquisition(
            samples if leading else samples[0], operator, "MR", calibration=calibration,
            provenance=provenance, attributes=attributes,
        )
    ]  # fmt: skip
