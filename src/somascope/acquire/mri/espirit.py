"""ESPIRiT: coil sensitivities from the centre of k-space, in the domain of the small Gram matrix.

The calibration matrix holds every ``k x k`` patch of all coils as a row. Its row space projector
``Q`` commutes with shifts of the patch, so per pixel the sensitivities are the eigenvector to
eigenvalue 1 of a coils x coils matrix ``G`` (Uecker et al. 2014, Magn Reson Med 71:990). ``G`` is a
Fourier sum over the ``2 k - 1`` index differences of ``Q``: here it is evaluated directly for the
``C (C + 1) / 2`` coil pairs, and no kernel is ever transformed to image size.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.espirit_kernels import dominant
from somascope.acquire.mri.fourier import to_kspace
from somascope.acquire.mri.results import MriScan, Part, image_of, scan_of
from somascope.core import QUIET, Acquisition, Axis, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import one_thread

Width = Annotated[
    int, Param("Width of the k-space centre used for calibration", minimum=4, maximum=128)
]
Kernel = Annotated[int, Param("Width of the k-space kernel", minimum=2, maximum=12)]
Threshold = Annotated[
    float,
    Param("Singular values kept, relative to the largest", minimum=1e-4, maximum=0.5,
          advanced=True),
]  # fmt: skip
Crop = Annotated[
    float,
    Param("Eigenvalue below which a pixel is background", minimum=0.0, maximum=1.0),
]


@operation("acquire.mri.espirit")
def espirit(
    acquisition: Acquisition,
    *,
    calibration: Width = 24,
    kernel: Kernel = 6,
    threshold: Threshold = 0.02,
    crop: Crop = 0.95,
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Estimate coil sensitivities from the centre of k-space (ESPIRiT).

    Returns
    -------
    Image
        Axis ``coil``, then ``(nz, ny, nx)``: unit sum of squares over coils, zero outside the body.
        The phase is relative to the strongest virtual coil.

    Raises
    ------
    GeometryError
        The centre of k-space is not sampled, or smaller than two kernels.
    """
    scan = scan_of(acquisition, "acquire.mri.espirit")
    maps = sensitivities(
        acquisition.samples, scan, calibration=calibration, kernel=kernel, threshold=threshold,
        crop=crop, progress=progress,
    )  # fmt: skip
    return image_of(acquisition, maps, part=part, axes=(Axis("coil"),))


def sensitivities(
    samples: Array,
    scan: MriScan,
    *,
    calibration: int = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    progress: Progress = QUIET,
) -> Array:
    """Sensitivities complex64 ``(coils, nz, ny, nx)`` of a scan; see `espirit`.

    Repetitions (leading axes) are calibrated together. Slices that were excited one by one are
    calibrated one by one.
    """
    kspace, matrix, dimensions = _lattice(samples, scan)
    nz = scan.grid.shape[0]
    if dimensions == 3:
        centre = calibration_region(kspace, width=calibration, kernel=kernel)
        out = maps_from(
            centre, scan.grid.shape, matrix=matrix, kernel=kernel, threshold=threshold, crop=crop,
            progress=progress,
        )  # fmt: skip
        progress(1.0, "sensitivities")
        return out
    slices: list[Array] = []
    for z in progress.over(range(nz), "sensitivities"):
        centre = calibration_region(kspace[..., z, :, :], width=calibration, kernel=kernel)
        slices.append(
            maps_from(
                centre, scan.grid.shape[1:], matrix=matrix[1:], kernel=kernel,
                threshold=threshold, crop=crop,
            )
        )  # fmt: skip
    return np.stack(slices, axis=1)


def _lattice(samples: Array, scan: MriScan) -> tuple[Array, tuple[int, ...], int]:
    """k-space ``(repetitions, coils, kz, ky, kx)`` with zeros where nothing was sampled."""
    if isinstance(scan, CartesianScan):
        kspace = scan.sampled(np.asarray(samples))
        matrix, dimensions = scan.matrix, scan.dimensions
    else:
        from somascope.acquire.mri.gridding import gridded

        dimensions = scan.dimensions
        axes = (-2, -1) if dimensions == 2 else (-3, -2, -1)
        kspace = to_kspace(gridded(samples, scan), axes=axes)
        matrix = scan.grid.shape
    return kspace.reshape(-1, *kspace.shape[-4:]), matrix, dimensions


def calibration_region(kspace: Array, *, width: int, kernel: int) -> Array:
    """The largest fully sampled centre, at most ``width`` wide on each axis.

    Parameters
    ----------
    kspace
        ``(repetitions, coils, *k)``; a position counts as sampled where any coil is not zero.

    Raises
    ------
    GeometryError
        It is narrower than two kernels less one.
    """
    there = np.abs(kspace).max(axis=(0, 1)) > 0
    size = [min(width, n) for n in there.shape]
    low = [n // 2 - s // 2 for n, s in zip(there.shape, size, strict=True)]
    high = [a + s for a, s in zip(low, size, strict=True)]

    def holes(axis: int, at: int) -> int:
        box = [slice(a, b) for a, b in zip(low, high, strict=True)]
        box[axis] = slice(at, at + 1)
        face = there[tuple(box)]
        return int(face.size - face.sum())

    # Cut the face with the most holes until none is left; ties keep the centre.
    while min(b - a for a, b in zip(low, high, strict=True)) > 0:
        if there[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].all():
            break
        faces = [(holes(d, low[d]), d, 0) for d in range(there.ndim)]
        faces += [(holes(d, high[d] - 1), d, 1) for d in range(there.ndim)]
        far = {(d, 0): there.shape[d] // 2 - low[d] for d in range(there.ndim)}
        far |= {(d, 1): high[d] - 1 - there.shape[d] // 2 for d in range(there.ndim)}
        _, axis, side = max(faces, key=lambda f: (f[0], far[f[1], f[2]]))
        if side == 0:
            low[axis] += 1
        else:
            high[axis] -= 1
    found = tuple(b - a for a, b in zip(low, high, strict=True))
    # With fewer patches than this the row space is not known.
    if min(found) < min(2 * kernel - 1, *there.shape):
        raise GeometryError(
            f"the fully sampled centre of k-space is {found}, too small to calibrate a kernel of "
            f"{kernel}: at least {2 * kernel - 1} lines are needed on every axis. Acquire "
            "calibration lines, choose a smaller kernel, or give sensitivities"
        )
    return kspace[(..., *(slice(a, b) for a, b in zip(low, high, strict=True)))]


def maps_from(
    calibration: Array,
    shape: tuple[int, ...],
    *,
    matrix: tuple[int, ...] | None = None,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    progress: Progress = QUIET,
) -> Array:
    """Sensitivities ``(coils, *shape)`` from fully sampled calibration lines.

    Parameters
    ----------
    calibration
        Complex ``(repetitions, coils, *k)`` or ``(coils, *k)`` with two or three k axes.
    shape
        Of the image, two or three axes.
    matrix
        Encoded matrix, where the encoded field is larger than the image.
    """
    d = len(shape)
    if calibration.ndim == d + 1:
        calibration = calibration[None]
    if calibration.ndim != d + 2:
        raise ParameterError(
            f"calibration has shape {calibration.shape} for an image of {shape}; give "
            "(coils, ky, kx) or (coils, kz, ky, kx)"
        )
    matrix = tuple(shape) if matrix is None else tuple(matrix)
    widths = tuple(min(kernel, n) for n in calibration.shape[2:])
    pairs = _pair_kernels(_row_space(calibration, widths, threshold), calibration.shape[1], widths)
    waves = [
        np.exp(2j * np.pi * np.outer(np.arange(n) - n // 2, np.arange(1 - w, w)) / m)
        for n, m, w in zip(shape, matrix, widths, strict=True)
    ]
    coils = calibration.shape[1]
    turn = _reference(calibration)
    if d == 2:
        return dominant(pairs, waves[0], waves[1], coils=coils, reference=turn, crop=crop)
    out = np.empty((coils, *shape), np.complex64)
    for z in range(shape[0]):  # one plane at a time: memory is that of a plane
        plane = np.tensordot(waves[0][z], pairs, axes=(0, 1)).astype(np.complex64)
        out[:, z] = dominant(plane, waves[1], waves[2], coils=coils, reference=turn, crop=crop)
        progress((z + 1) / (shape[0] + 1), "sensitivities")
    return out


def _row_space(calibration: Array, widths: tuple[int, ...], threshold: float) -> Array:
    """Projector on the span of all patches, conjugated: ``(coils * patch, coils * patch)``."""
    size = calibration.shape[1] * int(np.prod(widths))
    gram = np.zeros((size, size), np.complex64)
    scale = np.float32(1 / np.abs(calibration).max())
    d = len(widths)
    # (coils, *positions, *patch) -> (coils, patch, positions)
    order = (0, *range(1 + d, 1 + 2 * d), *range(1, 1 + d))
    with one_thread():
        for one in calibration:
            windows = np.lib.stride_tricks.sliding_window_view(
                one * scale, widths, tuple(range(1, 1 + d))
            )
            rows = windows.transpose(order).reshape(size, -1).astype(np.complex64)
            gram += rows @ rows.conj().T
        # Only the vectors that count are computed: far less than a full decomposition.
        from scipy.linalg import eigh

        least = threshold**2 * _largest(gram)
        _, basis = eigh(
            gram, driver="evr", subset_by_value=(least, np.inf), check_finite=False,
            overwrite_a=True,
        )  # fmt: skip
        return basis @ basis.conj().T


def _largest(gram: Array) -> float:
    """Largest eigenvalue of a positive matrix, to a thousandth."""
    v = gram.sum(axis=0).conj() + 1e-3 * np.float32(np.abs(gram).max())
    value = 0.0
    for _ in range(30):
        v = gram @ (v / np.linalg.norm(v))
        value = float(np.linalg.norm(v))
    return value


def _pair_kernels(projector: Array, coils: int, widths: tuple[int, ...]) -> Array:
    """Sum of the projector over equal index differences, ``(pairs, *(2 w - 1))``; i <= j."""
    d = len(widths)
    blocks = projector.reshape(coils, *widths, coils, *widths)
    first, second = np.triu_indices(coils)
    out = np.zeros((len(first), *(2 * w - 1 for w in widths)), np.complex64)
    for i in np.ndindex(*widths):
        # For a fixed first index the differences i - j run backwards through the second one.
        part = blocks[(slice(None), *i)]
        chosen = part[first, second][(slice(None), *(slice(None, None, -1),) * d)]
        out[(slice(None), *(slice(a, a + w) for a, w in zip(i, widths, strict=True)))] += chosen
    return out / np.float32(np.prod(widths))


def _reference(calibration: Array) -> Array:
    """Combination of coils with the most signal: smooth, and nowhere in the body near zero."""
    flat = calibration.transpose(1, 0, *range(2, calibration.ndim))
    flat = flat.reshape(calibration.shape[1], -1)
    _, vectors = np.linalg.eigh((flat @ flat.conj().T).astype(np.complex128))
    return np.ascontiguousarray(vectors[:, -1].conj(), np.complex64)
