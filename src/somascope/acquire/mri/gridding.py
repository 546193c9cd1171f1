"""Density compensation, and gridding: a non-Cartesian image in one transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.results import Part, image_of, scan_of
from somascope.acquire.nufft import NUFFT, check_points
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def ramp(trajectory: Array) -> Array:
    """Weights of a radial trajectory, ``|k| ** (d - 1)``: the area each sample stands for.

    The centre gets a quarter of its neighbours' step (Lauzon and Rutt 1996). Scaled as in
    `density`.

    Parameters
    ----------
    trajectory
        ``(spokes, readout, d)``, cycles per field of view.
    """
    radius = np.linalg.norm(np.asarray(trajectory, np.float64), axis=-1)
    step = np.median(np.abs(np.diff(radius, axis=-1)))
    return np.maximum(radius, step / 4) ** (np.shape(trajectory)[-1] - 1)


def pipe_menon(trajectory: Array, shape: Sequence[int], *, iterations: int = 20) -> Array:
    """Weights for any trajectory: ``w <- w / (G w)`` until gridding them gives one everywhere.

    Pipe and Menon 1999 (Magn Reson Med 41:179) with the kernel of Johnson and Pipe 2009: the
    transform of a triangle as wide as two fields of view, ``sinc^2``, which is nowhere negative.
    """
    wide = tuple(2 * n for n in shape)
    transform = NUFFT(2 * check_points(trajectory, shape), wide, tolerance=1e-3)
    window = np.ones(wide, np.float32)
    for axis, n in enumerate(wide):
        profile = (1 - np.abs(np.arange(n) - n // 2) / (n // 2)).astype(np.float32)
        window *= profile.reshape([-1 if a == axis else 1 for a in range(len(wide))])
    weights = np.ones(trajectory.shape[:-1], np.complex64)
    for _ in range(iterations):
        spread = transform.forward(transform.adjoint(weights) * window)
        weights /= np.maximum(np.abs(spread), 1e-30 * float(np.abs(spread).max()))
    return weights.real.astype(np.float64)


def voronoi(trajectory: Array, shape: Sequence[int]) -> Array:
    """Weights as the area of each sample's Voronoi cell, cut at the band's edge; 2-D only.

    Samples at the same place share their cell.
    """
    from scipy.spatial import Voronoi

    points = check_points(trajectory, shape).reshape(-1, 2)
    unique, inverse, counts = np.unique(
        np.round(points, 9), axis=0, return_inverse=True, return_counts=True
    )
    if len(unique) < 3:
        raise ParameterError("voronoi needs at least three different sample positions")
    # A ring of mirrors outside closes the outermost cells.
    limit = float(np.linalg.norm(points, axis=1).max()) * 1.02 + 1e-6
    turns = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = 1.06 * limit * np.stack([np.sin(turns), np.cos(turns)], -1)
    diagram = Voronoi(np.concatenate([unique, ring]))
    area = np.zeros(len(unique))
    for i in range(len(unique)):
        corners = diagram.vertices[diagram.regions[diagram.point_region[i]]]
        radius = np.linalg.norm(corners, axis=1, keepdims=True)
        corners = corners * np.minimum(1, limit / np.maximum(radius, 1e-30))
        y, x = corners.T
        area[i] = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    return (area / counts)[inverse.ravel()].reshape(np.shape(trajectory)[:-1])


def density(
    scan: NonCartesianScan, *, method: Literal["pipe", "ramp", "voronoi"] = "pipe"
) -> Array:
    """Weights for ``scan``, scaled so that gridding keeps the brightness: sum = number of voxels.

    With them ``A^H (w y)`` of a fully sampled scan is about the image itself (unit gain at DC of
    the point spread function, within the sampled disc).
    """
    if method == "ramp":
        weights = ramp(scan.trajectory)
    elif method == "voronoi":
        weights = voronoi(scan.trajectory, scan.plane)
    else:
        weights = pipe_menon(scan.trajectory, scan.plane)
    return scaled(weights, scan)


def scaled(weights: Array, scan: NonCartesianScan) -> Array:
    """``weights`` times the factor that gives gridding unit gain.

    Each sample stands for an area of k-space; all together for the sampled ellipse (or box), whose
    area in lattice cells is what the weights must sum to.
    """
    radii = np.abs(scan.trajectory.reshape(-1, scan.dimensions)).max(axis=0)
    inside = (scan.trajectory / np.maximum(radii, 1e-12)) ** 2
    ball = np.pi if scan.dimensions == 2 else 4 / 3 * np.pi
    round_ = bool((inside.sum(axis=-1) <= 1.02).all())
    cells = (ball if round_ else 2**scan.dimensions) * float(np.prod(radii))
    return weights * (cells / float(weights.sum()))


def gridded(samples: Array, scan: NonCartesianScan, *, weights: Array | None = None) -> Array:
    """Density-compensated image of each coil, ``(*leading, coils, nz, ny, nx)``."""
    if weights is None:
        weights = density(scan) if scan.density is None else scaled(scan.density, scan)
    samples = np.asarray(samples)
    real = np.float32 if samples.dtype == np.complex64 else np.float64
    return scan.coil_images(samples * weights.astype(real))


@operation("acquire.mri.gridding")
def gridding(
    acquisition: Acquisition,
    *,
    compensation: Annotated[
        Literal["auto", "pipe", "ramp", "voronoi"],
        Param("Density of the samples: auto takes that of the raw data, else Pipe and Menon's"),
    ] = "auto",
    combine: Annotated[
        Literal["rss", "maps"], Param("Coils: root of the sum of squares, or with sensitivities")
    ] = "rss",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Image of a scan along a trajectory in one transform (density-compensated gridding)."""
    name = "acquire.mri.gridding"
    scan = scan_of(acquisition, name)
    if not isinstance(scan, NonCartesianScan):
        raise ParameterError(
            f"{name} takes a scan along a trajectory, not {scan.kind}; use acquire.mri.rss or "
            "acquire.mri.sense"
        )
    progress(0.0, "density")
    if compensation == "auto":
        weights = density(scan) if scan.density is None else scaled(scan.density, scan)
    else:
        weights = density(scan, method=compensation)
    progress(0.4, "transform")
    if combine == "maps":
        from somascope.acquire.mri.sense import with_maps

        mapped = with_maps(acquisition, name)
        data = mapped.adjoint(acquisition.samples * weights.astype(np.float32))
    else:
        images = gridded(acquisition.samples, scan, weights=weights)
        if part == "magnitude" or scan.coils > 1:
            data = np.sqrt((np.abs(images) ** 2).sum(axis=-4))
        else:
            data = images[..., 0, :, :, :]
    progress(1.0, "reconstructed")
    return image_of(acquisition, data, part=part)
