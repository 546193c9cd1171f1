"""Filters that bring out tubes and ridges: Frangi, Sato, Meijering."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.choices import Dimensions
from somascope.process.chunks import PIECES, cores, in_chunks
from somascope.process.denoise import centred
from somascope.process.entries import each_volume, is_colour, real_values
from somascope.process.hessian import FRANGI, MEIJERING, NORM, SATO, kernels, measured

Scales: TypeAlias = Annotated[
    tuple[float, ...],
    Param("Widths looked for: standard deviations", unit="mm", minimum=0.1, maximum=50.0),
]
Ridges: TypeAlias = Annotated[
    Literal["bright", "dark"], Param("Vessels brighter or darker than what is around them")
]

LEAST = 16
"""Rows of a band at least: what lies around it is smoothed again for each."""

_KINDS = {"frangi": FRANGI, "sato": SATO, "meijering": MEIJERING, "norm": NORM}


def tubes(
    volume: Array,
    spacing: tuple[float, float, float],
    *,
    scales: tuple[float, ...],
    measure: Literal["frangi", "sato", "meijering"],
    bright: bool = True,
    flat: bool = False,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float | None = None,
    progress: Progress = QUIET,
) -> Array:
    """The greatest response over ``scales``, each derivative times its scale.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32, NaN counts as the mean and stays NaN.
    spacing, scales
        mm. Borders are mirrored at the outer voxel edges.
    measure
        ``frangi``: Frangi et al., MICCAI 1998, 0 to 1, with ``alpha`` (plates), ``beta`` (blobs),
        ``gamma`` (contrast; none: half the greatest norm of the Hessian at each scale).
        ``sato``: geometric mean of the two ridge curvatures (Sato et al., MedIA 2, 1998).
        ``meijering``: Meijering et al., Cytometry 58A, 2004, divided by its greatest value.
    flat
        Each slice by itself.
    """
    if is_tensor(volume):
        from somascope.process.neighbourhood import gpu

        tensor: Any = volume
        return gpu.tubes(
            tensor, spacing, scales=scales, measure=measure, bright=bright, flat=flat, alpha=alpha,
            beta=beta, gamma=gamma,
        )  # fmt: skip
    flat = flat or volume.shape[0] == 1
    values, missing, origin = volume, None, np.float32(0)
    if volume.dtype == np.float32 and np.isfinite(volume).all():
        origin = np.float32(volume.mean(dtype=np.float64))  # taken off in the padded copy
    else:
        values, _, missing = centred(volume)
        if missing is not None:
            values[missing] = 0
    out = np.zeros(volume.shape, np.float32)
    sign = 1.0 if bright else -1.0
    # What lies around a band is smoothed along z again, where there is a z.
    bands = -(-(PIECES if flat else 2) * cores() // max(volume.shape[0], 1))
    bands = min(bands, max(volume.shape[1] // LEAST, 1))
    most = np.zeros(volume.shape[0] * bands)
    for sigma in progress.over(scales, measure):
        taps: list[Array] = []
        radius: list[int] = []
        for axis, step in enumerate(spacing):
            if axis == 0 and flat:
                taps += [np.ones(1, np.float32)] * 3
                radius.append(0)
                continue
            g, first, second = kernels(sigma / step)
            radius.append(g.size // 2)
            # Derivatives per mm, times the scale: of one size whatever the width.
            scaled = (g, first * sigma / step, second * (sigma / step) ** 2)
            taps += [np.ascontiguousarray(k, dtype=np.float32) for k in scaled]
        padded = np.pad(values, [(r, r) for r in radius], mode="symmetric")
        padded -= origin
        limit = gamma
        for kind in ("norm", measure) if measure == "frangi" and gamma is None else (measure,):
            in_chunks(
                measured, most.size, most, padded, tuple(taps), _KINDS[kind], int(flat), sign,
                alpha, beta, limit or 1.0, out, bands,
            )  # fmt: skip
            limit = float(most.max()) / 2 if kind == "norm" else limit
    if measure == "meijering" and out.max() > 0:
        out /= out.max()
    if missing is not None:
        out[missing] = np.nan
    return out


def _filtered(
    image: Image, name: str, scales: tuple[float, ...], ridges: Ridges, dimensions: Dimensions,
    progress: Progress, alpha: float = 0.5, beta: float = 0.5, gamma: float | None = None,
) -> Image:  # fmt: skip
    operation_name = f"process.{name}"
    real_values(image, operation_name)
    if is_colour(image):
        raise ParameterError(f"{operation_name} needs single values and this image is in colour")
    if not scales:
        raise ParameterError(f"{operation_name}: give at least one scale")
    dz, dy, dx = image.grid.spacing
    largest = max(scales)
    if largest / min(dy, dx) > 100:
        raise ParameterError(
            f"{operation_name}: a scale of {largest:g} mm is {largest / min(dy, dx):.0f} voxels; "
            "resample the image to larger voxels first"
        )
    data = each_volume(
        image,
        lambda v: tubes(
            v, (dz, dy, dx), scales=tuple(scales), measure=name, bright=ridges == "bright",  # pyright: ignore[reportArgumentType]
            flat=dimensions == "slice", alpha=alpha, beta=beta, gamma=gamma,
        ),
        progress=progress, message=name,
    )  # fmt: skip
    return image.with_data(data, unit="1")


@operation("process.frangi")
def frangi(
    image: Image,
    *,
    scales: Scales = (1.0, 2.0, 3.0),
    ridges: Ridges = "bright",
    plates: Annotated[
        float, Param("Tolerance of plates (alpha)", minimum=0.05, maximum=5.0, advanced=True)
    ] = 0.5,
    blobs: Annotated[
        float, Param("Tolerance of blobs (beta)", minimum=0.05, maximum=5.0, advanced=True)
    ] = 0.5,
    contrast: Annotated[
        float | None,
        Param(
            "Curvature of a certain vessel (gamma), in the image's unit; none: half the greatest",
            minimum=0.0,
            advanced=True,
        ),
    ] = None,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Bring out vessels (Frangi's vesselness, 0 to 1).

    How much a voxel looks like the middle of a tube, the best of several widths. Shape
    ``(*leading, nz, ny, nx)``, float32, unit ``1``; missing values stay missing.
    """  # fmt: skip
    return _filtered(
        image, "frangi", scales, ridges, dimensions, progress, plates, blobs, contrast or None
    )


@operation("process.sato")
def sato(
    image: Image,
    *,
    scales: Scales = (1.0, 2.0, 3.0),
    ridges: Ridges = "bright",
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Bring out ridges by how strongly they curve (Sato's tubeness).

    In the image's own contrast: a vessel twice as bright gives twice the response. Shape
    ``(*leading, nz, ny, nx)``, float32; missing values stay missing.
    """
    return _filtered(image, "sato", scales, ridges, dimensions, progress)


@operation("process.meijering")
def meijering(
    image: Image,
    *,
    scales: Scales = (1.0, 2.0, 3.0),
    ridges: Ridges = "bright",
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Bring out thin lines, neurites for instance (Meijering's neuriteness, 0 to 1).

    Shape ``(*leading, nz, ny, nx)``, float32, unit ``1``; missing values stay missing.
    """
    return _filtered(image, "meijering", scales, ridges, dimensions, progress)
