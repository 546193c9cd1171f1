"""Line by line: every transmit makes one line of sight, as focused scans are meant."""

from __future__ import annotations

import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.convert import line_points, scan_convert
from somascope.acquire.ultrasound.das import Beamformer
from somascope.core import QUIET, Progress
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float


def lines_of(scan: ChannelScan) -> tuple[Float, Float]:
    """Where each transmit's line begins (mm) and its direction: ``(transmits, 3)`` each.

    From the middle of the active elements to the focus, away from the virtual source, or along
    the plane wave. A focus straight before an element of a linear or convex probe has that
    element's line, also where the active aperture is cut off at the probe's end.
    """
    waves = scan.transmit
    middle = waves.apodisation @ scan.probe.positions
    middle /= waves.apodisation.sum(axis=1, keepdims=True)
    if waves.kind == "plane":
        way = waves.vectors
    elif waves.kind == "focused":
        way = waves.vectors - middle
    elif waves.kind == "diverging":
        way = middle - waves.vectors
    else:
        raise GeometryError("transmits known by their delays alone have no lines; beamform pixels")
    length: Float = np.linalg.norm(way, axis=1, keepdims=True)
    if (length < 1e-6).any():
        raise GeometryError(
            "a wave from an element has no line of its own; beamform pixels (form=pixels)"
        )
    way = way / length
    if waves.kind == "focused" and scan.probe.kind in ("linear", "convex"):
        for t, focus in enumerate(waves.vectors):
            gap = focus - scan.probe.positions
            deep = np.einsum("ek,ek->e", gap, scan.probe.normals)
            side = gap - deep[:, None] * scan.probe.normals
            e = int(np.argmin(np.linalg.norm(side, axis=1)))
            if np.linalg.norm(side[e]) < scan.probe.pitch:
                middle[t], way[t] = scan.probe.positions[e] + side[e], scan.probe.normals[e]
    return middle, way


def line_envelopes(
    scan: ChannelScan,
    iq: Array,
    *,
    f_number: float | None,
    window: str,
    speed_of_sound: float | None = None,
    progress: Progress = QUIET,
) -> tuple[Array, Float, Float, Float]:
    """Envelopes ``(frames, transmits, depths)`` along every transmit's line.

    ``iq`` is ``(frames, transmits, elements, time)`` of ``scan``. Also returned: starts and
    directions of the lines, and depths in mm.
    """
    starts, directions = lines_of(scan)
    bottom = scan.grid.to_world([0, scan.grid.shape[1] - 1, 0])[1]
    reach = (bottom - starts[:, 1].min()) / max(float(directions[:, 1].min()), 0.2)
    step = min(scan.grid.spacing[1], scan.probe.wavelength(scan.speed_of_sound) / 2)
    depths = np.arange(0.0, reach + step, step)
    points = line_points(starts, directions, depths)
    out = np.empty((len(iq), len(starts), len(depths)), np.float32)
    for t in progress.over(range(len(starts)), "beamforming"):
        # A line is folded into columns, so that a tile is full of it.
        one = scan.with_changes(transmit=scan.transmit.subset([t]))
        made = Beamformer(
            one, _folded(points[t]), f_number=f_number, window=window,
            speed_of_sound=speed_of_sound,
        )  # fmt: skip
        values = made(iq[:, t : t + 1])
        out[:, t] = np.abs(values.reshape(len(iq), -1)[:, : len(depths)])
    return out, starts, directions, depths


def _folded(line: Float) -> Float:
    """A line ``(depths, 3)`` in pieces of one tile's depth: ``(pieces, 64, 3)``."""
    from somascope.acquire.ultrasound.das_kernel import DEPTH

    spare = -len(line) % DEPTH
    return np.pad(line, ((0, spare), (0, 0)), mode="edge").reshape(-1, DEPTH, 3)


__all__ = ["line_envelopes", "lines_of", "scan_convert"]
