"""Delay-and-sum beamforming: channel data to the complex image."""

from __future__ import annotations

import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan, points_of
from somascope.acquire.ultrasound.choices import Compound, FNumber, Part, SpeedOfSound, Window
from somascope.acquire.ultrasound.das import Beamformer, in_band
from somascope.acquire.ultrasound.samples import frame_axes, scan_of
from somascope.core import QUIET, Acquisition, Axis, Grid, Image, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float


@operation("acquire.ultrasound.das")
def das(
    acquisition: Acquisition,
    *,
    f_number: FNumber = None,
    window: Window = "hann",
    compound: Compound = True,
    speed_of_sound: SpeedOfSound = None,
    part: Part = "complex",
    progress: Progress = QUIET,
) -> Image:
    """Beamform by delay and sum: the complex image whose modulus is the echoes' envelope.

    Each echo is taken where sound on its way out and back must have brought it, turned back by
    its carrier and added over the receiving aperture and over all transmits. RF is mixed down
    first. The image is complex64 (or its modulus, float32) on the scan's grid,
    ``(t?, transmit?, z, y, x)``; unit 1.

    Source: Montaldo et al. 2009, IEEE Trans UFFC 56:489 (plane waves, compounding).
    """
    scan = scan_of(acquisition, "acquire.ultrasound.das")
    seen(scan)
    progress(0.0, "mixing down")
    band, iq = in_band(acquisition, scan)
    made = Beamformer(
        band, columns_of(scan.grid), f_number=f_number, window=window,
        speed_of_sound=speed_of_sound,
    )  # fmt: skip
    values = made(iq, compound=compound, progress=Progress(
        lambda f, m: progress(0.1 + 0.9 * f, m)
    ))  # fmt: skip
    if part == "magnitude":
        values = np.abs(values)
    return image_of(acquisition, scan, values, compound=compound)


def columns_of(grid: Grid) -> Float:
    """Points of a grid as ``(nz * nx, ny, 3)`` mm: depth runs along the second axis."""
    nz, ny, nx = grid.shape
    points = points_of(grid).reshape(nz, ny, nx, 3)
    return np.ascontiguousarray(points.swapaxes(1, 2)).reshape(nz * nx, ny, 3)


def image_of(
    acquisition: Acquisition, scan: ChannelScan, values: Array, *, compound: bool = True
) -> Image:
    """The image of values ``(frames, [transmits,] nz * nx, ny)``; patient and history kept."""
    nz, ny, nx = scan.grid.shape
    data = np.ascontiguousarray(values.reshape(*values.shape[:-2], nz, nx, ny).swapaxes(-1, -2))
    axes = frame_axes(scan)
    if not axes:
        data = data[0]
    if not compound:
        axes = (*axes, Axis("transmit", tuple(float(k) for k in range(scan.transmit.count))))
    return Image(
        data=data, grid=scan.grid, modality="US", unit="1", axes=axes,
        provenance=acquisition.provenance, attributes=acquisition.attributes,
    )  # fmt: skip


def seen(scan: ChannelScan) -> None:
    """Refuse a grid of which no pixel is before the probe and within the record."""
    corners = scan.grid.to_world(
        [(z, y, x) for z in (0, scan.grid.shape[0] - 1) for y in (0, scan.grid.shape[1] - 1)
         for x in (0, scan.grid.shape[2] - 1)]
    )  # fmt: skip
    last = scan.start + scan.samples / scan.sampling_frequency
    reach = last * scan.speed_of_sound * 1e3
    if corners[:, 1].max() <= scan.probe.positions[:, 1].min():
        raise GeometryError(
            f"the grid ends at a depth of {corners[:, 1].max():g} mm, behind the probe; depth "
            "runs along +y from the probe's face"
        )
    nearest = max(float(corners[:, 1].min()), 0.0)
    if nearest > reach:
        raise GeometryError(
            f"the grid begins at a depth of {nearest:g} mm but the record ends before any echo "
            f"from beyond {reach / 2:g} mm; choose a grid within the field"
        )
