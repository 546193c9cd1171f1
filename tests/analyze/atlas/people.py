"""Labelled people of one kind: a body of two parts, bent a little differently in each."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from somascope.analyze.atlas import Case, case
from somascope.core import Grid, Image, Mask, Provenance, Segment, Source

SHAPE = (26, 30, 28)
SPACING = (1.2, 1.0, 1.0)
SEGMENTS = (Segment(1, "Front"), Segment(2, "Back"))
GRID = Grid.from_spacing(SHAPE, SPACING, origin=(-14.0, -15.0, -15.0))


def body():
    """Labels and noiseless values: two halves of an ellipsoid in a textured surrounding."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    inside = (z / 0.6) ** 2 + (y / 0.7) ** 2 + (x / 0.55) ** 2 < 1
    labels = np.where(inside, np.where(y < 0.1, 1, 2), 0).astype(np.uint8)
    texture = gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 1.5)
    values = np.array([0.3, 0.8, 1.2])[labels] + 0.15 * texture / texture.std()
    return labels, gaussian_filter(values, 0.5)


def way(seed: int, *, size: float = 1.2):
    """A smooth displacement in voxels ``(3, nz, ny, nx)``, its largest component ``size``."""
    rng = np.random.default_rng(seed)
    field = np.stack([gaussian_filter(rng.normal(size=SHAPE), 5.0) for _ in range(3)])
    return field * size / np.abs(field).max()


def person(seed: int, *, noise: float = 0.03, size: float = 1.2, shift=(0, 0, 0)) -> Case:
    """Values and labels through one map; seed 0 is the body as it is."""
    labels, values = body()
    bend = way(seed, size=size) if seed else np.zeros((3, *SHAPE))
    at = np.indices(SHAPE) + bend + np.reshape(shift, (3, 1, 1, 1))
    moved = map_coordinates(values, at, order=1, mode="nearest")
    drawn = map_coordinates(labels, at, order=0, mode="nearest")
    moved = moved + noise * np.random.default_rng(100 + seed).normal(size=SHAPE)
    source = Provenance((Source("phantom", f"person {seed}"),))
    image = Image(moved.astype(np.float32), GRID, "MR", provenance=source)
    mask = Mask(data=drawn.astype(np.uint8), grid=GRID, segments=SEGMENTS, provenance=source)
    return case(image, mask)


def dice(a, b, number: int) -> float:
    one, two = np.asarray(a) == number, np.asarray(b) == number
    return 2 * (one & two).sum() / (one.sum() + two.sum())
