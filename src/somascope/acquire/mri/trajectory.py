"""Radial and spiral trajectories in cycles per field of view, with their density compensation."""

from __future__ import annotations

import math

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Float

GOLDEN = math.pi * (math.sqrt(5) - 1) / 2
"""The golden angle of radial MRI in radians, 111.246 degrees (Winkelmann et al. 2007)."""


def radial(
    size: int, spokes: int, *, readout: int | None = None, golden: bool = False
) -> tuple[Float, Float]:
    """Spokes through the centre.

    Parameters
    ----------
    size
        Pixels across the (square) field; the spokes reach ``size / 2`` cycles.
    spokes
        Their number; ``pi / 2 * size`` samples the edge fully.
    readout
        Samples per spoke; default ``2 * size``.
    golden
        Turn by the golden angle from spoke to spoke instead of equal steps over half a turn.

    Returns
    -------
    trajectory, density
        ``(spokes, readout, 2)`` as ``(ky, kx)``, and the ramp ``(spokes, readout)`` in units in
        which a full lattice has 1 everywhere.
    """
    if spokes < 1 or size < 2:
        raise ParameterError(f"a radial trajectory of {spokes} spokes for {size} pixels is none")
    readout = 2 * size if readout is None else readout
    angle = np.arange(spokes) * (GOLDEN if golden else np.pi / spokes)
    step = size / readout
    k = (np.arange(readout) - readout // 2) * step
    where = np.stack([np.sin(angle)[:, None] * k, np.cos(angle)[:, None] * k], axis=-1)
    where = where.astype(np.float64)
    # Area of a ring's share per sample; the centre's disk of radius step / 2 is shared by all.
    ramp = np.where(k == 0, np.pi * step**2 / 4, np.pi * np.abs(k) * step) / spokes
    return where, np.broadcast_to(ramp, where.shape[:-1]).copy()


def spiral(
    size: int, interleaves: int, *, readout: int | None = None, turns: float | None = None
) -> tuple[Float, Float]:
    """Archimedean spirals from the centre, soon at constant speed along the arm.

    Parameters
    ----------
    size
        Pixels across the field; the spirals end at ``size / 2`` cycles.
    interleaves
        Number of arms.
    readout
        Samples per arm; default about two per cycle along the arm.
    turns
        Turns of each arm; default as many as sample the field fully, ``size / (2 interleaves)``.

    Returns
    -------
    trajectory, density
        ``(interleaves, readout, 2)`` as ``(ky, kx)`` and ``(interleaves, readout)``: each sample
        has its share of the ring between its neighbours.
    """
    if interleaves < 1 or size < 2:
        raise ParameterError(f"a spiral of {interleaves} arms for {size} pixels is none")
    turns = size / (2 * interleaves) if turns is None else turns
    length = np.pi * size * turns / 2
    readout = int(np.ceil(2 * length)) if readout is None else readout
    # Radius grows as the root of time but for the start, where it takes steps of half a cycle.
    soft = size / (2 * readout)
    time = np.arange(readout + 1) / readout
    grown = np.sqrt(time + soft**2) - soft
    radius = size / 2 * grown / grown[-1]
    angle = 2 * np.pi * turns * radius * 2 / size
    edges = np.concatenate([[0.0], (radius[1:] + radius[:-1]) / 2])
    share = np.pi * np.diff(edges**2) / interleaves
    radius, angle = radius[:-1], angle[:-1]
    arms = 2 * np.pi * np.arange(interleaves)[:, None] / interleaves
    where = np.stack([radius * np.sin(angle + arms), radius * np.cos(angle + arms)], axis=-1)
    area = np.broadcast_to(share, where.shape[:-1]).copy()
    return where, area
