"""Values to display values: the VOI LUT functions of DICOM (PS3.3 C.11.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.entries import is_colour, real_values
from somascope.process.windows import Function, PresetName, chosen


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
    if is_tensor(values):
        from somascope.process.tables import gpu

        tensor: Any = values
        shown: Any = gpu.voi(tensor, centre, width, function=function)
        return shown
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


@operation("process.window")
def window(
    image: Image,
    *,
    preset: Annotated[
        PresetName,
        Param(
            "Window to use where centre and width are not given: automatic, all values, or one "
            "by name for images in its unit (HU, SUV, mm2/s, ms)"
        ),
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
        centre, width = chosen(image, preset, function=function)
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
