"""P-values as a calibrated display shows them (DICOM PS3.14).

Equal steps of P-value are equal numbers of just noticeable differences between the display's
darkest and brightest luminance.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike

from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Float
from somascope.process.counting import extremes
from somascope.process.entries import is_colour, real_values
from somascope.process.windows import from_header

FIRST, LAST = 1.0, 1023.0
"""Indices of the function: 0.05 to 3993 cd/m2."""

_UP = (-1.3011877, 8.0242636e-2, 1.3646699e-1, -2.5468404e-2, 1.3635334e-3)
_DOWN = (1.0, -2.5840191e-2, -1.0320229e-1, 2.8745620e-2, -3.1978977e-3, 1.2992634e-4)
"""Numerator a c e g m and denominator 1 b d f h k of PS3.14 section 7.1, in powers of ln j."""
_BACK = (
    71.498068, 94.593053, 41.912053, 9.8247004, 0.28175407, -1.1878455, -0.18014349, 0.14710899,
    -0.017046845,
)  # fmt: skip
"""A to I of the inverse, in powers of log10 L."""


def luminance(index: ArrayLike) -> Float:
    """Luminance in cd/m2 of the JND index ``j``, 1 to 1023 (PS3.14 7.1)."""
    j = np.asarray(index, np.float64)
    if j.size and not (j.min() >= FIRST and j.max() <= LAST):
        raise ParameterError(
            f"JND index from {j.min():g} to {j.max():g}; the standard display function has indices "
            "1 to 1023"
        )
    x = np.log(j)
    polynomial = np.polynomial.polynomial.polyval
    up, down = polynomial(x, _UP), polynomial(x, _DOWN)
    return np.power(10.0, np.asarray(up / down, np.float64))


def jnd_index(value: ArrayLike) -> Float:
    """JND index of a luminance in cd/m2, 0.05 to 3993.4 (PS3.14 7.1, the inverse)."""
    cd = np.asarray(value, np.float64)
    low, high = float(luminance(FIRST)), float(luminance(LAST))
    if cd.size and not (cd.min() >= low * 0.999 and cd.max() <= high * 1.001):
        raise ParameterError(
            f"luminance from {cd.min():g} to {cd.max():g} cd/m2; the standard display function "
            f"spans {low:.2f} to {high:.1f} cd/m2"
        )
    return np.asarray(np.polynomial.polynomial.polyval(np.log10(cd), _BACK), np.float64)


def p_value_luminance(p: ArrayLike, *, bits: int, minimum: float, maximum: float) -> Float:
    """Luminance a calibrated display shows for P-values ``0 .. 2^bits - 1``.

    ``minimum`` and ``maximum`` are the display's luminances in cd/m2, ambient light included.
    """
    if not minimum < maximum:
        raise ParameterError(
            f"the display goes from {minimum:g} to {maximum:g} cd/m2; black must be darker than "
            "white"
        )
    first, last = (float(jnd_index(v)) for v in (minimum, maximum))
    share = np.asarray(p, np.float64) / (2**bits - 1)
    return luminance(np.clip(first + share * (last - first), FIRST, LAST))


@operation("process.gsdf")
def gsdf(
    image: Image,
    *,
    minimum: Annotated[
        float, Param("Luminance of black", unit="cd/m2", minimum=0.04, maximum=100.0)
    ] = 0.8,
    maximum: Annotated[
        float, Param("Luminance of white", unit="cd/m2", minimum=1.0, maximum=4000.0)
    ] = 400.0,
    ambient: Annotated[
        float, Param("Ambient light that the display reflects", unit="cd/m2", minimum=0.0)
    ] = 0.2,
    output: Annotated[
        Literal["luminance", "driving_level"],
        Param("cd/m2, or what an uncalibrated display of this gamma must be driven with (8 bits)"),
    ] = "luminance",
    gamma: Annotated[float, Param("Of the display", minimum=1.0, maximum=4.0, advanced=True)] = 2.2,
) -> Image:
    """Show P-values on a display of a given luminance range by the standard display function.

    The image's window (`WindowCenter`, `WindowWidth`; else its type's range) says which values are
    the lowest and highest P-value. Result float32 in cd/m2 (unit ``cd/m2``), ambient light
    included, or uint8 driving levels.
    """
    real_values(image, "process.gsdf")
    if is_colour(image):
        raise ParameterError("process.gsdf shows P-values and this image is in colour")
    if np.isnan(image.data).any():
        raise ParameterError(
            "process.gsdf: the image has missing values (NaN), which no display shows; window it "
            "with process.p_values first"
        )
    low, high = _p_range(image)
    share = np.clip((image.data.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    if image.attributes.get("PhotometricInterpretation") == "MONOCHROME1":
        share = 1.0 - share
    shown = p_value_luminance(share, bits=1, minimum=minimum + ambient, maximum=maximum + ambient)
    if output == "luminance":
        return image.with_data(shown.astype(np.float32), unit="cd/m2")
    relative = np.clip((shown - ambient - minimum) / (maximum - minimum), 0.0, 1.0)
    return image.with_data(np.rint(255.0 * relative ** (1.0 / gamma)).astype(np.uint8), unit="1")


def _p_range(image: Image) -> tuple[float, float]:
    given = from_header(image.attributes)
    if given is not None:
        c, w = given
        # LINEAR of PS3.3 C.11.2.1.2: the first and the last value of the window.
        return c - 0.5 - (w - 1) / 2, max(c - 0.5 + (w - 1) / 2, c - 0.5 - (w - 1) / 2 + 1e-9)
    if image.data.dtype.kind in "ui":
        info = np.iinfo(image.data.dtype)
        return float(info.min), float(info.max)
    low, high = extremes(np.ascontiguousarray(image.data).reshape(-1))
    return (low, high) if high > low else (low, low + 1.0)
