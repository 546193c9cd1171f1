"""`acquire.ultrasound.strain`: how much tissue gives way under slight pressure."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.ultrasound.choices import SpeedOfSound
from somascope.acquire.ultrasound.doppler_frames import Frequency, Slow, slow_time
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array


def baseband(frames: Array, *, depth: Array, frequency: float, speed: float) -> Array:
    """Frames without their carrier along depth: ``s exp(-4 pi i f z / c)``.

    A beamformed echo of a scatterer at z0 has the phase ``4 pi f (z - z0) / c`` at the pixel z;
    between rows, only what is left without that may be interpolated. ``depth`` in metres,
    broadcast against ``(..., ny, nx)``.
    """
    return frames * np.exp(-4j * np.pi * frequency / speed * depth).astype(frames.dtype)


def planes(slow: Slow, name: str) -> tuple[Array, float]:
    """Baseband frames ``(t, ny, nx)`` of a flat image, and the rows' distance in metres."""
    image = slow.image
    if image.grid.shape[0] != 1:
        raise GeometryError(
            f"{name}: the grid is {image.grid.shape}; give a plane (nz = 1), rows along the beam"
        )
    dy = image.grid.spacing[1] * 1e-3
    depth = np.arange(image.grid.shape[1])[:, None] * dy
    frames = baseband(slow.frames[:, 0], depth=depth, frequency=slow.frequency, speed=slow.speed)
    return frames, dy


@operation("acquire.ultrasound.strain")
def strain(
    frames: Image | Acquisition,
    *,
    reference: Annotated[int, Param("Number of the frame before", minimum=0)] = 0,
    frame: Annotated[
        int | None, Param("Number of the frame after; the last one if not given", minimum=1)
    ] = None,
    window: Annotated[
        float, Param("Length of the pieces compared, along the beam", unit="mm", minimum=0.2,
                     maximum=20.0)
    ] = 1.5,
    width: Annotated[
        float, Param("Width of the pieces compared", unit="mm", minimum=0.0, maximum=20.0)
    ] = 0.8,
    gradient: Annotated[
        float, Param("Length over which the slope is taken", unit="mm", minimum=0.2, maximum=40.0)
    ] = 3.0,
    most: Annotated[
        float, Param("Largest displacement at the probe", unit="mm", minimum=0.01, maximum=10.0)
    ] = 1.0,
    quantity: Annotated[
        Literal["strain", "displacement", "correlation"],
        Param("Strain in percent (compression positive), displacement in mm (deeper is positive)"),
    ] = "strain",
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Map the axial strain between two frames: stiff parts give way less.

    Complex IQ frames ``(t, 1, ny, nx)``, rows along the beam, in; float32 ``(1, ny, nx)`` out.
    Displacements by the phase of the correlation, guided from row to row; strain is the slope of
    a straight line fitted to them over ``gradient``.
    """
    name = "acquire.ultrasound.strain"
    slow = slow_time(frames, name, frequency=frequency, speed=speed_of_sound)
    image = slow.image
    count = len(slow.frames)
    last = count - 1 if frame is None else frame
    if not (reference < count and last < count) or last == reference:
        raise ParameterError(
            f"{name}: frames {reference} and {last} of {count}; give two different ones that exist"
        )
    from somascope.acquire.ultrasound.elastography_tracking import slope, track

    film, dy = planes(slow, name)
    dx = image.grid.spacing[2]
    turn = 4 * np.pi * slow.frequency * dy / slow.speed
    tall = max(round(window / 2 / (dy * 1e3)), 2)
    if 8 * tall > film.shape[1]:
        raise ParameterError(
            f"{name}: pieces of {window:g} mm in an image of {film.shape[1] * dy * 1e3:.3g} mm "
            "depth; take shorter ones"
        )
    progress(0.0, "tracking")
    moved, quality = track(
        film[reference].astype(np.complex128), film[last].astype(np.complex128), turn,
        most / (dy * 1e3), tall, round(width / 2 / dx),
    )  # fmt: skip
    progress(0.8, "tracking")
    if quantity == "displacement":
        values, unit = moved * dy * 1e3, "mm"
    elif quantity == "correlation":
        values, unit = quality, "1"
    else:
        rows = max(round(gradient / 2 / (dy * 1e3)), 1)
        values, unit = -100.0 * slope(moved, quality**2, rows=rows), "%"
    progress(1.0, "tracked")
    return replace(image, data=values[None].astype(np.float32), axes=(), unit=unit)
