"""A beating heart in ultrasound: a ring that contracts, in speckle that moves with it."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Grid
from somascope.core.image import Axis, Image
from somascope.phantoms.patient import facts, source

STUDY = "heart"
_DEPTH_MM = 160.0
_CENTRE = (4.0, 82.0)
_OUTER = 46.0


def cavity_radius(phase: float) -> float:
    """Radius of the cavity in mm at ``phase`` 0 to 1 of the beat: from 30 to 19 and back."""
    return 24.5 + 5.5 * float(np.cos(2 * np.pi * phase))


def heart_us(*, frames: int = 24, size: int = 256, rate_hz: float = 24.0, seed: int = 6) -> Image:
    """A short-axis cine of one beat per second, uint8, shape ``(t, 1, y, x)``.

    Fully developed speckle: a complex Gaussian field, fixed in the tissue, is carried along with
    the wall, blurred to the resolution of the beam (0.8 mm by 1.8 mm) and log compressed to 55 dB.
    The sector opens downwards from the probe; a bright dot marks the picture's left.

    Parameters
    ----------
    frames
        Number of frames.
    size
        Rows and columns over 160 mm of depth.
    rate_hz
        Frames per second.
    seed
        Of the speckle.
    """
    from scipy.ndimage import gaussian_filter1d, map_coordinates

    step = _DEPTH_MM / size
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((2, size, size), np.float32)
    y, x = np.meshgrid(np.arange(size) * step, (np.arange(size) - size / 2) * step, indexing="ij")
    depth, angle = np.hypot(y, x), np.degrees(np.arctan2(x, y))
    sector = (np.abs(angle) < 40) & (depth > 6) & (depth < _DEPTH_MM - 3)
    r = np.hypot(x - _CENTRE[0], y - _CENTRE[1]) + 1e-6
    data = np.zeros((frames, 1, size, size), np.uint8)
    for k in range(frames):
        inner = cavity_radius(k / rate_hz % 1.0)
        wall = (r > inner) & (r < _OUTER)
        # The wall keeps its volume: r^2 - inner^2 stays what it was in diastole.
        rest = np.sqrt(np.maximum(r**2 - inner**2 + cavity_radius(0.0) ** 2, 1.0))
        scale = np.where(wall, rest, np.where(r <= inner, r / inner * cavity_radius(0.0), r)) / r
        place = [
            (_CENTRE[1] + (y - _CENTRE[1]) * scale) / step,
            (_CENTRE[0] + (x - _CENTRE[0]) * scale) / step + size / 2,
        ]
        echo = np.where(r <= inner, 0.015, np.where(wall, 0.45, 0.22))
        echo = echo + 0.9 * np.exp(-(((r - inner) / 1.2) ** 2))
        echo = echo + 1.2 * np.exp(-(((r - _OUTER) / 1.4) ** 2))
        amplitude = []
        for part in field:
            moved = map_coordinates(part, place, order=1, mode="wrap") * echo
            moved = gaussian_filter1d(moved, 0.8 / 2.355 / step, axis=0)
            amplitude.append(gaussian_filter1d(moved, 1.8 / 2.355 / step, axis=1))
        envelope = np.hypot(*amplitude) * np.exp(-depth / 260)
        decibel = 20 * np.log10(envelope / 0.9 + 1e-6)
        shown = np.clip((decibel + 55) / 55, 0, 1) * 255
        data[k, 0] = np.where(sector, shown, 0).astype(np.uint8)
    data[:, 0, 6:12, 6:12] = 255
    grid = Grid.from_spacing((1, size, size), (1.0, step, step))
    times = tuple(k / rate_hz for k in range(frames))
    return Image(
        data=data,
        grid=grid,
        modality="US",
        axes=(Axis("t", times, "s"),),
        provenance=source("heart_us"),
        attributes={
            **facts(STUDY, "Phantom^Heart", "Short axis cine", time="130000"),
            "BodyPartExamined": "HEART",
        },
    )
