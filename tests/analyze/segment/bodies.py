"""Bodies of closed form with noise, on grids of any spacing, and how near a mask comes to them."""

from __future__ import annotations

import numpy as np

from somascope.core import Grid, Image, Mask, Segment
from somascope.learn.metrics.regions import assd
from somascope.learn.metrics.regions import dice as overlap

ROUND = (1.0, 1.0, 1.0)
LONG = (2.5, 1.0, 1.0)


def grid(shape, spacing=ROUND):
    """About the origin, axial."""
    made = Grid.from_spacing(shape, spacing)
    affine = made.affine.copy()
    affine[:3, 3] -= made.to_world((np.array(shape) - 1) / 2)
    return Grid(made.shape, affine, "1.2.3")


def places(at):
    """Of all voxels, ``(nz, ny, nx, 3)`` L P S in mm."""
    return at.to_world(np.stack(np.meshgrid(*map(np.arange, at.shape), indexing="ij"), axis=-1))


def ball(at, radius, centre=(0.0, 0.0, 0.0)):
    return ((places(at) - centre) ** 2).sum(axis=-1) < radius**2


def noisy(at, inside, *, high=100.0, low=0.0, noise=15.0, seed=0, **more):
    data = np.where(inside, high, low) + np.random.default_rng(seed).normal(0, noise, inside.shape)
    return Image(data.astype(np.float32), at, **more)


def scribbled(at, *parts):
    """Segments 1, 2 ... where each of ``parts`` is True."""
    data = np.zeros(at.shape, np.uint8)
    for k, part in enumerate(parts, start=1):
        data[part] = k
    segments = tuple(Segment(k, f"Part {k}") for k in range(1, len(parts) + 1))
    return Mask(data=data, grid=at, segments=segments)


def dice(found, truth):
    return overlap(np.asarray(found) > 0, np.asarray(truth) > 0)


def apart(found, truth, spacing):
    """Mean distance in mm of two surfaces."""
    return assd(np.asarray(found) > 0, np.asarray(truth) > 0, spacing)
