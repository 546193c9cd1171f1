"""Values to display values: the VOI LUT functions of DICOM (PS3.3 C.11.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array
from somascope.process.entries import is_colour, real_values

Function: TypeAlias = Literal["linear", "linear_exact", "sigmoid"]

HOUNSFIELD = "[hnsf'U]"

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (50.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "liver": (80.0, 150.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
}
"""Centre and width in HU, as commonly set at CT consoles."""


def voi(values: Array, centre: float, width: float, *, function: Function = "linear") -> Array:
    """Map values to 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3); NaN becomes 0.

    ``linear``: ``x <= c - 0.5 - (w-1)/2`` is 0, ``x > c - 0.5 + (w-1)/2`` is 1, else
    ``(x - (c-0.5)) / (w-1) + 0.5`` with ``w >= 1``. ``linear_exact``: ``(x-c)/w + 0.5`` between
    ``c - w/2`` and ``c + w/2``, ``w > 0``. ``sigmoid``: ``1 / (1 + exp(-4 (x-c) / w))``.
    """
    if function == "linear" and width < 1:
        raise ParameterError(
            f"window width {width:g} is below 1, which the LINEAR function of PS3.3 C.11.2.1.2.1 "
            "does not have; use function 'linear_exact'"
        )
    if width <= 0:
        raise ParameterError(f"window width {width:g} must be above 0")
    x = values.astype(np.float64 if values.dtype == np.float64 else np.float32)
    if function == "sigmoid":
        with np.errstate(over="ignore"):
            y = 1.0 / (1.0 + np.exp((x - centre) * (-4.0 / width)))
    elif function == "linear_exact":
        y = np.clip((x - centre) / width + 0.5, 0.0, 1.0)
    elif width == 1:
        y = (x > centre - 0.5).astype(x.dtype)
    else:
        y = np.clip((x - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return np.nan_to_num(y, copy=False, nan=0.0).astype(np.float32, copy=False)


def automatic(image: Image, *, function: Function = "linear") -> tuple[float, float]:
    """Centre and width for an image that nobody chose a window for.

    The first one in its header (`WindowCenter`, `WindowWidth`) where there is one; otherwise the
    one that maps the 0.5 and 99.5 percentile of the finite values to black and white.
    """
    centre, width = (_first(image.attributes.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        return centre, width
    values = image.data.reshape(-1)
    stride = max(values.size // 2_000_003, 1)  # every n-th voxel is enough for a screen
    values = values[::stride]
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    if not high > low:
        low, high = float(low), float(low) + 1.0
    if function == "linear":
        return float(low + high) / 2 + 0.5, float(high - low) + 1.0
    return float(low + high) / 2, float(high - low)


def _first(value: Any) -> float | None:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


@operation("process.window")
def window(
    image: Image,
    *,
    preset: Annotated[
        Literal["auto", "abdomen", "bone", "brain", "liver", "lung", "mediastinum"],
        Param("Window to use where centre and width are not given; the named ones are for CT"),
    ] = "auto",
    centre: Annotated[float | None, Param("Value in the middle, in the image's unit")] = None,
    width: Annotated[
        float | None, Param("Range of values shown, in the image's unit", minimum=0.0)
    ] = None,
    function: Annotated[
        Literal["linear", "linear_exact", "sigmoid"], Param("Curve from value to brightness")
    ] = "linear",
    output: Annotated[
        Literal["unit", "byte"], Param("0 to 1 in floating point, or 0 to 255 in bytes")
    ] = "unit",
) -> Image:
    """Map a window of values to display brightness.

    The VOI LUT functions of PS3.3 C.11.2. Shape ``(*leading, nz, ny, nx)`` in and out; float32 in
    [0, 1] or uint8 in [0, 255], unit ``1``. Missing values (NaN) are shown black.
    """
    real_values(image, "process.window")
    if is_colour(image):
        raise ParameterError(
            "process.window maps single values and this image is in colour; window the image the "
            "colours were made from"
        )
    if (centre is None) != (width is None):
        raise ParameterError(
            f"process.window: centre is {centre} and width is {width}; give both, or neither"
        )
    if centre is None or width is None:
        if preset == "auto":
            centre, width = automatic(image, function=function)
        elif image.unit != HOUNSFIELD:
            raise UnitError(
                f"the {preset} window is in Hounsfield units and this image is in {image.unit!r}; "
                "give centre and width"
            )
        else:
            centre, width = CT_WINDOWS[preset]
    data = _mapped(image.data, centre, width, function=function, byte=output == "byte")
    shown: tuple[float, float] = (128.0, 256.0) if output == "byte" else (0.5, 1.0)
    attributes = {
        **image.attributes,
        "WindowCenter": shown[0],
        "WindowWidth": shown[1],
        "VOILUTFunction": "LINEAR" if output == "byte" else "LINEAR_EXACT",
    }
    attributes.pop("WindowCenterWidthExplanation", None)
    return replace(image.with_data(data, unit="1"), attributes=attributes)


def _mapped(data: Array, centre: float, width: float, *, function: Function, byte: bool) -> Array:
    if data.dtype in (np.int16, np.uint16) and data.size > 1 << 16:
        # A table of all 65536 values, then one look-up per voxel.
        info = np.iinfo(data.dtype)
        table = voi(np.arange(info.min, info.max + 1), centre, width, function=function)
        table = np.roll(table, info.min)
        return _bytes(table)[data.view(np.uint16)] if byte else table[data.view(np.uint16)]
    values = voi(data, centre, width, function=function)
    return _bytes(values) if byte else values


def _bytes(values: Array) -> Array:
    return np.rint(values * np.float32(255.0)).astype(np.uint8)
