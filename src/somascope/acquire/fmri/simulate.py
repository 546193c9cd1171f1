"""A run whose truth is known: a head that moves, drifts and answers a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire import rigid, splines
from somascope.acquire.fmri.design import Events, read_events, regressors
from somascope.core import QUIET, Axis, Grid, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

SliceOrder = Literal["together", "ascending", "interleaved"]
SPHERES = (36.0, 12.0, 40.0, 11.0, 2.0, -34.0, 40.0, 12.0, 11.0, 2.0)


@dataclass(frozen=True)
class Sphere:
    """A place that answers: centre (LPS mm), radius (mm), answer (% of the local signal)."""

    centre: tuple[float, float, float]
    radius: float
    percent: float


def spheres(numbers: Sequence[float]) -> tuple[Sphere, ...]:
    """Spheres from five numbers each: L, P, S, radius, per cent."""
    if len(numbers) % 5:
        raise ParameterError(
            f"spheres has {len(numbers)} numbers; give five each: L, P, S and radius in mm, percent"
        )
    rows = [numbers[i : i + 5] for i in range(0, len(numbers), 5)]
    if any(r[3] <= 0 for r in rows):
        raise ParameterError("spheres: every radius has to be above 0 mm")
    return tuple(Sphere((r[0], r[1], r[2]), r[3], r[4]) for r in rows)


def blocks(conditions: int, *, length: float, rest: float, total: float) -> Events:
    """Blocks of each condition in turn, rest before and between, until ``total`` s.

    Shorter where the run would end before every condition had its block.
    """
    longest = total / (2 * conditions + 1)
    length, rest = min(length, longest), min(rest, longest)
    onset = np.arange(rest, total - length / 2, length + rest)
    names = tuple(f"task{chr(97 + i % conditions)}" for i in range(onset.size))
    return Events(onset, np.full(onset.size, length), names, np.ones(onset.size))


def slice_times(slices: int, repetition: float, order: SliceOrder) -> Float:
    """S after the scan's start at which each slice (in the order of z) is measured."""
    if order == "together":
        return np.zeros(slices)
    rank = np.arange(slices)
    if order == "interleaved":
        turn = np.concatenate([np.arange(0, slices, 2), np.arange(1, slices, 2)])
        rank = np.empty(slices, int)
        rank[turn] = np.arange(slices)
    return rank * repetition / slices


def head_motion(scans: int, *, translation: float, rotation: float, seed: int) -> Float:
    """Motion of each scan ``(scans, 6)`` in mm and degrees (`rigid`); the first is 0.

    A smoothed random walk whose greatest excursions are ``translation`` and ``rotation``.
    """
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng([seed, 6])
    walk = gaussian_filter1d(rng.normal(size=(scans, 6)).cumsum(axis=0), 1.5, axis=0)
    walk -= walk[0]
    top = np.maximum(np.abs(walk).max(axis=0), 1e-12)
    return walk / top * np.array([translation] * 3 + [rotation] * 3)


def activation(grid: Grid, places: Sequence[Sphere]) -> Array:
    """Share of the signal each sphere adds, ``(spheres, nz, ny, nx)``, its edge two mm soft."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    world = grid.to_world(index)
    layers = [
        np.clip((p.radius + 1 - np.linalg.norm(world - p.centre, axis=-1)) / 2, 0, 1)
        * (p.percent / 100)
        for p in places
    ]
    return np.array(layers, np.float32).reshape(len(places), *grid.shape)


def coarse_grid(grid: Grid, voxel: Sequence[float]) -> Grid:
    """The same region in voxels of ``voxel`` (dz, dy, dx) mm."""
    extent = np.asarray(grid.shape) * grid.spacing
    shape = np.maximum(np.rint(extent / voxel), 1).astype(int)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.direction * np.asarray(voxel, np.float64)
    affine[:3, 3] = rigid.centre_of(grid) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine, grid.frame_of_reference)


@operation("acquire.fmri.simulate")
def simulate(
    image: Image,
    *,
    scans: Annotated[int, Param("Number of scans", minimum=8, maximum=5000)] = 120,
    repetition_time: Annotated[
        float, Param("From scan to scan", unit="s", minimum=0.1, maximum=20.0)
    ] = 2.0,
    voxel: Annotated[
        tuple[float, float, float],
        Param("Voxel of the run, dz, dy, dx", unit="mm", minimum=0.5, maximum=20.0),
    ] = (4.0, 3.5, 3.5),
    events: Annotated[
        str, Param("Task as the text of a BIDS events.tsv; blocks if empty", advanced=True)
    ] = "",
    block: Annotated[
        float, Param("Length of a block and of the rest between", unit="s", minimum=1.0)
    ] = 20.0,
    places: Annotated[
        tuple[float, ...],
        Param(
            "Active places, five numbers each: L, P, S and radius in mm, percent; the n-th "
            "answers the n-th condition"
        ),
    ] = SPHERES,
    noise: Annotated[
        float, Param("Standard deviation of the noise", unit="%", minimum=0.0, maximum=50.0)
    ] = 1.0,
    correlation: Annotated[
        float, Param("Of the noise from scan to scan (AR(1))", minimum=0.0, maximum=0.95)
    ] = 0.3,
    drift: Annotated[
        float, Param("Slow drift over the run", unit="%", minimum=0.0, maximum=50.0)
    ] = 1.0,
    translation: Annotated[
        float, Param("Greatest motion along each axis", unit="mm", minimum=0.0, maximum=20.0)
    ] = 0.0,
    rotation: Annotated[
        float, Param("Greatest turn about each axis", unit="deg", minimum=0.0, maximum=20.0)
    ] = 0.0,
    slices: Annotated[SliceOrder, Param("Order in which slices are measured")] = "together",
    seed: Annotated[int, Param("Of noise, drift and motion", minimum=0)] = 0,
    progress: Progress = QUIET,
) -> Image:
    """Measure a functional run of a head: task, motion, drift, noise, slice by slice.

    The image is the signal at rest, blurred to the voxel of the run. The answer of each sphere is
    its condition's events through the canonical response, in per cent of the local signal; motion
    is that of `head_motion` with the same seed, about the centre of the run's grid. Noise and
    drift are in per cent of the mean signal of the head. Shape ``(nz, ny, nx)`` to
    ``(t, nz', ny', nx')``, float32; slice times and task are in the attributes
    ``SliceTiming`` and ``Events``.
    """
    if image.axes or image.data.dtype.kind == "c":
        raise ParameterError(
            f"acquire.fmri.simulate needs one real volume and this image has the axes "
            f"{image.axis_names} of {image.data.dtype}; take one with image.at(...)"
        )
    active_places = spheres(places)
    total = scans * repetition_time
    task = (
        read_events(events)
        if events.strip()
        else blocks(max(len(active_places), 1), length=block, rest=block, total=total)
    )
    if len(active_places) > len(task.names):
        raise ParameterError(
            f"{len(active_places)} places for the conditions {', '.join(task.names)}; the n-th "
            "place answers the n-th condition: give at most as many places"
        )
    grid = coarse_grid(image.grid, voxel)
    times = slice_times(grid.shape[0], repetition_time, slices)
    moved = head_motion(scans, translation=translation, rotation=rotation, seed=seed)
    still, active = _sources(image, grid, active_places)
    course = _courses(task, active_places, scans, repetition_time, times)
    data = _scans(still, active, image.grid, grid, moved, course, progress)
    _disturb(data, noise=noise, correlation=correlation, drift=drift, seed=seed, total=total)
    progress(1.0, "measured")
    facts = {
        **{k: v for k, v in image.attributes.items() if k not in ("InversionTime", "ImageType")},
        "SeriesDescription": "BOLD run",
        "RepetitionTime": repetition_time * 1000,
        "EchoTime": 30.0,
        "ScanningSequence": ["EP", "GR"],
        "SequenceVariant": ["NONE"],
        "MRAcquisitionType": "2D",
        "SliceThickness": float(voxel[0]),
        "SliceTiming": [round(float(t), 6) for t in times],
        "Events": task.tsv(),
    }
    axis = Axis("t", tuple(round(k * repetition_time, 9) for k in range(scans)), "s")
    return replace(
        image, data=data, grid=grid, modality="MR", unit="1", axes=(axis,), attributes=facts
    )


def _courses(
    task: Events, places: Sequence[Sphere], scans: int, repetition: float, times: Float
) -> Float:
    """Answer of each sphere in each slice, ``(spheres, scans, nz)``, 1 at the end of a block."""
    frames = np.arange(scans) * repetition
    out = np.zeros((len(places), scans, times.size))
    for k, t in enumerate(times):
        columns, _ = regressors(task, frames + t)
        out[:, :, k] = columns[:, : len(places)].T
    return out


def _sources(image: Image, grid: Grid, places: Sequence[Sphere]) -> tuple[Array, list[Array]]:
    """Spline coefficients of the signal, and of each sphere's share of it, on the fine grid."""
    from scipy.ndimage import gaussian_filter

    fine = image.data.astype(np.float32)
    if not np.isfinite(fine).all():
        raise ParameterError("acquire.fmri.simulate: the image has values that are not finite")
    # A Gaussian as wide as the voxel keeps what the coarse lattice can carry.
    width = np.asarray(grid.spacing) / np.asarray(image.grid.spacing)
    sigma = [0.55 * w if n > 1 else 0.0 for w, n in zip(width, fine.shape, strict=True)]
    base = gaussian_filter(fine, sigma, mode="nearest")
    layers = activation(image.grid, places) * fine
    return splines.coefficients(base), [
        splines.coefficients(gaussian_filter(layer, sigma, mode="nearest")) for layer in layers
    ]


def _scans(
    still: Array, active: Sequence[Array], fine: Grid, grid: Grid, moved: Float, course: Float,
    progress: Progress,
) -> Array:  # fmt: skip
    centre = rigid.centre_of(grid)
    data = np.empty((len(moved), *grid.shape), np.float32)
    layers: list[Array] = []
    for k, motion in enumerate(progress.over(moved, "scanning")):
        if k == 0 or motion.any() or moved[k - 1].any():
            back = np.linalg.inv(rigid.matrix(motion, centre)).astype(np.float64)
            affine = rigid.between(fine, back, grid)
            layers = [splines.resample(c, affine, grid.shape) for c in (still, *active)]
        data[k] = layers[0]
        for i, layer in enumerate(layers[1:]):
            data[k] += layer * course[i, k].astype(np.float32)[:, None, None]
    return data


def _disturb(
    data: Array, *, noise: float, correlation: float, drift: float, seed: int, total: float
) -> None:
    """Add drift and noise in place, in per cent of the mean signal."""
    bright = data[0] > data[0].mean()
    level = float(np.abs(data[0][bright]).mean()) if bright.any() else 1.0
    scans, shape = len(data), data.shape[1:]
    if drift:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng([seed, 1])
        t = np.linspace(0, 1, scans)
        # Faster than 140 s it would be no drift: a high-pass filter must be able to take it off.
        for order in (1, 2) if total >= 140 else (1,):
            field = gaussian_filter(rng.normal(size=shape).astype(np.float32), 4, mode="nearest")
            field = 1 + 0.5 * field / max(float(field.std()), 1e-9)
            curve = np.cos(np.pi * order * t) * drift / 200 * (1 if order == 1 else 0.5)
            data += (curve[:, None, None, None] * field).astype(np.float32) * data[0]
    if noise:
        rng = np.random.default_rng([seed, 2])
        last = np.zeros(shape, np.float32)
        fresh = np.float32(np.sqrt(1 - correlation**2))
        for k in range(scans):
            new = rng.standard_normal(shape, np.float32)
            last = new if k == 0 else np.float32(correlation) * last + fresh * new
            data[k] += np.float32(noise / 100 * level) * last
