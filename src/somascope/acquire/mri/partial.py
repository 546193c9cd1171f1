"""Partial Fourier: the missing end of k-space from the smoothness of the image's phase."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.combine import root_sum_of_squares
from somascope.acquire.mri.fourier import cropped, to_image, to_kspace
from somascope.acquire.mri.results import image_of
from somascope.acquire.mri.samples import cartesian
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_NAMES = {-3: "partition", -2: "phase", -1: "readout"}


def missing_end(mask: Array, name: str) -> tuple[int, int, int]:
    """The axis that was cut, counted from the end, and its first and last measured index.

    Parameters
    ----------
    mask
        Bool ``(..., kz, ky, kx)``.

    Raises
    ------
    ParameterError
        Nothing is missing, lines are missing in between, or the centre is.
    """
    found: list[tuple[int, int, int, int]] = []
    for axis in (-3, -2, -1):
        others = tuple(i for i in range(mask.ndim) if i != mask.ndim + axis)
        lines: Array = np.asarray(mask.any(axis=others))
        if len(lines) < 4:
            continue
        first, last = np.flatnonzero(lines)[[0, -1]].tolist()
        inside = np.take(mask, range(first, last + 1), axis=axis)
        centre = len(lines) // 2
        lacking = abs(first - (len(lines) - 1 - last))
        if lacking > 1:
            if not np.all(inside.any(axis=others)):
                raise ParameterError(
                    f"{name}: {_NAMES[axis]} encodings are skipped between {first} and {last}; "
                    "fill them with acquire.mri.grappa first"
                )
            if not first < centre - 1 or not last > centre + 1:
                raise ParameterError(
                    f"{name}: {_NAMES[axis]} encodings {first} to {last} of {len(lines)} do not "
                    f"reach past the centre {centre}; the phase cannot be estimated"
                )
            found.append((lacking, axis, first, last))
    if not found:
        raise ParameterError(f"{name}: no end of k-space is missing; reconstruct it as it is")
    _, axis, first, last = max(found)
    return axis, first, last


def band(length: int, first: int, last: int) -> Array:
    """A Hann window over the measured symmetric centre, float32 ``(length,)``."""
    centre = length // 2
    reach = min(centre - first, last - centre)
    offset = np.arange(length) - centre
    window = np.cos(np.pi / 2 * offset / (reach + 1)) ** 2
    return np.where(np.abs(offset) <= reach, window, 0).astype(np.float32)


def homodyne_weights(length: int, first: int, last: int) -> Array:
    """2 where only one half was measured, 0 in the other, a ramp between (Noll et al. 1991)."""
    centre = length // 2
    reach = min(centre - first, last - centre)
    offset = np.arange(length) - centre
    ramp = 1 + np.clip(offset / (reach + 0.5), -1, 1)
    return (ramp if last - centre > centre - first else 2 - ramp).astype(np.float32)


def along(values: Array, axis: int) -> Array:
    """``values`` shaped to broadcast along that axis, counted from the end."""
    return values.reshape([-1] + [1] * (-axis - 1))


@operation("acquire.mri.homodyne")
def homodyne(acquisition: Acquisition, *, progress: Progress = QUIET) -> Image:
    """Partial Fourier image in one step: real part after the low-resolution phase is removed.

    Noll, Nishimura, Macovski 1991. Coils are combined as the root of the sum of squares. The image
    loses what has fast phase; `pocs` is gentler and slower.
    """
    samples, scan = cartesian(acquisition, "acquire.mri.homodyne")
    axis, first, last = missing_end(_mask(scan), "acquire.mri.homodyne")
    length = scan.matrix[axis]
    progress(0.0, "phase")
    low = to_image(samples * along(band(length, first, last), axis), axes=scan.encoded)
    progress(0.4, "image")
    weights = along(homodyne_weights(length, first, last), axis)
    found = to_image(samples * weights, axes=scan.encoded)
    turned = np.real(found * np.exp(-1j * np.angle(low)).astype(np.complex64))
    progress(0.9, "combine")
    part = cropped(turned.astype(np.complex64), scan.grid.shape)
    return image_of(acquisition, root_sum_of_squares(part))


@operation("acquire.mri.pocs")
def pocs(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Projections", minimum=1, maximum=200)] = 12,
    progress: Progress = QUIET,
) -> Acquisition:
    """Fill the missing end of k-space by projections onto the measured data and a smooth phase.

    Haacke, Lindskog, Lin 1991. Measured samples are kept as they are; the result is
    a complete scan.
    """
    samples, scan = cartesian(acquisition, "acquire.mri.pocs")
    mask = _mask(scan)
    axis, first, last = missing_end(mask, "acquire.mri.pocs")
    length = scan.matrix[axis]
    low = to_image(samples * along(band(length, first, last), axis), axes=scan.encoded)
    phase = np.exp(1j * np.angle(low)).astype(np.complex64)
    kept = np.zeros(length, bool)
    kept[first : last + 1] = True
    inside = along(kept, axis)
    filled = samples
    for i in range(iterations):
        progress(i / iterations, f"projection {i + 1}")
        image = to_image(filled, axes=scan.encoded)
        image = np.abs(image) * phase
        filled = np.where(inside, samples, to_kspace(image, axes=scan.encoded))
    full = np.broadcast_to(mask.any(axis=axis, keepdims=True), mask.shape)
    described = {**scan.describe(), "mask": None if full.all() else full}
    return replace(
        acquisition, samples=filled.astype(np.complex64), operator=CartesianScan(**described)
    )


def _mask(scan: CartesianScan) -> Array:
    return np.ones(scan.matrix, bool) if scan.mask is None else scan.mask
