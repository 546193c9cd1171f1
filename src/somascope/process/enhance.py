"""Contrast enhancement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.counting import extremes
from somascope.process.entries import each_volume, is_colour, like, real_values, working

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the Y of DICOM's YBR_FULL (PS3.3 C.7.6.3.1.2)."""


MAPPINGS = 64 << 20
"""Bytes of tile mappings at one time."""

VOXELS = 1 << 19
"""Voxels in floating point at one time, where slices stand alone."""


@operation("process.clahe")
def clahe(
    image: Image,
    *,
    clip_limit: Annotated[
        float,
        Param("Greatest gain in contrast; 1 changes nothing", minimum=1.0, maximum=100.0, step=0.1),
    ] = 2.5,
    tile: Annotated[
        float | None,
        Param("Edge of the tiles; none: an eighth of the image", unit="mm", minimum=0.1),
    ] = None,
    dimensions: Annotated[
        Literal["slice", "volume"], Param("Each slice by itself, or tiles in three dimensions")
    ] = "slice",
    lower: Annotated[
        float | None, Param("Values below stay as they are; none: from the smallest")
    ] = None,
    upper: Annotated[
        float | None, Param("Values above stay as they are; none: to the largest")
    ] = None,
    bins: Annotated[
        int, Param("Bins of the histograms", minimum=16, maximum=65536, advanced=True)
    ] = 512,
    progress: Progress = QUIET,
) -> Image:
    """Enhance local contrast (contrast limited adaptive histogram equalisation).

    Values stay in their unit, between ``lower`` and ``upper`` (the range of the finite values of
    each volume). Shape ``(*leading, nz, ny, nx)`` and dtype as they came; missing values (NaN)
    stay missing. In a colour image the luma is enhanced and the colour differences are kept.
    """
    real_values(image, "process.clahe")
    if lower is not None and upper is not None and not lower < upper:
        raise ParameterError(f"process.clahe: lower {lower:g} is not below upper {upper:g}")
    edge = _tile(image, tile)

    def enhance(volume: Array) -> Array:
        low, high = _range(volume, lower, upper)
        if not high > low:
            return volume
        return _equalised(
            volume, edge, slices=dimensions == "slice", limit=clip_limit, low=low, high=high,
            bins=bins,
        )  # fmt: skip

    if is_colour(image):
        data = _on_luma(image, enhance)
    else:
        data = each_volume(
            image, enhance, progress=progress, message="enhancing", as_stored=True
        )  # fmt: skip
    return image.with_data(like(data, image.data.dtype))


def _tile(image: Image, tile: float | None) -> tuple[float, float, float]:
    nz, ny, nx = image.grid.shape
    if tile is None:
        return max(nz // 8, 1), max(ny // 8, 1), max(nx // 8, 1)
    dz, dy, dx = image.grid.spacing
    return tile / dz, tile / dy, tile / dx


def _range(volume: Array, lower: float | None, upper: float | None) -> tuple[float, float]:
    if lower is not None and upper is not None:
        return lower, upper
    low, high = extremes(np.ascontiguousarray(volume).reshape(-1))
    return low if lower is None else lower, high if upper is None else upper


def _equalised(
    volume: Array,
    tile: tuple[float, float, float],
    *,
    slices: bool,
    limit: float,
    low: float,
    high: float,
    bins: int,
) -> Array:
    from somascope.process.equalise import edges, equalise

    settings: dict[str, Any] = {"limit": limit, "low": low, "high": high, "bins": bins}
    if not slices:
        return equalise(volume, tile, **settings)
    # Tiles of one slice each; a few slices at a time bound the memory of mappings and floats.
    tiles = len(edges(volume.shape[1], tile[1])) * len(edges(volume.shape[2], tile[2]))
    few = max(min(MAPPINGS // (tiles * bins * 8), VOXELS // volume[0].size), 1)
    out = np.empty_like(volume)
    for z in range(0, volume.shape[0], few):
        part = equalise(working(volume[z : z + few]), (1, *tile[1:]), **settings)
        out[z : z + few] = like(part, volume.dtype)
    return out


def _on_luma(image: Image, enhance: Callable[[Array], Array]) -> Array:
    position = [a.name for a in image.axes].index("channel")
    colour = np.moveaxis(image.data, position, -4).astype(np.float32)
    luma = np.tensordot(np.asarray(LUMA, np.float32), colour, axes=([0], [-4]))
    enhanced = np.stack([enhance(v) for v in luma.reshape(-1, *image.grid.shape)])
    shifted = colour + np.expand_dims(enhanced.reshape(luma.shape) - luma, -4)
    return np.moveaxis(shifted, -4, position)
