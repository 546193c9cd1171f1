"""One image from many coils without a model of them: root sum of squares, adaptive combination."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.results import image_of
from somascope.acquire.mri.samples import coil_images
from somascope.acquire.mri.walsh import inati, walsh
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.grid import Array


@operation("acquire.mri.rss")
def rss(acquisition: Acquisition, *, progress: Progress = QUIET) -> Image:
    """Zero-filled (or gridded) coil images combined as the root of their sum of squares.

    Roemer et al. 1990. Magnitude, arbitrary unit; the noise floor is not zero.
    """
    progress(0.0, "transform")
    images = coil_images(acquisition, "acquire.mri.rss")
    progress(0.8, "combine")
    return image_of(acquisition, root_sum_of_squares(images))


def root_sum_of_squares(images: Array) -> Array:
    """``sqrt(sum |image|^2)`` over the coils of ``(*leading, coils, nz, ny, nx)``, float32."""
    real, imag = np.real(images), np.imag(images)
    total = np.einsum("...czyx,...czyx->...zyx", real, real)
    total += np.einsum("...czyx,...czyx->...zyx", imag, imag)
    return np.sqrt(total, dtype=np.float32)


@operation("acquire.mri.adaptive")
def adaptive(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Literal["walsh", "inati"], Param("Local eigenvector, or alternation without matrices")
    ] = "walsh",
    size: Annotated[
        int, Param("Width over which coils are compared", unit="pixel", minimum=3, maximum=31)
    ] = 7,
    progress: Progress = QUIET,
) -> Image:
    """Zero-filled coil images combined with maps that are estimated from them.

    Less noise than the root of the sum of squares where the signal is low; magnitude. With several
    entries of a leading axis the maps come from their mean power, so that all are combined alike.
    """
    progress(0.0, "transform")
    images = coil_images(acquisition, "acquire.mri.adaptive")
    flat = images.reshape(-1, *images.shape[-4:])
    progress(0.3, "coil maps")
    combined = np.empty((len(flat), *flat.shape[-3:]), np.float32)
    maps = (walsh if method == "walsh" else inati)(flat[0], size=size)
    for i, part in enumerate(flat):
        progress(0.6 + 0.4 * i / len(flat), "combine")
        combined[i] = np.abs(np.einsum("czyx,czyx->zyx", maps.conj(), part))
    return image_of(acquisition, combined.reshape(*images.shape[:-4], *images.shape[-3:]))
