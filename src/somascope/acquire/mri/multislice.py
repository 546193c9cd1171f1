"""Simultaneous slices: several excited at once, shifted against each other, told apart by coils.

Lines whose blips step a simultaneous group through ``bands`` phases are a three-dimensional scan of
those few slices with one ``kz`` per line (blipped CAIPI; Setsompop et al. 2012, Zahneisen et al.
2014). So a group is a `CartesianScan` over a grid of the group's slices, and every reconstruction
that takes one separates them; `sms` does it by least squares (SENSE) and puts the slices in order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.results import Part, image_of
from somascope.acquire.mri.sense import Maps, share, solve, with_maps
from somascope.acquire.mri.sensitivity import loop_sensitivities
from somascope.acquire.mri.simulate import NOISE_SAMPLES, sampling_mask
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid


def blipped(lines: Array, bands: int) -> Array:
    """Sampling ``(bands, ky, 1)``: the i-th measured line has ``kz = i mod bands``."""
    mask = np.zeros((bands, len(lines), 1), bool)
    for i, ky in enumerate(np.flatnonzero(lines)):
        mask[i % bands, ky] = True
    return mask


@operation("acquire.mri.sms_simulate")
def sms_simulate(
    image: Image,
    *,
    bands: Annotated[int, Param("Slices excited at once", minimum=2, maximum=8)] = 2,
    acceleration: Annotated[
        int, Param("Every how many phase encodings is measured", minimum=1, maximum=8)
    ] = 1,
    coils: Annotated[int, Param("Receive coils around the field", minimum=2, maximum=64)] = 8,
    snr: Annotated[
        float | None,
        Param("Mean signal over noise of a voxel of a single slice; none: no noise", minimum=0.1),
    ] = 50.0,
    seed: Annotated[int, Param("Of the noise", minimum=0)] = 0,
    progress: Progress = QUIET,
) -> list[Acquisition]:
    """Measure a stack of slices, several at a time: one acquisition per group.

    The slices of a group lie as far apart as the stack allows. ``calibration`` holds the true
    ``sensitivities`` of the group's slices and a ``noise`` scan.

    Raises
    ------
    ParameterError
        Leading axes, values that are not finite, or slices that are no multiple of ``bands``.
    """
    truth = np.asarray(image.data)
    nz, ny, _ = image.grid.shape
    if truth.ndim != 3 or not np.isfinite(truth).all():
        raise ParameterError(
            f"acquire.mri.sms_simulate takes one volume of finite values, not {truth.shape}; "
            "choose one entry of its leading axes"
        )
    if nz % bands:
        raise ParameterError(
            f"{nz} slices cannot be measured {bands} at a time; give a stack whose slices are a "
            "multiple"
        )
    truth, rng = truth.astype(np.complex64), np.random.default_rng(seed)
    maps = loop_sensitivities(image.grid, coils)
    mask = blipped(sampling_mask(ny, acceleration, 0), bands)
    size = np.abs(truth)
    bright = size > 0.1 * size.max()
    mean = float(size[bright].mean()) if bright.any() else 0.0
    # Each slice is measured with every line of its group: noise falls by the root of the bands.
    sigma = 0.0 if snr is None else mean / snr / np.sqrt(bands)
    found: list[Acquisition] = []
    step = nz // bands
    for first in progress.over(range(step), "measuring"):
        part = slice(first, None, step)
        grid = image.grid.moved(
            start=(first, 0, 0), shape=(bands, *image.grid.shape[1:]), step=(step, 1, 1)
        )
        scan = CartesianScan(grid, coils=coils, mask=mask, dimensions=3)
        samples = scan.with_sensitivities(maps[:, part]).forward(truth[part])
        samples = samples + sigma * _white(rng, samples.shape)
        found.append(
            Acquisition(
                samples=scan.sampled(samples).astype(np.complex64),
                operator=scan,
                modality="MR",
                calibration={
                    "sensitivities": np.ascontiguousarray(maps[:, part]),
                    "noise": (sigma or 1e-6) * _white(rng, (coils, NOISE_SAMPLES)),
                },
                provenance=image.provenance,
                attributes={**image.attributes, "MRAcquisitionType": "2D"},
            )
        )
    return found


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


@operation("acquire.mri.sms")
def sms(
    *acquisitions: Acquisition,
    iterations: Annotated[int, Param("Conjugate gradient steps", minimum=1, maximum=500)] = 30,
    regularisation: Annotated[
        float, Param("Weight of |x|^2 relative to the data", minimum=0.0, maximum=10.0)
    ] = 0.0,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Separate slices that were measured at once (SENSE) and put all groups into one volume.

    Raises
    ------
    ParameterError
        No acquisition, or one that is not a Cartesian scan of several slices.
    GeometryError
        Groups whose slices do not make one regular stack.
    """
    name = "acquire.mri.sms"
    if not acquisitions:
        raise ParameterError(f"{name} needs at least one group of slices")
    images: list[Image] = []
    for i, acquisition in enumerate(acquisitions):
        scan = with_maps(acquisition, name, maps=maps)
        if not isinstance(scan, CartesianScan) or scan.dimensions != 3 or scan.axes:
            raise ParameterError(
                f"{name} takes groups of simultaneous slices (mri.cartesian over three encoded "
                f"axes, without repetitions), and input {i + 1} is none; use acquire.mri.sense"
            )
        data = solve(
            acquisition.samples, scan, iterations=iterations, regularisation=regularisation,
            tolerance=1e-6, progress=share(progress, i, len(acquisitions)),
        )  # fmt: skip
        images.append(image_of(acquisition, data, part=part))
    grid, data = _stacked([(i.grid, i.data) for i in images], name)
    return replace(images[0], data=data, grid=grid)


def _stacked(slices: list[tuple[Grid, Array]], name: str) -> tuple[Grid, Array]:
    """The slices of all groups in the order of their places, on the grid of the whole stack."""
    model = slices[0][0]
    step = model.affine[:3, 0]
    unit = step / np.linalg.norm(step)
    placed: list[tuple[float, Float, Array]] = []
    for grid, data in slices:
        if grid.shape[1:] != model.shape[1:] or not np.allclose(
            grid.affine[:3, 1:3], model.affine[:3, 1:3], atol=1e-6
        ):
            raise GeometryError(f"{name}: the groups have different planes; give those of one scan")
        for z in range(grid.shape[0]):
            corner = grid.to_world((z, 0, 0))
            placed.append((float(corner @ unit), corner, data[z]))
    placed.sort(key=lambda p: p[0])
    corners = np.stack([p[1] for p in placed])
    gaps = np.diff(corners, axis=0)
    if len(gaps) and (np.abs(gaps - gaps[0]).max() > 1e-3 or np.linalg.norm(gaps[0]) < 1e-6):
        raise GeometryError(
            f"{name}: the slices of the {len(slices)} groups are not equally far apart; give every "
            "group of one scan, each once"
        )
    affine = model.affine.copy()
    affine[:3, 0] = gaps[0] if len(gaps) else step
    affine[:3, 3] = corners[0]
    shape = (len(placed), model.shape[1], model.shape[2])
    return Grid(shape, affine, model.frame_of_reference), np.stack([p[2] for p in placed])
